"""Documents kept in files: written by a thread of their own, whole, not often, and surely."""

import heapq
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import structlog

from operations.files import write_whole

FIRST = 1.0  # seconds that a new document may go unwritten
EVERY = 30.0  # seconds between two writes of a document that goes on changing
_PAUSE_FIRST = 0.1  # seconds before a failed write is tried again; doubled each time
_PAUSE_MOST = 30.0  # seconds
_STALE = 1_000  # turns that may be planned of documents that have another, or none
_REPORTED = 60.0  # seconds for which failures are not reported again

_log = structlog.get_logger("masterloop")


@dataclass(slots=True)
class _Page:
    """What there is to write of a document; it is dirty until its last change was written."""

    changes: int = 0
    written: int = 0
    ended: bool = False
    due: float = math.inf
    next: float = 0.0  # before which it is not written as long as it goes on
    failures: int = 0


class Persister:
    """Writes documents to a folder.

    ``content`` makes a document's text, or None if there is none any more; ``kept`` is called with
    the name of one that has ended and was written. Both are called in the thread that writes.
    """

    def __init__(
        self,
        folder: Path,
        content: Callable[[str], bytes | None],
        kept: Callable[[str], None],
        *,
        now: Callable[[], float] = time.monotonic,
        write: Callable[[Path, bytes], None] = write_whole,
    ) -> None:
        self._folder = folder
        self._content = content
        self._kept = kept
        self._now = now
        self._write = write
        self._lock = threading.Lock()
        self._pages: dict[str, _Page] = {}
        self._due: list[tuple[float, int, str]] = []
        self._numbers = count()
        self._something = threading.Event()
        self._closing = False
        self._failures = 0
        self._reported_at = -math.inf
        self._thread = threading.Thread(target=self._run, name="persister", daemon=True)

    @property
    def waiting(self) -> int:
        """How many documents have changes that are not written."""
        with self._lock:
            return sum(page.changes != page.written for page in self._pages.values())

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def changed(self, name: str, within: float | None = None, *, ended: bool = False) -> None:
        """Have a document written within so many seconds, or (None) at its next turn.

        One that has ``ended`` is forgotten once it is written as it is now.
        """
        with self._lock:
            now = self._now()
            page = self._pages.setdefault(name, _Page(next=now + FIRST))
            page.changes += 1
            page.ended = page.ended or ended
            if not page.failures:  # else it has its turn when its pause is over
                self._plan(name, page, page.next if within is None else now + within)
        self._something.set()

    def forget(self, name: str) -> None:
        """Write no more of a document."""
        with self._lock:
            self._pages.pop(name, None)

    def write_due(self) -> float:
        """Write what is due; return the seconds until the next is, infinite if none is."""
        while True:
            with self._lock:
                if not self._due:
                    return math.inf
                at, _, name = self._due[0]
                if at > (now := self._now()):
                    return at - now
                heapq.heappop(self._due)
                page = self._pages.get(name)
                if page is None or page.due != at:
                    continue  # it was written or forgotten meanwhile
                page.due, page.next, changes = math.inf, now + EVERY, page.changes
            self._attempt(name, page, changes)

    def close(self, grace: float) -> int:
        """Write all that is not written, within so many seconds; return how many are not."""
        deadline = time.monotonic() + grace
        self._closing = True
        self._something.set()
        if self._thread.is_alive():
            self._thread.join(grace)
        while not self._thread.is_alive() and self._all_now():
            self.write_due()
            if time.monotonic() + _PAUSE_FIRST >= deadline:
                break
            if self.waiting:
                time.sleep(_PAUSE_FIRST)
        return self.waiting

    def _all_now(self) -> bool:
        """Have all that is not written be due; return whether there is any."""
        with self._lock:
            now = self._now()
            dirty = [(n, page) for n, page in self._pages.items() if page.changes != page.written]
            for name, page in dirty:
                self._plan(name, page, now)
        return bool(dirty)

    def _run(self) -> None:
        while not self._closing:
            pause = self.write_due()
            self._something.wait(None if pause == math.inf else pause)
            self._something.clear()

    def _plan(self, name: str, page: _Page, at: float) -> None:
        if at < page.due:
            page.due = at
            heapq.heappush(self._due, (at, next(self._numbers), name))
        if len(self._due) > _STALE + 4 * len(self._pages):  # of those planned anew or forgotten
            self._due = [(one.due, next(self._numbers), n) for n, one in self._pages.items()]
            heapq.heapify(self._due)

    def _attempt(self, name: str, page: _Page, changes: int) -> None:
        try:
            content = self._content(name)
            if content is not None:
                self._write(self._folder / f"{name}.json", content)
        except Exception as error:  # noqa: BLE001 - of whatever a write dies, the others go on
            with self._lock:
                pause = min(_PAUSE_MOST, _PAUSE_FIRST * 2 ** min(page.failures, 10))
                page.failures += 1
                self._plan(name, page, self._now() + pause)
            self._report(name, error)
            return
        with self._lock:
            page.written, page.failures = changes, 0
            done = content is None or (page.ended and page.changes == changes)
            if done:
                self._pages.pop(name, None)
            elif page.changes != changes:
                self._plan(name, page, self._now() if page.ended else page.next)
        if done:
            self._kept(name)

    def _report(self, name: str, error: Exception) -> None:
        self._failures += 1
        if self._now() - self._reported_at < _REPORTED:
            return
        self._reported_at = self._now()
        _log.warning(
            "a manifest could not be written; trying again",
            run_id=name,
            error=f"{type(error).__name__}: {error}"[:500],
            failures=self._failures,
        )
