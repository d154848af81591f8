"""Code that does not let itself be stopped: it is left behind, and does no more harm."""

import asyncio
import sys
import threading
from pathlib import Path
from typing import Any

import anyio
import pytest

from orchestration.graphs.arguments import Graph
from orchestration.graphs.node_tasks import contain_exits
from orchestration.loop.run import Ending, Run, RunStatus
from orchestration.store.checkpoints import Fenced
from tests.graphs import plays, stage
from tests.graphs.house import ended, open_house
from tests.store.checkpointing import at, at_checkpoint, put


def swallowing(gate: plays.Gate, log: list[str]) -> Graph:
    """Return a graph whose first node swallows its cancellation and goes on after ``gate``."""

    async def swallow(_: plays.State) -> plays.State:
        try:
            await gate.wait()
        except asyncio.CancelledError:
            log.append("swallowed")
            await gate.opened.wait()
        return {"log": ["swallow"]}

    async def follow(_: plays.State) -> plays.State:
        log.append("follow")
        return {"log": ["follow"]}

    return plays.chain(("swallow", swallow), ("follow", follow))


@pytest.mark.parametrize("modes", [["values"], ["updates", "custom"], ["messages"], ["events"]])
@pytest.mark.parametrize("kept", [True, False])
async def test_no_node_follows_one_that_swallowed_its_cancellation(
    modes: list[str], *, kept: bool
) -> None:
    gate, log = plays.Gate(), list[str]()
    one = stage.Stage(graph=swallowing(gate, log))
    run = stage.new_run("graph", {"log": []}, stream_mode=modes, ephemeral=not kept)
    task = one.begin(run)
    await gate.reached.wait()
    run.ending = Ending.INTERRUPT
    task.cancel()
    while not log:  # noqa: ASYNC110 - a turn, not a wait
        await asyncio.sleep(0)
    gate.opened.set()
    await asyncio.wait({task})
    others = asyncio.all_tasks() - {asyncio.current_task()}
    await asyncio.gather(*others, return_exceptions=True)
    assert log == ["swallowed"]


async def test_what_a_run_left_behind_puts_is_refused_until_its_task_ends(tmp_path: Path) -> None:
    gate, log = plays.Gate(), list[str]()
    graphs = {"stubborn": swallowing(gate, log), "quick": plays.logging("quick")}
    async with open_house(tmp_path, **graphs) as house:
        left = await house.submit("stubborn")
        await gate.reached.wait()
        house.loop.cancel(left, Ending.INTERRUPT)
        interrupted = await ended(left)
        quick = await ended(await house.submit("quick"))
        kept = await house.kept.checkpoints()
        saver, place = house.kept.saver, at("thread", left.run_id)
        with pytest.raises(Fenced):
            await put(saver, as_langgraph(place, left))
        config = as_langgraph(at("thread", left.run_id, checkpoint_id="1"), left)
        with pytest.raises(Fenced):
            await saver.aput_writes(config, [("log", ["late"])], "task")

        gate.opened.set()
        await house.lifted[left.run_id].wait()
        assert (await house.kept.checkpoints(), await house.log("quick")) == (kept, ["quick"])
        await put(saver, as_langgraph(place, left))
        assert await house.kept.checkpoints() == kept + 1
    assert (interrupted.status, quick.status) == (RunStatus.INTERRUPTED, RunStatus.SUCCESS)
    assert log == ["swallowed"]


def as_langgraph(config: Any, run: Run) -> Any:
    """Return ``config`` with the run's id where LangGraph's own have it."""
    configurable = {**config["configurable"], "run_id": run.run_id}
    return at_checkpoint({"configurable": configurable}, run.run_id)


async def leave(_: Any) -> plays.State:
    sys.exit(3)


@pytest.mark.parametrize(
    "graph",
    [plays.chain(("leave", leave)), plays.fan("leave", leave, [{}, {}])],
    ids=["alone", "in parallel"],
)
async def test_a_node_that_asks_for_the_end_of_the_process_ends_its_run_alone(
    tmp_path: Path, graph: Graph
) -> None:
    contain_exits(asyncio.get_running_loop())
    async with open_house(tmp_path, leaving=graph, quick=plays.logging("quick")) as house:
        left = await ended(await house.submit("leaving"))
        quick = await ended(await house.submit("quick", "another"))
    assert left.failure is not None
    assert (left.status, left.failure.error) == (RunStatus.ERROR, "NodeExit")
    assert "SystemExit(3)" in left.failure.message
    assert quick.status is RunStatus.SUCCESS


async def call_off(_: Any) -> plays.State:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(anyio.sleep_forever)
        tasks.cancel_scope.cancel()
    return {"log": ["called off"]}


async def test_a_node_may_cancel_tasks_of_anyio_that_have_not_begun(tmp_path: Path) -> None:
    contain_exits(asyncio.get_running_loop())
    graph = plays.chain(("call_off", call_off))
    async with open_house(tmp_path, calling_off=graph) as house:
        outcome = await ended(await house.submit("calling_off"))
    assert (outcome.status, outcome.failure) == (RunStatus.SUCCESS, None)


async def test_a_sync_node_that_works_on_after_its_run_was_undone_puts_nothing(
    tmp_path: Path,
) -> None:
    reached, opened, over = threading.Event(), threading.Event(), threading.Event()

    def wait(_: plays.State) -> plays.State:
        reached.set()
        opened.wait()
        return {"log": ["inner"]}

    inner: Any = plays.chain(("wait", wait))

    def around(state: plays.State) -> Any:
        try:
            return inner.invoke(state)
        finally:
            over.set()

    async with open_house(tmp_path, around=plays.chain(("around", around))) as house:
        run = await house.submit("around")
        await asyncio.to_thread(reached.wait)
        house.loop.cancel(run, Ending.ROLLBACK)
        assert (await ended(run)).rolled_back
        opened.set()
        await asyncio.to_thread(over.wait)
        await house.kept.database.settled()
        assert house.kept.database.all("SELECT * FROM checkpoints") == [], "of a subgraph, too"
