"""The loop's executor port, over worker processes."""

import asyncio
from collections.abc import Callable, Collection
from contextlib import ExitStack

from orchestration.graphs.executor import LangGraphExecutor
from orchestration.loop.admission import Limits
from orchestration.loop.ports import Control
from orchestration.loop.run import Failure, Run, ThreadState
from orchestration.processes.crew import Crew
from orchestration.processes.worker import RunFailed


class CrewExecutor:
    """Has the runs of the graphs of ``names`` executed by worker processes, others here."""

    def __init__(
        self, crew: Crew, here: LangGraphExecutor, names: Collection[str], limits: Limits
    ) -> None:
        self._crew = crew
        self._here = here
        self._names = frozenset(names)
        self._limits = limits
        self._suspects = asyncio.Lock()

    async def execute(
        self, run: Run, control: Callable[[Control], None], begun: Callable[[Run], None]
    ) -> ThreadState:
        """Execute a run; see the port."""
        if run.graph_id not in self._names:
            return await self._here.execute(run, control, begun)
        if not self._limits.suspects(run):
            return await self._shared(run, control, begun)
        # One at a time, so that the next crash tells which of them is the poison. One whose code
        # does not stop has ended for the loop, and keeps nobody waiting.
        await self._suspects.acquire()
        with ExitStack() as turn:
            turn.callback(self._suspects.release)
            if run.stopped is not None:
                run.stopped.add_done_callback(lambda _: turn.close())
            return await self._shared(run, control, begun)

    async def _shared(
        self, run: Run, control: Callable[[Control], None], begun: Callable[[Run], None]
    ) -> ThreadState:
        worker = await self._crew.choose()
        begun(run)
        return await worker.execute(run, control)

    async def settle(self, run: Run, *, own: bool = False) -> ThreadState | None:
        """Return what the thread of a run shows; see the port."""
        return await self._here.settle(run, own=own)

    def fence(self, run: Run) -> Callable[[], None]:
        """Let a run write no more checkpoints; see the port."""
        return self._here.fence(run)

    def describe(self, error: BaseException) -> Failure:
        """Put an error into words; see the port."""
        return error.failure if isinstance(error, RunFailed) else self._here.describe(error)
