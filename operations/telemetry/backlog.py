"""Where records wait: bounded, and the least important go first."""

import threading
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import count
from operator import attrgetter

from operations.telemetry.record import Importance, Record, make_record


class Inbox:
    """Takes events from any thread without waiting; what is for the audit, always.

    Records are made of them when they are taken, or when there is no room: not by who tells, who
    has something else to do. They are numbered from ``first``, in the order they were told.
    """

    def __init__(
        self,
        capacity: int,
        importance: Mapping[type, Importance],
        common: Mapping[str, str],
        first: int,
    ) -> None:
        self.dropped: Counter[Importance] = Counter()
        self._capacity = capacity  # events
        self._importance = importance
        self._common = common
        self._numbers = count(first)
        self._told: deque[tuple[float, object]] = deque()  # no records yet; with when it was
        self._records: dict[Importance, deque[Record]] = {one: deque() for one in Importance}
        self._recorded = 0  # how many records there are
        self._recording = threading.Lock()

    def __len__(self) -> int:
        return len(self._told) + self._recorded

    def put(self, event: object) -> int:
        """Keep an event, in place of the oldest of the least importance if there is no room.

        Return how many wait.
        """
        self._told.append((time.time(), event))
        waiting = len(self._told) + self._recorded
        if waiting > self._capacity:
            self._make_room()
        return waiting

    def take(self, before: "deque[Record]") -> list[Record]:
        """Return what waits and what was taken ``before``, of which nothing is left, in order."""
        taken = _all(before)
        with self._recording:
            self._record()
            for records in self._records.values():
                taken += _all(records)
            self._recorded = 0
        taken.sort()
        return taken

    def take_audit(self) -> list[Record]:
        """Return what waits of the audit, in order."""
        with self._recording:
            self._record()
            audit = _all(self._records[Importance.AUDIT])
            self._recorded -= len(audit)
        return audit

    def _record(self) -> None:
        """Make records of all that was told."""
        told, importance_of, common = self._told, self._importance.get, self._common
        for _ in range(len(told)):
            at, event = told.popleft()
            importance = importance_of(type(event), Importance.DETAIL)
            known = next(self._numbers), at, importance, event, common
            self._records[importance].append(make_record(Record, known))
            self._recorded += 1

    def _make_room(self) -> None:
        if not self._recording.acquire(blocking=False):
            return  # somebody takes what waits
        try:
            self._record()
            for importance, records in self._records.items():
                if importance is Importance.AUDIT:
                    break
                while records and self._recorded > self._capacity:
                    records.popleft()
                    self._recorded -= 1
                    self.dropped[importance] += 1
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
                self._shed(len(self._waiting) - self._capacity * 7 // 8)

    def take(self, most: int) -> list[Record]:
        """Return the first that wait, at most so many."""
        with self._lock:
            taken = self._waiting[:most]
            del self._waiting[:most]
        return taken

    def give_up(self, batch: Sequence[Record]) -> None:
        """Count a batch that was taken as dropped."""
        self.dropped.update(record.importance for record in batch)

    def _shed(self, count: int) -> None:
        # A stable sort: by importance, and within one by age. More than one at a time, so that a
        # sink that is behind for long does not cost a sort per batch.
        lost = sorted(self._waiting, key=attrgetter("importance"))[:count]
        self.give_up(lost)
        gone = {record.number for record in lost}
        self._waiting = [record for record in self._waiting if record.number not in gone]


def _all(waiting: "deque[Record]") -> list[Record]:
    taken: list[Record] = []
    with suppress(IndexError):  # others take of it as well
        taken.extend(waiting.popleft() for _ in range(len(waiting)))
    return taken
