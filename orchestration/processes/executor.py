"""The loop's executor port, over worker processes."""

from collections.abc import Callable, Collection

from orchestration.graphs.executor import LangGraphExecutor
from orchestration.loop.run import Drain, Failure, Run, ThreadState
from orchestration.processes.crew import Crew
from orchestration.processes.worker import RunFailed


class CrewExecutor:
    """Has the runs of the graphs of ``names`` executed by worker processes, others here."""

    def __init__(self, crew: Crew, here: LangGraphExecutor, names: Collection[str]) -> None:
        self._crew = crew
        self._here = here
        self._names = frozenset(names)

    async def execute(
        self, run: Run, drainable: Callable[[Drain], None], begun: Callable[[Run], None]
    ) -> ThreadState:
        """Execute a run; see the port."""
        if run.graph_id not in self._names:
            return await self._here.execute(run, drainable, begun)
        worker = await self._crew.choose()
        begun(run)
        return await worker.execute(run, drainable)

    async def settle(self, run: Run, *, own: bool = False) -> ThreadState | None:
        """Return what the thread of a run shows; see the port."""
        return await self._here.settle(run, own=own)

    def fence(self, run: Run) -> Callable[[], None]:
        """Let a run write no more checkpoints; see the port."""
        return self._here.fence(run)

    def describe(self, error: BaseException) -> Failure:
        """Put an error into words; see the port."""
        return error.failure if isinstance(error, RunFailed) else self._here.describe(error)
