"""Where records wait: bounded, and the least important go first."""

import threading
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import suppress
from operator import attrgetter

from operations.telemetry.record import Importance, Record


class Inbox:
    """Takes single records from any thread without waiting; what is for the audit, always."""

    def __init__(self, capacity: int) -> None:
        self.dropped: Counter[Importance] = Counter()
        self._capacity = capacity  # records
        self._waiting: dict[Importance, deque[Record]] = {one: deque() for one in Importance}
        self._details, self._lives, self._audits = self._waiting.values()
        self._shedding = threading.Lock()

    def __len__(self) -> int:
        return len(self._details) + len(self._lives) + len(self._audits)

    def put(self, record: Record) -> int:
        """Keep a record, in place of the oldest of the least importance if there is no room.

        Return how many waited before it.
        """
        waiting = len(self._details) + len(self._lives) + len(self._audits)
        if waiting < self._capacity or self._make_room(record.importance):
            self._waiting[record.importance].append(record)
        return waiting

    def take(self, before: "deque[Record]") -> list[Record]:
        """Return what waits and what was taken ``before``, of which nothing is left, in order."""
        taken = _all(before)
        for waiting in self._waiting.values():
            taken += _all(waiting)
        taken.sort()
        return taken

    def take_audit(self) -> list[Record]:
        """Return what waits of the audit, in order."""
        audit = _all(self._audits)
        audit.sort()
        return audit

    def _make_room(self, importance: Importance) -> bool:
        """Return whether there is room now for a record that is so important."""
        with self._shedding:
            for lowest in Importance:
                if lowest is Importance.AUDIT or lowest > importance:
                    break
                with suppress(IndexError):
                    self._waiting[lowest].popleft()
                    self.dropped[lowest] += 1
                    return True
            if importance is not Importance.AUDIT:
                self.dropped[importance] += 1
            return importance is Importance.AUDIT


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
