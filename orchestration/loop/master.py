"""The master loop: takes runs in, lets them wait, has them worked on, tells how they ended."""

import asyncio
from collections.abc import Awaitable, Coroutine, Generator, Sequence
from contextlib import contextmanager
from functools import partial
from operator import attrgetter
from random import Random

from operations.errors import StorageUnavailable
from operations.failpoints import failpoint
from orchestration.loop.acceptance import Acceptance
from orchestration.loop.admission import Admission, Limits
from orchestration.loop.draining import let_go, put_back
from orchestration.loop.errors import (
    Draining,
    LoopError,
    QueueFull,
    ThreadBusy,
    ThreadNotFound,
    WorkerLost,
)
from orchestration.loop.events import (
    Emit,
    RunRejected,
    WriteFailed,
    accepted_event,
    harmless,
    recovery,
)
from orchestration.loop.ports import Executor, RunStore, called
from orchestration.loop.rate import Allowance
from orchestration.loop.run import Ending, MultitaskStrategy, Outcome, Place, Run
from orchestration.loop.scheduler import Scheduler
from orchestration.loop.standing import Standing
from orchestration.loop.streams import run_done
from orchestration.loop.threadlog import ThreadLogs
from orchestration.loop.watchers import Watchers
from orchestration.loop.worker import PATIENCE, POISON, Worker

_CLAIM_PAUSE = 1.0  # seconds until a run that could not be claimed is tried again
_CLOSING = 1.0  # seconds for what was cancelled to go


class MasterLoop:
    """Owns every run that has not ended, from its submission to its terminal status."""

    def __init__(
        self, store: RunStore, executor: Executor, limits: Limits, emit: Emit, rng: Random
    ) -> None:
        self._store = store
        self.limits = limits
        self._emit = emit = harmless(emit)
        self._rng = rng
        self._admission = Admission(limits, rng, asyncio.get_running_loop().time)
        self._scheduler = Scheduler(limits, self._begin)
        self.logs = ThreadLogs()
        self._worker = Worker(store, executor, limits, emit, rng, enter=self.logs.enter)
        self._live: dict[str, Run] = {}
        self._threads: dict[str, list[Run]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._accepting: Acceptance | None = None  # what is about to be, in this very turn
        self.watchers = Watchers(self.on_thread)

    @property
    def draining(self) -> bool:
        """Whether it takes no more runs."""
        return self._scheduler.closed

    @property
    def waiting(self) -> int:
        """How many runs wait, the delayed ones included."""
        return self._scheduler.waiting

    @property
    def working(self) -> int:
        """How many slots are taken."""
        return self._scheduler.working

    @property
    def full(self) -> bool:
        """Whether there is no room in the queue."""
        return self._scheduler.waiting >= self.limits.queue_capacity

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

    def allowance(self, tenant: str | None) -> Allowance | None:
        """Return what a tenant may still submit; None if there is no limit."""
        return self._admission.allowance(tenant)

    def turn_away(self) -> QueueFull:
        """Return the refusal of a run that nobody looked at, as the queue is full."""
        error = self._admission.queue_full()
        self._emit(RunRejected(None, type(error).__name__))
        return error

    def restrict(self, why: str | None) -> None:
        """Take no runs of low priority from now on, or (None) take them again."""
        self._admission.restricted = why

    def gone(self, thread_id: str) -> None:
        """Let those who follow a thread that was deleted see its end."""
        self.watchers.discard(thread_id)
        self.logs.discard(thread_id)

    @contextmanager
    def hold(self, thread_id: str) -> Generator[None]:
        """Let no run of a thread start in here.

        Raises:
            ThreadBusy: one works already, or is about to.
        """
        if not self._scheduler.hold(thread_id):
            raise ThreadBusy(thread_id)
        try:
            yield
        finally:
            self._scheduler.let_go(thread_id)

    async def submit(self, *runs: Run) -> None:
        """Take ``runs``, all or none; they are durable when this returns.

        Raises:
            QueueFull, RateLimited, Restricted, ThreadBusy, ThreadNotFound, Draining,
            StorageUnavailable: nothing was taken.
        """
        superseded = [self._superseded(run) for run in runs]
        try:
            self._admit(runs)
        except LoopError as error:
            self._reject(runs, error)
            raise
        for run in runs:
            self._enter(run)
        self._accepting = acceptance = Acceptance(runs, superseded)
        self._scheduler.add(*runs)
        self._accepting = None
        accepted = called(self._store.accept, *runs)
        if accepted.done():
            self._settle(acceptance, accepted)
        else:
            accepted.add_done_callback(partial(self._settle, acceptance))
        await acceptance.settled

    def cancel(self, run: Run, ending: Ending) -> None:
        """Have a live run stop (``INTERRUPT``) or be undone (``ROLLBACK``); see its ``done``."""
        if run.place is Place.WORKING:
            self._worker.stop(run, ending)
        elif run.place is not Place.GONE:
            kept = self._scheduler.withdraw(run)
            run.ending = ending
            self._spawn(self._end_unstarted(run, ending, kept=kept))

    def enable(self, *, able: bool) -> None:
        """Start runs, or none while nobody could execute them: they wait, and no time runs."""
        self._scheduler.enable(able=able)

    async def recover(self) -> int:
        """Take up every unfinished run that the store knows; return their number."""
        found = await self._store.recover(self.limits.crash_limit, POISON)
        superseded: list[tuple[Run, Sequence[Run]]] = []
        # A run stops those that were there when it came, whichever of them goes on first.
        for run in sorted(found.runs, key=attrgetter("created_at")):
            superseded.append((run, self._superseded(run)))
            self._enter(run)
        self._scheduler.add(*found.runs)
        for run, others in superseded:  # it may not have come to that
            if run.stop is not None:
                self.cancel(run, run.stop)
            self._supersede(others, run)
        for event in recovery(found, POISON):
            self._emit(event)
        return len(found.runs)

    async def drain(self) -> None:
        """Take no more runs, let what works stop at its next super-step, then stop.

        What has not stopped after the grace of its priority is cancelled. Whatever has not ended is
        pending in the store and goes on after the next start.
        """
        self.close_intake()
        await let_go(self.all_live(), self.limits, self._worker.stop)
        await self.aclose()

    def close_intake(self) -> None:
        """Take no more runs, begin none, and have what works stop at its next super-step."""
        self._worker.draining = True
        self._scheduler.close()
        for run in self._live.values():
            if run.drain is not None:
                run.drain()

    async def aclose(self, *, crashed: bool = False) -> None:
        """Stop at once, waiting for no write; what has not ended goes on after the next start.

        ``crashed``: what works is found working then, as after a ``kill -9``.
        """
        self._scheduler.close()
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        self.watchers.close()
        self.logs.close()
        for run in tuple(self._live.values()):
            self._worker.abandon(run)
            self._scheduler.withdraw(run)
            if not crashed:
                put_back(self._store, run)
            self._leave(run, Draining())
        if tasks:
            await asyncio.wait(tasks, timeout=_CLOSING)

    def _admit(self, runs: Sequence[Run]) -> None:
        if self.draining:
            raise Draining
        for run in runs:
            if (
                run.multitask_strategy is MultitaskStrategy.REJECT
                and run.thread_id in self._threads
            ):
                raise ThreadBusy(run.thread_id)
        self._admission.admit(runs, self._scheduler.waiting)

    def _enter(self, run: Run) -> None:
        run.done = asyncio.get_running_loop().create_future()
        self._live[run.run_id] = run
        self._threads.setdefault(run.thread_id, []).append(run)
        self.watchers.enter(run)
        self.logs.enter(run)

    def _settle(self, acceptance: Acceptance, accepted: asyncio.Future[bool]) -> None:
        """Do what follows once it is known whether runs were taken."""
        runs, error = acceptance.runs, accepted.exception()
        if error is None and not accepted.result():
            error = ThreadNotFound(runs[0].thread_id)
        if error is not None:
            for run in runs:
                if self._scheduler.withdraw(run):
                    self._scheduler.let_go(run.thread_id)
                self._leave(run, error)
            self._reject(runs, error)
            acceptance.refuse(error)
            return
        acceptance.stand()
        try:
            failpoint("accept.after_commit")
            for run, others in zip(runs, acceptance.others, strict=True):
                self._emit(accepted_event(run))
                self._supersede(others, run)
        except Exception as broken:  # noqa: BLE001 - for who submits them; they stand all the same
            acceptance.tell(broken)
        else:
            acceptance.tell()

    def _superseded(self, run: Run) -> Sequence[Run]:
        """Return the runs on the thread of ``run`` that it stops once it is taken."""
        if run.multitask_strategy in (MultitaskStrategy.INTERRUPT, MultitaskStrategy.ROLLBACK):
            return self.on_thread(run.thread_id)
        return ()

    def _supersede(self, others: Sequence[Run], run: Run) -> None:
        for other in others:
            if other.run_id in self._live:
                self.cancel(other, Ending(run.multitask_strategy))

    def _reject(self, runs: Sequence[Run], error: BaseException) -> None:
        for run in runs:
            self._emit(RunRejected(run.graph_id, type(error).__name__))

    def _begin(self, run: Run) -> None:
        self._spawn(self._attempt(run, self._claim(run)))

    def _claim(self, run: Run) -> asyncio.Future[bool]:
        run.token = run.token or f"{self._rng.getrandbits(128):032x}"
        if self._accepting is not None and run in self._accepting:
            return self._accepting.claim()
        return called(self._store.claim, run, run.token)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _attempt(self, run: Run, claimed: Awaitable[bool]) -> None:
        left = outcome = None
        try:
            outcome = await self._outcome(run, claimed)
        except (StorageUnavailable, WorkerLost) as error:
            left = error
        finally:
            # Both have the run: such a circle, and all that hangs on it, waits for the collector.
            run.task = run.drain = None
            put_back = outcome is None and (self.draining or isinstance(left, WorkerLost))
            self._scheduler.release(run, put_back=put_back)
        if outcome is not None:
            self._end(run, outcome)
        elif run.place is Place.GONE:
            self._leave(run, left or Draining())

    async def _outcome(self, run: Run, claimed: Awaitable[bool]) -> Outcome | None:
        try:
            return await self._work(run, claimed)
        except (StorageUnavailable, WorkerLost):
            raise
        except Exception as error:  # noqa: BLE001 - whatever breaks, the run ends and frees its slot
            return await self._worker.give_up(run, error)

    async def _work(self, run: Run, claimed: Awaitable[bool]) -> Outcome | None:
        # A run that cannot be claimed keeps its slot: no other could be claimed in its place, and
        # none of its thread may go before it. So does one that is executed again, but no suspect.
        loop = asyncio.get_running_loop()
        begun, pause = loop.time(), None
        while run.run_id in self._live:
            try:
                return await self._worker.attempt(run, claimed)
            except WorkerLost:
                if self.limits.suspects(run) and run.ending is None and not self.draining:
                    raise
                begun, pause = loop.time(), None
            except StorageUnavailable as error:
                pause = None if error.lasting else _CLAIM_PAUSE
                self._emit(WriteFailed(run.run_id, type(error).__name__, pause))
                if pause is None:
                    raise
                if loop.time() - begun >= PATIENCE:
                    run.send_away(error)
            if self.draining and not run.ends:
                break
            if pause is not None and run.done is not None:
                # Not for longer if it turns out that the run was not even accepted.
                await asyncio.wait({run.done}, timeout=pause)
            claimed = self._claim(run)
        return None

    async def _end_unstarted(self, run: Run, ending: Ending, *, kept: bool) -> None:
        try:
            outcome = await self._worker.end_unstarted(run, ending)
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait are told
            self._leave(run, error)
        else:
            self._end(run, outcome)
        finally:
            if kept:
                self._scheduler.let_go(run.thread_id)

    def _end(self, run: Run, outcome: Outcome) -> None:
        """Tell everybody who waits for ``run`` how it ended."""
        run.status = outcome.status
        run.stream.publish("end", b"null")
        run.stream.close()
        if run.log is not None:
            run.log.end(run, outcome)
        self.watchers.tell(run.thread_id, run_done(run.run_id))
        run.end(outcome)
        self._admission.finished()
        self._forget(run)

    def _leave(self, run: Run, why: BaseException) -> None:
        """Let go of ``run`` as it is stored; it goes on after the next start, if it is."""
        run.break_off(why)
        self._forget(run)

    def _forget(self, run: Run) -> None:
        if self._live.pop(run.run_id, None) is None:
            return
        if run.log is not None:
            run.log.leave(run)
            self.logs.settle(run.thread_id)
        runs = self._threads[run.thread_id]
        runs.remove(run)
        if not runs:
            del self._threads[run.thread_id]
