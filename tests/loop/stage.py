"""Hand-made fakes at the loop's ports, and a loop over them on virtual time."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from random import Random
from typing import Any, TypeVar

from operations.errors import StorageFull
from orchestration.loop.admission import Limits
from orchestration.loop.events import Event
from orchestration.loop.master import MasterLoop
from orchestration.loop.ports import Recovered
from orchestration.loop.run import Drain, Failure, Outcome, Run, RunStatus, ThreadState
from orchestration.loop.transitions import UNFINISHED
from tests.simulation.simloop import SimLoop, simulate

T = TypeVar("T")


def new_run(run_id: str, thread_id: str | None = None, **given: Any) -> Run:
    return Run(
        run_id=run_id,
        thread_id=thread_id or f"thread of {run_id}",
        assistant_id="assistant",
        graph_id=given.pop("graph_id", "graph"),
        kwargs={},
        metadata={},
        created_at=given.pop("created_at", ""),
        **given,
    )


class Store:
    """The store port in memory: each write takes effect in order, a turn later; it can be full."""

    def __init__(self) -> None:
        self.status: dict[str, RunStatus] = {}
        self.tokens: dict[str, str | None] = {}
        self.writes: list[tuple[str, str]] = []
        self.full: BaseException | None = None
        self.unclaimable = False
        self.unfinished: Sequence[Run] = ()
        self.dead: Sequence[Run] = ()
        self.worked = 0

    def _write(self, what: str, run: Run, operation: Callable[[], bool]) -> Awaitable[bool]:
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        full = StorageFull("no room") if what == "claim" and self.unclaimable else self.full
        if full is not None:
            future.set_exception(full)
            future.exception()
            return future
        done = operation()
        if done:
            self.writes.append((what, run.run_id))
        asyncio.get_running_loop().call_soon(_resolve, future, done)
        return future

    def _mine(self, run: Run) -> bool:
        held = RunStatus.PENDING if run.token is None else RunStatus.RUNNING
        return self.status.get(run.run_id) is held and self.tokens.get(run.run_id) == run.token

    def accept(self, *runs: Run) -> Awaitable[bool]:
        def operation() -> bool:
            if any(run.thread_id == "missing" for run in runs):
                return False
            for run in runs:
                status = RunStatus.PENDING if run.token is None else RunStatus.RUNNING
                self.status[run.run_id], self.tokens[run.run_id] = status, run.token
            return True

        return self._write("accept", runs[0], operation)

    def claim(self, run: Run, token: str) -> Awaitable[bool]:
        def operation() -> bool:
            if self.status.get(run.run_id) is not RunStatus.PENDING:
                return False
            self.status[run.run_id], self.tokens[run.run_id] = RunStatus.RUNNING, token
            return True

        return self._write("claim", run, operation)

    def finish(self, run: Run, outcome: Outcome, state: ThreadState | None) -> Awaitable[bool]:
        def operation() -> bool:
            if not self._mine(run):
                return False
            self.status[run.run_id] = outcome.status
            return True

        return self._write("finish", run, operation)

    def requeue(self, run: Run) -> Awaitable[bool]:
        def operation() -> bool:
            if not self._mine(run):
                return False
            self.status[run.run_id], self.tokens[run.run_id] = RunStatus.PENDING, None
            return True

        return self._write("requeue", run, operation)

    def crash(self, run: Run) -> Awaitable[bool]:
        def operation() -> bool:
            if not self._mine(run):
                return False
            self.status[run.run_id], self.tokens[run.run_id] = RunStatus.PENDING, None
            return True

        return self._write("crash", run, operation)

    def note_stop(self, run: Run) -> Awaitable[bool]:
        return self._write("note_stop", run, lambda: self._mine(run))

    def erase(self, run: Run) -> Awaitable[bool]:
        def operation() -> bool:
            return self._mine(run) and self.status.pop(run.run_id) in UNFINISHED

        return self._write("erase", run, operation)

    async def recover(self, crash_limit: int, failure: Failure) -> Recovered:
        for run in self.unfinished:
            self.status[run.run_id], self.tokens[run.run_id] = RunStatus.PENDING, None
        return Recovered(self.unfinished, self.dead, self.worked, crashed=True)


def _resolve(future: asyncio.Future[bool], done: bool) -> None:
    if not future.done():
        future.set_result(done)


class Work:
    """What one run's graph does: wait until it is told to end, and how it takes a cancellation."""

    def __init__(self, run: Run, *, stubborn: bool) -> None:
        self.run = run
        self.drained = False
        self.stubborn = stubborn
        self.cancelled = 0
        self.end: asyncio.Future[ThreadState] = asyncio.get_running_loop().create_future()

    def drain(self) -> None:
        self.drained = True

    async def do(self) -> ThreadState:
        while True:
            try:
                return await asyncio.shield(self.end)
            except asyncio.CancelledError:
                self.cancelled += 1
                if not self.stubborn:
                    raise


class Executor:
    """The executor port: each run works until the test ends it."""

    def __init__(self) -> None:
        self.work: dict[str, Work] = {}
        self.order: list[str] = []
        self.stubborn: set[str] = set()
        self.unreadable: set[str] = set()
        self.settled: list[str] = []
        self.free = asyncio.Event()  # whether there is something that can execute runs
        self.free.set()

    async def execute(
        self, run: Run, drainable: Callable[[Drain], None], begun: Callable[[Run], None]
    ) -> ThreadState:
        await self.free.wait()
        begun(run)
        self.order.append(run.run_id)
        work = Work(run, stubborn=run.run_id in self.stubborn)
        self.work[run.run_id] = work
        drainable(work.drain)
        return await work.do()

    async def settle(self, run: Run, *, own: bool = False) -> ThreadState | None:
        if run.run_id in self.unreadable:
            raise ValueError("the state cannot be read")
        self.settled.append(run.run_id)
        return ThreadState(b'"settled"')

    def fence(self, run: Run) -> Callable[[], None]:
        return lambda: None

    def describe(self, error: BaseException) -> Failure:
        return Failure(type(error).__name__, str(error))


class Stage:
    """A master loop over the fakes, and what it reported."""

    def __init__(self, sim: SimLoop, limits: Limits) -> None:
        self.sim = sim
        self.store = Store()
        self.executor = Executor()
        self.events: list[Event] = []
        self.loop = MasterLoop(self.store, self.executor, limits, self.events.append, Random(1))

    async def submit(self, run_id: str, thread_id: str | None = None, **given: Any) -> Run:
        run = new_run(run_id, thread_id, **given)
        await self.loop.submit(run)
        return run

    async def submit_waiting(self, run_id: str, thread_id: str | None = None) -> Run:
        """Submit a run that waits for its thread first: its acceptance does not claim it."""
        with self.loop.hold(thread_id or f"thread of {run_id}"):
            return await self.submit(run_id, thread_id)

    def end(self, run_id: str, result: bytes | BaseException = b"{}") -> None:
        """Let the graph of a working run return, or raise."""
        future = self.executor.work[run_id].end
        if isinstance(result, BaseException):
            future.set_exception(result)
        else:
            future.set_result(ThreadState(result))

    async def quiet(self) -> None:
        """Let everything happen that needs no time."""
        await asyncio.sleep(0.001)

    def kinds(self, kind: type[T]) -> list[T]:
        """Return the events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]


def play(
    main: Callable[[Stage], Coroutine[Any, Any, T]], limits: Limits | None = None, seed: int = 1
) -> T:
    """Play ``main`` on virtual time."""

    async def run(sim: SimLoop) -> T:
        stage = Stage(sim, limits or Limits(concurrent_runs=2))
        try:
            return await main(stage)
        finally:
            stage.executor.stubborn.clear()
            for work in stage.executor.work.values():
                work.stubborn = False
            await stage.loop.aclose()

    return simulate(seed, run)


def outcome(run: Run) -> Outcome:
    """Return how a run has ended; it has."""
    assert run.done is not None
    return run.done.result()
