"""One attempt at a run: claim it, execute its graph, write how it ended."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from random import Random

import orjson

from operations.errors import StorageUnavailable
from operations.failpoints import failpoint
from orchestration.loop.admission import Limits
from orchestration.loop.errors import Drained, WorkerLost
from orchestration.loop.events import (
    Emit,
    LeaseLost,
    RunCrashed,
    RunEnded,
    RunRequeued,
    RunStarted,
    StateUnknown,
    StopRequested,
    WriteFailed,
    ZombieLeft,
)
from orchestration.loop.ports import Executor, RunStore, called
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
from orchestration.loop.transitions import Step, after

_RETRY_FIRST = 0.1  # seconds
_RETRY_MOST = 5.0  # seconds
_SOON = 0.02  # seconds
POISON = Failure("PoisonRun", "the server died too often while this run was working")
PATIENCE = 60.0  # seconds that those who wait for a run are kept waiting for the store


class Worker:
    """Makes attempts; holds what all attempts share.

    User code runs in a native task that is cancelled once. If it has not stopped ``cancel_grace``
    seconds later, the attempt goes on without it and its task is a zombie. A run that writes no log
    when it begins is handed to ``enter``, which may find one for it.
    """

    def __init__(
        self,
        store: RunStore,
        executor: Executor,
        limits: Limits,
        emit: Emit,
        rng: Random,
        *,
        enter: Callable[[Run], None],
    ) -> None:
        self._store = store
        self._executor = executor
        self._limits = limits
        self._emit = emit
        self._rng = rng
        self._enter = enter
        self.zombies: set[asyncio.Task[ThreadState]] = set()
        self.draining = False  # whether a run that only now starts is to stop at once

    async def attempt(self, run: Run, claimed: Awaitable[bool]) -> Outcome | None:
        """Work on ``run`` once it is ``claimed``.

        Return its outcome, or None if it is not finished but pending again.

        Raises:
            StorageUnavailable: the run could not be claimed; it is still pending.
            WorkerLost: what executed it has died; it is pending again, to be claimed anew.
        """
        if not await claimed:
            return Outcome(RunStatus.INTERRUPTED)
        failpoint("claim.after_commit")
        loop = asyncio.get_running_loop()
        run.started = loop.time()
        run.status = after(run.status, Step.CLAIM)
        run.attempt += 1
        self._emit(
            RunStarted(
                run.run_id,
                run.graph_id,
                run.attempt,
                run.started - run.arrived,
                run.thread_id,
                run.priority,
                run.kwargs.get("trace"),
            )
        )
        if run.log is None:
            self._enter(run)
        if run.log is not None:
            run.log.begin(run)
        await self._execute(run)
        return await self._conclude(run)

    def stop(self, run: Run, ending: Ending) -> None:
        """Tell a working run to stop. The first reason stands; one that has ended is left alone.

        A drain is no such reason: what is cancelled after it ends, and does not go on later.
        """
        if ending in (Ending.INTERRUPT, Ending.ROLLBACK) and (not run.noted or run.noted.done()):
            run.noted = asyncio.get_running_loop().create_future()
            # Most end at once, which is written anyway; a note before would only hold that up.
            run.noted.get_loop().call_later(_SOON, self._note, run, run.noted)
        if run.ends or run.ending is ending or self._is_over(run, ending):
            return
        told, run.ending = run.ending is not None, ending
        self._emit(StopRequested(run.run_id, ending))
        if run.task is not None and not run.task.done() and not told:
            self._cancel(run, run.task)

    async def end_unstarted(self, run: Run, ending: Ending) -> Outcome:
        """End a run that has not begun, as it was told to; return how.

        Raises:
            StorageUnavailable: for good.
        """
        undone = ending is Ending.ROLLBACK
        state = None if undone else await self._settled(run)
        outcome = Outcome(RunStatus.INTERRUPTED, _answer(state), rolled_back=undone)
        if await self._write_end(run, outcome, state):
            self._tell(run, outcome)
        return outcome

    async def give_up(self, run: Run, error: BaseException) -> Outcome:
        """End a run whose attempt broke over something nobody foresaw.

        If that cannot be stored either, it goes on after the next start.

        Raises:
            StorageUnavailable: for good.
        """
        outcome = Outcome(RunStatus.ERROR, failure=self._executor.describe(error))
        try:
            written = await self.persist(run, lambda: self._store.finish(run, outcome, None))
            if not written:
                run.token = None  # it broke before it was claimed
                written = await self.persist(run, lambda: self._store.finish(run, outcome, None))
        except StorageUnavailable:
            raise
        except Exception as broken:  # noqa: BLE001 - whatever it is, those who wait are told
            self._emit(WriteFailed(run.run_id, type(broken).__name__, None))
            return outcome
        if written:
            self._tell(run, outcome)
        return outcome

    def abandon(self, run: Run) -> None:
        """Cancel the task of a run that goes on in another life of the service."""
        if run.timer is not None:
            run.timer.cancel()
        if run.task is not None:
            run.task.cancel()

    async def persist(self, run: Run, write: Callable[[], Awaitable[bool]]) -> bool:
        """Make a write that must be made, trying again for as long as the store cannot.

        The run keeps its place meanwhile; who waits for it is sent away after a minute.

        Raises:
            StorageUnavailable: for good.
        """
        loop = asyncio.get_running_loop()
        wait, begun = _RETRY_FIRST, loop.time()
        while True:
            try:
                return await write()
            except StorageUnavailable as error:
                pause = None if error.lasting else wait * self._rng.uniform(0.5, 1.0)
                self._emit(WriteFailed(run.run_id, type(error).__name__, pause))
                if pause is None:
                    raise
                if loop.time() - begun >= PATIENCE:
                    run.send_away(error)
            await asyncio.sleep(pause)
            wait = min(_RETRY_MOST, wait * 2)

    async def _execute(self, run: Run) -> None:
        """Return once the run's task has ended or is a zombie."""
        if run.ending is not None:
            return
        loop = asyncio.get_running_loop()

        def drainable(drain: Drain) -> None:
            run.drain = drain
            if self.draining:
                drain()

        run.stopped = loop.create_future()
        execution = self._executor.execute(run, drainable, self._begun)
        run.task = task = asyncio.create_task(execution)
        task.add_done_callback(partial(self._left, run.stopped))
        await run.stopped
        if run.timer is not None:
            run.timer.cancel()
        if not task.done():
            self.zombies.add(task)
            lift = self._executor.fence(run)
            task.add_done_callback(lambda _: lift())
            self._emit(ZombieLeft(run.run_id, run.graph_id))
        elif run.ends:
            self._executor.fence(run)  # for good: its sync nodes may work on in their threads

    def _begun(self, run: Run) -> None:
        """Let the time of a run pass: it is executed from now on."""
        loop = asyncio.get_running_loop()
        run.began = loop.time()
        timeout = self._limits.timeout(run)
        if timeout is not None:
            run.timer = loop.call_later(timeout, self.stop, run, Ending.TIMEOUT)

    def _is_over(self, run: Run, ending: Ending) -> bool:
        """Return whether a run has ended already; one is to go on whose worker has just died."""
        if run.task is None or not run.task.done():
            return False
        lost = not run.task.cancelled() and isinstance(run.task.exception(), WorkerLost)
        return not lost or ending is Ending.DRAIN or run.crashes >= self._limits.crash_limit

    def _note(self, run: Run, noted: "asyncio.Future[bool]") -> None:
        """Have a run that was told to end do so after a crash too, if it has not yet."""
        if run.ends and run.place is Place.WORKING:
            called(self._store.note_stop, run).add_done_callback(partial(_pass_on, noted))
        else:
            noted.set_result(False)

    def _cancel(self, run: Run, task: asyncio.Task[ThreadState]) -> None:
        if run.timer is not None:
            run.timer.cancel()
        task.cancel()
        loop = asyncio.get_running_loop()
        run.timer = loop.call_later(self._limits.cancel_grace, _resolve, run.stopped)

    def _left(self, stopped: "asyncio.Future[None]", task: asyncio.Task[ThreadState]) -> None:
        self.zombies.discard(task)
        if not task.cancelled():
            task.exception()  # seen: of a run that was told to stop nobody asks for it
        _resolve(stopped)

    async def _conclude(self, run: Run) -> Outcome | None:
        try:
            outcome, state = await self._judge(run)
        except WorkerLost as lost:
            outcome, state = await self._crashed(run, lost)
        failpoint("finish.before")
        if outcome is None:
            await self.persist(run, lambda: self._store.requeue(run))
            run.status, run.token = after(run.status, Step.DRAIN), None
            run.attempt -= 1
            self._emit(RunRequeued(run.run_id, run.graph_id))
            return None
        written = await self._write_end(run, outcome, state)
        failpoint("finish.after")
        if not written:  # somebody deleted it meanwhile; there is nothing left to end
            self._emit(LeaseLost(run.run_id, run.graph_id))
            return Outcome(RunStatus.INTERRUPTED)
        run.status = outcome.status
        self._tell(run, outcome)
        return outcome

    async def _write_end(self, run: Run, outcome: Outcome, state: ThreadState | None) -> bool:
        if outcome.rolled_back:
            return await self.persist(run, lambda: self._store.erase(run))
        return await self.persist(run, lambda: self._store.finish(run, outcome, state))

    async def _crashed(
        self, run: Run, lost: WorkerLost
    ) -> tuple[Outcome | None, ThreadState | None]:
        """Charge a run with the death of what executed it, and judge it if that is once too often.

        Raises:
            WorkerLost: it is pending again.
        """
        run.crashes += 1
        self._emit(RunCrashed(run.run_id, run.graph_id, run.crashes, str(lost)))
        if run.crashes >= self._limits.crash_limit:
            run.stream.publish("error", _wire(POISON))
            outcome, state = await self._failed(run, Step.POISON, POISON)
            return replace(outcome, poison=True), state
        run.task = run.drain = None  # a stop that comes meanwhile is for the next attempt
        run.began = 0.0
        if not await self.persist(run, lambda: self._store.crash(run)):
            self._emit(LeaseLost(run.run_id, run.graph_id))
            return Outcome(RunStatus.INTERRUPTED), None  # somebody has deleted it
        run.status, run.token = after(run.status, Step.CRASH), None
        raise lost

    def _tell(self, run: Run, outcome: Outcome) -> None:
        took, waited, trace = 0.0, None, None
        if run.began:
            took = asyncio.get_running_loop().time() - run.began
        if run.started:
            waited, trace = run.started - run.arrived, run.kwargs.get("trace")
        self._emit(
            RunEnded(
                run.run_id,
                run.thread_id,
                run.graph_id,
                outcome.status,
                run.attempt,
                took,
                outcome.failure.error if outcome.failure else None,
                waited,
                trace,
            )
        )

    async def _judge(self, run: Run) -> tuple[Outcome | None, ThreadState | None]:
        """Return how the attempt ended (None: it is to go on later) and what its thread shows."""
        match run.ending:
            case Ending.DRAIN:
                return None, None
            case Ending.ROLLBACK:
                return Outcome(after(run.status, Step.CANCEL), rolled_back=True), None
            case Ending.INTERRUPT:
                state = await self._settled(run)
                return Outcome(after(run.status, Step.CANCEL), _answer(state)), state
            case Ending.TIMEOUT:
                seconds = self._limits.timeout(run)
                failure = Failure("TimeoutError", f"the run took longer than {seconds:g} seconds")
                run.stream.publish("error", _wire(failure))
                return await self._failed(run, Step.EXPIRE, failure)
            case None:
                return await self._ended(run)

    async def _ended(self, run: Run) -> tuple[Outcome | None, ThreadState | None]:
        """Judge a run that nobody told to stop by what its task came to."""
        try:
            state = run.task.result() if run.task is not None else None
        except Drained:
            return None, None
        except WorkerLost:
            raise
        except BaseException as error:  # noqa: BLE001 - user code may raise anything
            return await self._failed(run, Step.FAIL, self._executor.describe(error))
        asking = state is not None and state.interrupted
        return Outcome(after(run.status, Step.SUCCEED), _answer(state), interrupted=asking), state

    async def _failed(
        self, run: Run, step: Step, failure: Failure
    ) -> tuple[Outcome, ThreadState | None]:
        state = await self._settled(run)
        return Outcome(after(run.status, step), _answer(state), failure), state

    async def _settled(self, run: Run) -> ThreadState | None:
        """Return what the thread shows; None if that cannot be found out in time.

        It may take making a graph, which is user code: it may raise, or hang.
        """
        begun = run.task is not None
        if not (begun or run.recovered or run.resuming):
            return None
        task = asyncio.create_task(self._executor.settle(run, own=not begun))
        await asyncio.wait({task}, timeout=self._limits.cancel_grace)
        if task.done() and not task.cancelled() and task.exception() is None:
            return task.result()
        task.cancel()
        task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        error = task.exception() if task.done() and not task.cancelled() else TimeoutError()
        self._emit(StateUnknown(run.run_id, type(error).__name__))
        return None


def _resolve(future: "asyncio.Future[None] | None") -> None:
    if future is not None and not future.done():
        future.set_result(None)


def _pass_on(noted: "asyncio.Future[bool]", written: "asyncio.Future[bool]") -> None:
    error = written.exception()
    if error is None:
        noted.set_result(written.result())
    else:
        noted.set_exception(error)
        noted.exception()  # marked as seen: there may be nobody who waits


def _answer(state: ThreadState | None) -> bytes | None:
    return None if state is None else state.answer


def _wire(failure: Failure) -> bytes:
    return orjson.dumps({"error": failure.error, "message": failure.message})
