"""What a run leaves: no circle of objects, which would wait for the garbage collector."""

import asyncio
import gc
from collections.abc import Generator
from pathlib import Path
from weakref import ref

import pytest

from orchestration.graphs.node_tasks import contain_exits
from orchestration.loop.run import Ending, RunStatus
from tests.graphs import plays
from tests.graphs.house import ended, open_house


@pytest.fixture(autouse=True)
def no_collector() -> Generator[None]:
    """Collect nothing meanwhile."""
    gc.disable()
    yield
    gc.enable()


async def test_a_run_that_has_ended_is_gone_at_once(tmp_path: Path) -> None:
    async with open_house(tmp_path, nothing=plays.echo()) as house:
        run = await house.submit("nothing")
        assert run.done is not None
        left = ref(run.done)
        assert (await ended(run)).status is RunStatus.SUCCESS
        del run
        await house.kept.database.sync()  # the writer lets go of what it wrote before
        assert left() is None


async def test_what_a_cancelled_node_had_is_gone_once_its_run_has_ended(tmp_path: Path) -> None:
    contain_exits(asyncio.get_running_loop())
    reached = asyncio.Event()
    held: list[ref[plays.Gate]] = []

    async def hold(_: plays.State) -> plays.State:
        gate = plays.Gate()
        held.append(ref(gate))
        reached.set()
        await gate.wait()
        return {}

    async with open_house(tmp_path, holding=plays.chain(("hold", hold))) as house:
        run = await house.submit("holding")
        await reached.wait()
        house.loop.cancel(run, Ending.INTERRUPT)
        assert (await ended(run)).status is RunStatus.INTERRUPTED
        await asyncio.sleep(0)
        assert held[0]() is None
