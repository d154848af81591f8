"""Where records wait: bounded, and the least important go first."""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from itertools import count

from operations.telemetry.record import Importance, Record, make_record

_SHARE = 8  # records go by eighths of the capacity: each time, all are looked through


class Inbox:
    """Takes events from any thread without waiting; what is for the audit, always.

    Records are made of them when they are taken, or when there is no room: not by who tells, who
    has something else to do. They are numbered from ``first``, in the order they were told.
    ``wake`` is called at the first event after ``rouse``, ``hurry`` while half the room is taken.
    """

    def __init__(
        self,
        capacity: int,
        importance: Mapping[type, Importance],
        common: Mapping[str, str],
        first: int,
        *,
        wake: Callable[[], None],
        hurry: Callable[[], None],
    ) -> None:
        self.dropped: Counter[Importance] = Counter()
        self._capacity = capacity  # events
        self._half = capacity // 2
        self._wake = wake
        self._hurry = hurry
        self._woken = False
        self._importance = importance
        self._common = common
        self._numbers = count(first)
        self._told: deque[tuple[float, object]] = deque()  # no records yet; with when it was
        self._records: list[Record] = []
        self._audit: list[Record] = []  # that nobody has been given for it
        self._kept = 0  # how many of the records are for the audit
        self._recording = threading.Lock()

    def __len__(self) -> int:
        return len(self._told) + len(self._records)

    def put(self, event: object) -> None:
        """Keep an event, in place of the oldest of the least importance if there is no room."""
        self._told.append((time.time(), event))
        if not self._woken:
            self._woken = True
            self._wake()
        waiting = len(self._told) + len(self._records)
        if waiting >= self._half:
            self._hurry()
            if waiting > self._capacity:
                self._make_room()

    def rouse(self) -> None:
        """Have the next event wake again: what is there now is about to be taken."""
        self._woken = False

    def take(self) -> list[Record]:
        """Return what waits, in order."""
        with self._recording:
            self._record()
            taken, self._records, self._kept = self._records, [], 0
        return taken

    def take_audit(self) -> list[Record]:
        """Return what is for the audit, each once, in order. It is taken with the rest, too."""
        with self._recording:
            self._record()
            audit, self._audit = self._audit, []
        return audit

    def give_back(self, audit: Sequence[Record]) -> None:
        """Have what was given for the audit given again."""
        with self._recording:
            self._audit[:0] = audit

    def _record(self) -> None:
        """Make records of all that was told."""
        next_of, importance_of, keep = (
            self._told.popleft,
            self._importance.get,
            self._records.append,
        )
        numbers, common = self._numbers, self._common
        detail, audit = Importance.DETAIL, Importance.AUDIT
        for _ in range(len(self._told)):
            at, event = next_of()
            importance = importance_of(type(event), detail)
            record = make_record(Record, (next(numbers), at, importance, event, common))
            keep(record)
            if importance is audit:
                self._audit.append(record)
                self._kept += 1

    def _make_room(self) -> None:
        if not self._recording.acquire(blocking=False):
            return  # somebody is at it; the next will look again
        try:
            self._record()
            excess = len(self._records) - max(self._capacity, self._kept)
            if excess >= max(1, self._capacity // _SHARE):
                self._records = _without_least(self._records, excess, self.dropped)
        finally:
            self._recording.release()


class Backlog:
    """The records that one sink has not taken yet. They come in batches, all from one thread."""

    def __init__(self, capacity: int) -> None:
        self.dropped: Counter[Importance] = Counter()
        self._capacity = capacity  # records
        self._waiting: list[Record] = []
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def oldest(self) -> float | None:
        """When the first that waits was told, in seconds since 1970."""
        with self._lock:
            return self._waiting[0].at if self._waiting else None

    def extend(self, batch: Sequence[Record]) -> None:
        """Keep a batch; the oldest of the least importance are dropped if that is too much."""
        with self._lock:
            self._waiting.extend(batch)
            if len(self._waiting) > self._capacity:
                # More than is too much: or, behind for long, all would be looked through per batch.
                excess = len(self._waiting) - self._capacity + self._capacity // _SHARE
                self._waiting = _without_least(self._waiting, excess, self.dropped)

    def take(self, most: int) -> list[Record]:
        """Return the first that wait, at most so many."""
        with self._lock:
            taken = self._waiting[:most]
            del self._waiting[:most]
        return taken

    def give_up(self, batch: Sequence[Record]) -> None:
        """Count a batch that was taken as dropped."""
        self.dropped.update(record.importance for record in batch)


def _without_least(
    records: Sequence[Record], excess: int, dropped: Counter[Importance]
) -> list[Record]:
    """Return the records without the oldest of the least importance, which are counted."""
    there = Counter(record.importance for record in records)
    lost = Counter[Importance]()
    for importance in Importance:
        lost[importance] = min(there[importance], excess - lost.total())
    dropped.update(+lost)
    kept: list[Record] = []
    for record in records:
        if lost[record.importance]:
            lost[record.importance] -= 1
        else:
            kept.append(record)
    return kept
