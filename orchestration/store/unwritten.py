"""Runs that are not written yet: nobody was told of them, and most end before they need be."""

import asyncio
from collections.abc import Callable
from functools import partial

from orchestration.loop.run import Run

HOLD = 0.25  # seconds that a run of which nobody was told may go without being written
AGAIN = 1.0  # seconds until a run that could not be written is tried again

Write = Callable[[Run], "asyncio.Future[bool]"]


def leaves_nothing(run: Run) -> bool:
    """Return whether nobody was told of the run, and nothing is kept of it once it has ended."""
    return run.ephemeral and _may_wait(run)


def leaves_a_thread(run: Run) -> bool:
    """Return whether nobody was told of the run, nor of the thread that it makes."""
    return run.create_thread and not run.ephemeral and _may_wait(run)


def _may_wait(run: Run) -> bool:
    kwargs = run.kwargs
    asks = run.resumable or run.delay or "webhook" in kwargs or "durability" in kwargs
    return not (run.announced or asks)


class UnwrittenRuns:
    """Holds runs back from the disk for a moment; see docs/adr/0007.

    ``write`` keeps a run as it is: accepted, and claimed if it has a token. It is called for a run
    that is still here after ``hold`` seconds, and again for as long as it fails.
    """

    def __init__(self, write: Write, hold: float) -> None:
        self._write = write
        self._hold = hold
        self._held: dict[str, tuple[Run, float]] = {}  # with the time at which it is due
        self._writing: dict[str, asyncio.Future[bool]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __contains__(self, run: Run) -> bool:
        """Return whether nothing of ``run`` is written, nor about to be."""
        return run.run_id in self._held

    def add(self, run: Run) -> None:
        """Hold ``run`` back."""
        self._keep(run, self._hold)

    def discard(self, run: Run) -> bool:
        """Never write ``run``; False if it is written, or about to be."""
        self._writing.pop(run.run_id, None)
        return self._held.pop(run.run_id, None) is not None

    def writing(self, run: Run) -> "asyncio.Future[bool] | None":
        """Return the write of ``run`` that is under way."""
        return self._writing.get(run.run_id)

    def write_now(self, run: Run) -> "asyncio.Future[bool] | None":
        """Write ``run`` before its time; None if it is written. What fails is tried again."""
        if self._held.pop(run.run_id, None) is None:
            return self.writing(run)
        written = self._writing[run.run_id] = self._write(run)
        written.add_done_callback(partial(self._written, run))
        return written

    def write_all(self) -> None:
        """Write all that are held, before their time."""
        for run, _ in tuple(self._held.values()):
            self.write_now(run)

    def _keep(self, run: Run, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self._held[run.run_id] = (run, loop.time() + seconds)
        if self._timer is None:
            self._timer = loop.call_later(seconds, self._write_due)

    def _write_due(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        now = loop.time()
        for run, due in tuple(self._held.values()):
            if due > now:
                self._timer = loop.call_at(due, self._write_due)
                return
            self.write_now(run)

    def _written(self, run: Run, written: "asyncio.Future[bool]") -> None:
        if self._writing.pop(run.run_id, None) is None:  # it has ended meanwhile
            return
        if not written.cancelled() and written.exception() is not None:
            self._keep(run, AGAIN)
