"""Decides when a run starts: as soon as its time, its thread, its limits and a slot allow."""

import asyncio
from collections.abc import Callable

from orchestration.loop.admission import Limits
from orchestration.loop.queue import RunQueue
from orchestration.loop.run import Place, Run
from orchestration.loop.standing import Standing, working_standing


class Scheduler:
    """Hands runs to ``start``, at most ``limits.concurrent_runs`` at a time.

    It acts when something happens (a run came, its time came, a run ended) and in that same turn
    of the event loop; it never polls.
    """

    def __init__(self, limits: Limits, start: Callable[[Run], None]) -> None:
        self._limits = limits
        self._start = start
        self._queue = RunQueue(limits.ageing, limits.limit)
        self._delayed: dict[Run, float] = {}  # with the time at which it is due
        self.closed = False  # whether it starts nothing more
        self._able = True
        self.working = 0

    @property
    def waiting(self) -> int:
        """How many runs wait, the delayed ones included."""
        return len(self._queue) + len(self._delayed)

    def add(self, *runs: Run) -> None:
        """Let runs start when they can, but none before its delay has passed.

        Those that are added together are ordered together, before the first of them starts.
        """
        loop = asyncio.get_running_loop()
        for run in runs:
            run.limits = self._limits.keys(run)
            if run.delay > 0:
                run.place = Place.DELAYED
                run.timer = loop.call_later(run.delay, self._due, run)
                self._delayed[run] = loop.time() + run.delay
            else:
                self._queue_up(run)
        self._dispatch()

    def withdraw(self, run: Run) -> bool:
        """Take out a run that has not started; one that has, or is gone, is left alone.

        Return whether it keeps its thread until ``let_go``: it may have begun before a restart, and
        what it has left there is not to be built on before its end is written.
        """
        if run.place is Place.DELAYED:
            self._delayed.pop(run, None)
            run.place = Place.GONE
            if run.timer is not None:
                run.timer.cancel()
        elif run.place not in (Place.WORKING, Place.GONE):
            kept = self._queue.remove(run)
            self._dispatch()
            return kept
        return False

    def release(self, run: Run, *, put_back: bool = False) -> None:
        """Take back the slot and the limits of a run that was started, and its thread.

        One that is ``put_back`` keeps that: nothing is to change there before it goes on. It waits
        for that by the limits that are its own now, unless nothing more is started.
        """
        self.working -= 1
        self._queue.release(run, put_back=put_back)
        if put_back and not self.closed:
            run.limits = self._limits.keys(run)
            self._queue.put_first(run)
        self._dispatch()

    def hold(self, thread_id: str) -> bool:
        """Let no run of a thread start until ``let_go``; False if one has, or is about to."""
        return self._queue.hold(thread_id)

    def let_go(self, thread_id: str) -> None:
        """Let the runs of a thread that is held, or kept, start again."""
        self._queue.let_go(thread_id)
        self._dispatch()

    def enable(self, *, able: bool) -> None:
        """Start runs, or none while nobody could execute them."""
        self._able = able
        self._dispatch()

    def close(self) -> None:
        """Start nothing more."""
        self.closed = True
        for run in self._delayed:
            if run.timer is not None:
                run.timer.cancel()

    def standing(self, run: Run) -> Standing:
        """Say where ``run`` is and what it waits for."""
        match run.place:
            case Place.WORKING:
                now = asyncio.get_running_loop().time()
                seconds = now - run.began if run.began else None
                return working_standing(run.ending, run.attempt, seconds, self._limits.cancel_grace)
            case Place.GONE:
                return Standing(run.place, 0, "it has ended")
            case _:
                return self._waits(run)

    def _waits(self, run: Run) -> Standing:
        if self.closed:
            return Standing(run.place, 0, "the service is stopping; it starts after the next start")
        match run.place:
            case Place.DELAYED:
                left = self._delayed[run] - asyncio.get_running_loop().time()
                return Standing(run.place, 0, f"it starts in {max(0.0, left):.1f} s")
            case Place.LINE:
                ahead = self._queue.in_line(run)
                return Standing(run.place, ahead, f"{ahead} of its thread go before it")
            case Place.PARKED:
                limit = self._queue.reached(run)
                if limit is None:  # there was room, which was offered to the first who waits there
                    why = "others that wait at its limit go before it, and wait for a slot"
                else:
                    why = f"{limit} has all the runs working that it may have"
                return Standing(run.place, 0, why)
            case _ if not self._able:
                return Standing(run.place, 0, "no worker process is there to execute it")
            case _:
                ahead = self._queue.before(run)
                slots = f"{self.working} of {self._limits.concurrent_runs} slots busy"
                return Standing(
                    run.place, ahead, f"{ahead} ahead of it in priority {run.priority}; {slots}"
                )

    def _due(self, run: Run) -> None:
        self._delayed.pop(run, None)
        run.timer = None
        self._queue_up(run)
        self._dispatch()

    def _queue_up(self, run: Run) -> None:
        run.arrived = asyncio.get_running_loop().time()
        self._queue.put(run)

    def _dispatch(self) -> None:
        while self._able and not self.closed and self.working < self._limits.concurrent_runs:
            run = self._queue.take()
            if run is None:
                return
            self.working += 1
            self._start(run)
