"""The master loop: takes runs in, lets them wait their turn, has them worked on, tells how they ended."""

import asyncio
from collections.abc import Awaitable, Coroutine, Sequence
from random import Random

import orjson

from operations.errors import StorageUnavailable
from operations.failpoints import failpoint
from orchestration.loop.admission import Admission, Limits
from orchestration.loop.errors import (
    Draining,
    LoopError,
    ThreadBusy,
    ThreadNotFound,
)
from orchestration.loop.events import Emit, RunAccepted, RunRejected, WriteFailed
from orchestration.loop.ports import Executor, RunStore
from orchestration.loop.run import (
    Ending,
    Failure,
    MultitaskStrategy,
    Outcome,
    Place,
    Run,
    RunStatus,
)
from orchestration.loop.scheduler import Scheduler
from orchestration.loop.standing import Standing
from orchestration.loop.streams import Listener, StreamEvent
from orchestration.loop.worker import Worker

POISON = Failure("PoisonRun", "the server died too often while this run was working")
_CLAIM_PAUSE = 1.0  # seconds until a run that could not be claimed is tried again
_LAST_GRACE = 3.0  # seconds at the end of a drain for what has to be cancelled


class MasterLoop:
    """Owns every run that has not ended, from its submission to its terminal status."""

    def __init__(
        self, store: RunStore, executor: Executor, limits: Limits, emit: Emit, rng: Random
    ) -> None:
        self._store = store
        self._limits = limits
        self._emit = emit
        self._rng = rng
        self._admission = Admission(limits, rng, asyncio.get_running_loop().time)
        self._scheduler = Scheduler(limits, self._begin)
        self._worker = Worker(store, executor, limits, emit, rng)
        self._live: dict[str, Run] = {}
        self._threads: dict[str, list[Run]] = {}
        self._watchers: dict[str, list[Listener]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._draining = False

    @property
    def draining(self) -> bool:
        """Whether it takes no more runs."""
        return self._draining

    @property
    def waiting(self) -> int:
        """How many runs wait, the delayed ones included."""
        return self._scheduler.waiting

    @property
    def working(self) -> int:
        """How many slots are taken."""
        return self._scheduler.working

    @property
    def zombies(self) -> int:
        """How many tasks of ended runs ignore that they were cancelled."""
        return len(self._worker.zombies)

    def live(self, run_id: str) -> Run | None:
        """Return a run that has not ended."""
        return self._live.get(run_id)

    def on_thread(self, thread_id: str) -> Sequence[Run]:
        """Return the runs of a thread that have not ended, oldest first."""
        return tuple(self._threads.get(thread_id, ()))

    def all_live(self) -> Sequence[Run]:
        """Return every run that has not ended."""
        return tuple(self._live.values())

    def standing(self, run: Run) -> Standing:
        """Say where ``run`` is and what it waits for."""
        return self._scheduler.standing(run)

    def watch(self, thread_id: str) -> Listener:
        """Return a listener for the events of all runs of a thread, those to come included."""
        listener = Listener()
        self._watchers.setdefault(thread_id, []).append(listener)
        for run in self._threads.get(thread_id, ()):
            run.stream.tap(listener.put_nowait)
        return listener

    def unwatch(self, thread_id: str, listener: Listener) -> None:
        """Forget a listener that ``watch`` returned."""
        watchers = self._watchers[thread_id]
        watchers.remove(listener)
        if not watchers:
            del self._watchers[thread_id]
        for run in self._threads.get(thread_id, ()):
            run.stream.untap(listener.put_nowait)

    async def submit(self, run: Run) -> None:
        """Take ``run``; it is durable when this returns.

        Raises:
            QueueFull, RateLimited, ThreadBusy, ThreadNotFound, Draining,
            StorageUnavailable: nothing was taken.
        """
        before = self.on_thread(run.thread_id)
        try:
            await self._admit(run)
            accepted = self._store.accept(run)
            self._enter(run)
            try:
                if not await accepted:
                    raise ThreadNotFound(run.thread_id)  # noqa: TRY301 - withdrawn like the rest
                failpoint("accept.after_commit")
            except BaseException:
                self._scheduler.withdraw(run)
                self._forget(run)
                raise
        except (LoopError, StorageUnavailable) as error:
            self._emit(RunRejected(run.graph_id, type(error).__name__))
            raise
        self._emit(RunAccepted(run.run_id, run.graph_id, run.priority))
        if run.multitask_strategy in (MultitaskStrategy.INTERRUPT, MultitaskStrategy.ROLLBACK):
            for other in before:
                self.cancel(other, Ending(run.multitask_strategy))

    def cancel(self, run: Run, ending: Ending) -> None:
        """Have a live run stop (``INTERRUPT``) or be undone (``ROLLBACK``); ``run.done`` tells when."""
        if run.place is Place.WORKING:
            self._worker.stop(run, ending)
        elif run.place is not Place.GONE:
            self._scheduler.withdraw(run)
            run.ending = ending
            self._spawn(self._end_unstarted(run, ending))

    async def recover(self) -> int:
        """Take up every unfinished run that the store knows, oldest first; return their number."""
        runs = await self._store.recover(self._limits.crash_limit, POISON)
        for run in runs:
            self._enter(run)
        return len(runs)

    async def drain(self) -> None:
        """Take no more runs, let what works stop at its next super-step, then stop.

        What has not stopped after ``drain_grace`` seconds is cancelled. Whatever has not ended is
        pending in the store and goes on after the next start.
        """
        self._draining = self._worker.draining = True
        self._scheduler.close()
        for run in self._live.values():
            if run.control is not None:
                run.control.drain()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._limits.drain_grace)
        for run in self._live.values():
            if run.place is Place.WORKING:
                self._worker.stop(run, Ending.DRAIN)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_LAST_GRACE)
        await self.aclose()

    async def aclose(self) -> None:
        """Stop at once, waiting for no write; what has not ended goes on after the next start."""
        self._draining = True
        self._scheduler.close()
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        for watchers in self._watchers.values():
            for watcher in watchers:
                watcher.close()
        for run in tuple(self._live.values()):
            self._worker.abandon(run)
            self._put_back(run)
            self._leave_pending(run)
        if tasks:
            await asyncio.wait(tasks)

    def _put_back(self, run: Run) -> None:
        """Have a run that works found pending after the next start, or ended if it was to end.

        Found running, it would be taken for one that has brought the service down.
        """
        if run.token is None:
            return
        match run.ending:
            case Ending.INTERRUPT:
                self._store.finish(run, Outcome(RunStatus.INTERRUPTED), None)
            case Ending.ROLLBACK:
                self._store.erase(run)
            case _:
                self._store.requeue(run)

    async def _admit(self, run: Run) -> None:
        if self._draining:
            raise Draining
        if run.multitask_strategy is MultitaskStrategy.REJECT and run.thread_id in self._threads:
            raise ThreadBusy(run.thread_id)
        await self._admission.admit(run, self._scheduler.waiting)

    def _enter(self, run: Run) -> None:
        run.done = asyncio.get_running_loop().create_future()
        self._live[run.run_id] = run
        self._threads.setdefault(run.thread_id, []).append(run)
        for watcher in self._watchers.get(run.thread_id, ()):
            run.stream.tap(watcher.put_nowait)
        self._scheduler.add(run, run.delay)

    def _begin(self, run: Run) -> None:
        # Claimed in this very turn, the run shares a transaction with its acceptance.
        token = f"{self._rng.getrandbits(128):032x}"
        self._spawn(self._attempt(run, token, self._store.claim(run, token)))

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _attempt(self, run: Run, token: str, claimed: Awaitable[bool]) -> None:
        try:
            outcome = await self._worker.attempt(run, token, claimed)
        except StorageUnavailable as error:
            self._scheduler.release(run)
            self._try_later(run, error)
            return
        if outcome is None:
            self._leave_pending(run)
        else:
            self._end(run, outcome)
        self._scheduler.release(run)

    def _try_later(self, run: Run, error: StorageUnavailable) -> None:
        """Deal with a run that could not be claimed and is still pending."""
        if run.run_id not in self._live or self._draining:
            return
        self._emit(WriteFailed(run.run_id, type(error).__name__, _CLAIM_PAUSE))
        if run.ending is None:
            self._scheduler.add(run, _CLAIM_PAUSE)
        else:
            self._spawn(self._end_unstarted(run, run.ending))

    async def _end_unstarted(self, run: Run, ending: Ending) -> None:
        outcome = Outcome(RunStatus.INTERRUPTED, rolled_back=ending is Ending.ROLLBACK)
        if outcome.rolled_back:
            await self._worker.persist(run, lambda: self._store.erase(run))
        else:
            await self._worker.persist(run, lambda: self._store.finish(run, outcome, None))
        self._end(run, outcome)

    def _end(self, run: Run, outcome: Outcome) -> None:
        """Tell everybody who waits for ``run`` how it ended."""
        run.status = outcome.status
        run.stream.publish("end", b"null")
        run.stream.close()
        for watcher in self._watchers.get(run.thread_id, ()):
            done = orjson.dumps({"status": "run_done", "run_id": run.run_id})
            watcher.put_nowait(StreamEvent(0, "metadata", done))
        if run.done is not None and not run.done.done():
            run.done.set_result(outcome)
        self._admission.finished()
        self._forget(run)

    def _leave_pending(self, run: Run) -> None:
        """Tell everybody who waits for ``run`` that it goes on after the next start."""
        run.stream.close()
        if run.done is not None and not run.done.done():
            run.done.set_exception(Draining())
            run.done.exception()  # marked as seen: there may be nobody who waits
        self._forget(run)

    def _forget(self, run: Run) -> None:
        if self._live.pop(run.run_id, None) is None:
            return
        runs = self._threads[run.thread_id]
        runs.remove(run)
        if not runs:
            del self._threads[run.thread_id]
