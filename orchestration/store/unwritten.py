"""Runs that are not written yet: nobody was told of them, and most end before they need be."""

import asyncio
from collections.abc import Callable
from functools import partial

from orchestration.loop.run import Run

HOLD = 0.25  # seconds that a run of which nobody was told may go without being written
_MOST = 2.0  # seconds that it may while such runs take long
AGAIN = 1.0  # seconds until a run that could not be written is tried again
_TIMES = 2  # what others took of late
_SHARE = 1 / 16  # of the latest in that

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


class Hold:
    """How many ``seconds`` a run is held back: for twice what others took of late, within bounds.

    Else, where many at once take as long as the ``least``, all of them would be written just before
    they end, when there is least time for it.
    """

    def __init__(self, least: float, most: float) -> None:
        self._least = least
        self._most = most
        self._usual = 0.0  # seconds

    @property
    def seconds(self) -> float:
        """How long, at present."""
        return max(self._least, min(_TIMES * self._usual, self._most))

    def note(self, run: Run) -> None:
        """Take into account how long ``run`` took, which ends."""
        took = asyncio.get_running_loop().time() - run.arrived
        self._usual += (took - self._usual) * _SHARE


class UnwrittenRuns:
    """Holds runs back from the disk for a moment; see docs/adr/0007.

    ``write`` keeps a run as it is: accepted, and claimed if it has a token. It is called for a run
    that is still here after ``hold`` seconds, or more while all take long, and again for as long as
    it fails.
    """

    def __init__(self, write: Write, hold: float) -> None:
        self._write = write
        self._hold = Hold(hold, _MOST)
        self._held: dict[str, tuple[Run, float]] = {}  # with since when it has been here
        self._writing: dict[str, asyncio.Future[bool]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __contains__(self, run: Run) -> bool:
        """Return whether nothing of ``run`` is written, nor about to be."""
        return run.run_id in self._held

    def add(self, run: Run) -> None:
        """Hold ``run`` back."""
        self._keep(run, asyncio.get_running_loop().time())

    def discard(self, run: Run) -> bool:
        """Never write ``run``; False if it is written, or about to be."""
        self._writing.pop(run.run_id, None)
        if leaves_nothing(run):
            self._hold.note(run)
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

    def _keep(self, run: Run, since: float) -> None:
        self._held[run.run_id] = (run, since)
        if self._timer is None:
            due = since + self._hold.seconds
            self._timer = asyncio.get_running_loop().call_at(due, self._write_due)

    def _write_due(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        now, seconds = loop.time(), self._hold.seconds
        for run, since in tuple(self._held.values()):
            if since + seconds > now:
                self._timer = loop.call_at(since + seconds, self._write_due)
                return
            self.write_now(run)

    def _written(self, run: Run, written: "asyncio.Future[bool]") -> None:
        if self._writing.pop(run.run_id, None) is None:  # it has ended meanwhile
            return
        if not written.cancelled() and written.exception() is not None:
            again = asyncio.get_running_loop().time() + AGAIN
            self._keep(run, again - self._hold.seconds)
