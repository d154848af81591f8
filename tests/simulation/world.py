"""A small world around the loop: a store that dies, graphs that misbehave, and an eye on it all."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from operations.errors import StorageFull
from orchestration.loop.errors import Drained, WorkerLost
from orchestration.loop.ports import Recovered
from orchestration.loop.run import (
    Drain,
    Ending,
    Failure,
    Outcome,
    Place,
    Run,
    RunStatus,
    ThreadState,
)
from orchestration.loop.transitions import TERMINAL, UNFINISHED


@dataclass
class Row:
    run: Run
    status: RunStatus = RunStatus.PENDING
    token: str | None = None
    attempt: int = 0
    crashes: int = 0
    steps: int = 0
    stop: Ending | None = None


@dataclass
class Disk:
    """What survives a crash."""

    rows: dict[str, Row]
    terminal_writes: Counter[str]
    erased: set[str]
    full: bool = False


class SimStore:
    """The store port over a Disk: in order, in batches, each durable a little later."""

    def __init__(self, disk: Disk, rng: Random, *, careless: bool = False) -> None:
        self.disk = disk
        self._rng = rng
        self._careless = careless
        self._queue: list[tuple[Callable[[], Any], asyncio.Future[Any]]] = []
        self._writer: asyncio.Task[None] | None = None
        self.dead = False

    def write(self, operation: Callable[[], Any]) -> asyncio.Future[Any]:
        future = asyncio.get_running_loop().create_future()
        self._queue.append((operation, future))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._work())
        return future

    async def _work(self) -> None:
        while self._queue and not self.dead:
            await asyncio.sleep(self._rng.random() * 0.01)
            if self.dead:
                return
            batch, self._queue = self._queue, []
            for operation, future in batch:
                try:
                    result = self._make(operation)
                except Exception as error:  # noqa: BLE001 - handed to whoever waits
                    if not future.done():
                        future.set_exception(error)
                        future.exception()
                else:
                    if not future.done():
                        future.set_result(result)

    def _make(self, operation: Callable[[], Any]) -> Any:
        if self.disk.full:
            raise StorageFull
        return operation()

    def die(self) -> None:
        """Lose everything that is not durable."""
        self.dead = True
        self._queue.clear()

    def accept(self, *runs: Run) -> Awaitable[bool]:
        rows = {run.run_id: accepted(run) for run in runs}  # as they are when this is called

        def operation() -> bool:
            if any(run.thread_id == "missing" for run in runs):
                return False
            self.disk.rows.update(rows)
            return True

        return self.write(operation)

    def claim(self, run: Run, token: str) -> Awaitable[bool]:
        def operation() -> bool:
            row = self.disk.rows.get(run.run_id)
            if row is None or row.status is not RunStatus.PENDING:
                return False
            row.status, row.token, row.attempt = RunStatus.RUNNING, token, row.attempt + 1
            return True

        return self.write(operation)

    def _mine(self, run: Run) -> Row | None:
        row = self.disk.rows.get(run.run_id)
        if row is None:
            return None
        if self._careless:
            return row
        expected = RunStatus.PENDING if run.token is None else RunStatus.RUNNING
        return row if row.status is expected and row.token == run.token else None

    def finish(self, run: Run, outcome: Outcome, state: ThreadState | None) -> Awaitable[bool]:
        def operation() -> bool:
            row = self._mine(run)
            if row is None:
                return False
            row.status = outcome.status
            self.disk.terminal_writes[run.run_id] += 1
            return True

        return self.write(operation)

    def requeue(self, run: Run) -> Awaitable[bool]:
        def operation() -> bool:
            row = self._mine(run)
            if row is None:
                return False
            row.status, row.token, row.attempt = RunStatus.PENDING, None, row.attempt - 1
            return True

        return self.write(operation)

    def crash(self, run: Run) -> Awaitable[bool]:
        def operation() -> bool:
            row = self._mine(run)
            if row is None:
                return False
            row.status, row.token, row.crashes = RunStatus.PENDING, None, run.crashes
            return True

        return self.write(operation)

    def note_stop(self, run: Run) -> Awaitable[bool]:
        def operation() -> bool:
            row = self._mine(run)
            if row is None:
                return False
            row.stop = run.ending
            return True

        return self.write(operation)

    def erase(self, run: Run) -> Awaitable[bool]:
        def operation() -> bool:
            if self._mine(run) is None:
                return False
            del self.disk.rows[run.run_id]
            self.disk.erased.add(run.run_id)
            self.disk.terminal_writes[run.run_id] += 1
            return True

        return self.write(operation)

    def recover(self, crash_limit: int, failure: Failure) -> Awaitable[Recovered]:
        def operation() -> Recovered:
            found = []
            for row in self.disk.rows.values():
                if row.status is RunStatus.RUNNING:
                    row.crashes += 1
                    row.token = None
                    row.status = RunStatus.PENDING
                    if row.crashes >= crash_limit:
                        row.status = RunStatus.ERROR
                        self.disk.terminal_writes[row.run.run_id] += 1
                if row.status is RunStatus.PENDING:
                    found.append(fresh(row))
            return Recovered(found)

        return self.write(operation)


def accepted(run: Run) -> Row:
    """The row of a run that is accepted: pending, or running if it is claimed already."""
    if run.token is None:
        return Row(run)
    return Row(run, RunStatus.RUNNING, run.token, attempt=1)


def fresh(row: Row) -> Run:
    """The run as a new process reads it."""
    run = row.run
    return Run(
        run_id=run.run_id,
        thread_id=run.thread_id,
        assistant_id=run.assistant_id,
        graph_id=run.graph_id,
        kwargs=run.kwargs,
        metadata={},
        created_at="",
        priority=run.priority,
        tenant=run.tenant,
        timeout=run.timeout,
        attempt=row.attempt,
        crashes=row.crashes,
        stop=row.stop,
    )


@dataclass(frozen=True)
class Behaviour:
    """What a simulated graph does: how long each step takes, and how it takes a cancellation."""

    steps: int
    seconds: float
    fails: bool
    ignores_cancel_for: float
    drains: bool
    dies: float


class SimExecutor:
    """The executor port: steps of virtual time with side effects, committed one by one."""

    def __init__(self, store: SimStore, rng: Random) -> None:
        self._store = store
        self._rng = rng
        self.working: set[str] = set()
        self.violations: list[str] = []
        self.dead = False

    async def execute(
        self, run: Run, drainable: Callable[[Drain], None], begun: Callable[[Run], None]
    ) -> ThreadState:
        begun(run)
        behaviour: Behaviour = run.kwargs["behaviour"]
        asked = asyncio.Event()
        if behaviour.drains:
            drainable(asked.set)
        row = self._store.disk.rows[run.run_id]
        if row.stop is not None:
            self.violations.append(f"{run.run_id} goes on, which was told to end")
        self.working.add(run.run_id)
        try:
            for step in range(row.steps, behaviour.steps):
                if asked.is_set():
                    raise Drained
                await self._step(run, behaviour, step)
                if self._rng.random() < behaviour.dies:
                    raise WorkerLost("as told")
            if behaviour.fails:
                raise ValueError("as told")
            return ThreadState(b"{}")
        finally:
            self.working.discard(run.run_id)

    async def _step(self, run: Run, behaviour: Behaviour, step: int) -> None:
        try:
            await asyncio.sleep(behaviour.seconds)
        except asyncio.CancelledError:
            if not behaviour.ignores_cancel_for or self.dead:
                raise
            await asyncio.sleep(behaviour.ignores_cancel_for)
            return
        if self.dead:
            raise asyncio.CancelledError
        row = self._store.disk.rows.get(run.run_id)
        stubborn = behaviour.ignores_cancel_for > 0
        if not stubborn and (row is None or row.status in TERMINAL):
            self.violations.append(f"{run.run_id} had a side effect after it ended")
        if not stubborn and row is not None and row.steps > step:
            self.violations.append(f"{run.run_id} repeated step {step}, which was committed")

        def commit() -> None:
            if row is not None:
                row.steps = max(row.steps, step + 1)

        await self._store.write(commit)

    async def settle(self, run: Run, *, own: bool = False) -> ThreadState | None:
        await asyncio.sleep(0)
        return ThreadState(b"{}")

    def fence(self, run: Run) -> Callable[[], None]:
        return lambda: None

    def describe(self, error: BaseException) -> Failure:
        return Failure(type(error).__name__, str(error))


def behaviour(rng: Random) -> Behaviour:
    return Behaviour(
        steps=rng.randint(0, 4),
        seconds=rng.choice([0.0, 0.01, 0.1, 1.0]),
        fails=rng.random() < 0.1,
        ignores_cancel_for=rng.choice([0.0, 0.0, 0.0, 0.5, 40.0]),
        drains=rng.random() < 0.7,
        dies=rng.choice([0.0, 0.0, 0.0, 0.3, 0.8]),
    )


def new_run(number: int, rng: Random, **changes: Any) -> Run:
    run = Run(
        run_id=f"r{number}",
        thread_id=rng.choice(["a", "b", "c", f"own{number}", "missing"]),
        assistant_id="assistant",
        graph_id=rng.choice(["plain", "limited"]),
        kwargs={"behaviour": behaviour(rng)},
        metadata={},
        created_at="",
        priority=rng.randint(0, 10),
        tenant=rng.choice([None, "t1", "t2"]),
        delay=rng.choice([0.0, 0.0, 0.0, 0.5, 2.0]),
        timeout=rng.choice([None, None, 0.05, 2.0]),
    )
    return replace(run, **changes) if changes else run


__all__ = ["UNFINISHED", "Disk", "Place", "Row", "SimExecutor", "SimStore", "new_run"]
