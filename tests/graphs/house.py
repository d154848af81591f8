"""A loop over a real executor and a real database, and runs of real graphs in it."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

from orchestration.graphs.arguments import Graph
from orchestration.graphs.executor import LangGraphExecutor
from orchestration.loop.admission import Limits
from orchestration.loop.events import Event
from orchestration.loop.master import MasterLoop
from orchestration.loop.run import Outcome, Run
from tests.graphs import stage
from tests.store import shelf

LIMITS = Limits(concurrent_runs=2, cancel_grace=0.05)


class House:
    """A loop over a real executor, a real database, and the checkpoints in it."""

    def __init__(self, kept: shelf.Shelf, graphs: dict[str, Graph]) -> None:
        self.kept = kept
        self.lifted: dict[str, asyncio.Event] = {}
        executor = LangGraphExecutor(stage.Shelf(graphs, kept.saver), self._fence)
        events: list[Event] = []
        self.loop = MasterLoop(kept.runs, executor, LIMITS, events.append, Random(1))

    def _fence(self, run_id: str) -> Callable[[], None]:
        lift, lifted = self.kept.saver.fence(run_id), asyncio.Event()
        self.lifted[run_id] = lifted

        def lift_and_tell() -> None:
            lift()
            lifted.set()

        return lift_and_tell

    async def submit(self, graph: str, thread_id: str = "thread") -> Run:
        run = stage.new_run(graph, {"log": []}, thread_id=thread_id)
        run.create_thread = True
        await self.loop.submit(run)
        return run

    async def log(self, graph: str) -> Any:
        return stage.read(self.kept.thread()["state_values"].encode())["log"]


@asynccontextmanager
async def open_house(folder: Path, **graphs: Graph) -> AsyncGenerator[House]:
    async with shelf.open_shelf(folder) as kept:
        house = House(kept, graphs)
        yield house
        await house.loop.aclose()


async def ended(run: Run) -> Outcome:
    assert run.done is not None
    return await run.done
