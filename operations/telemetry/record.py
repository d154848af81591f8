"""One thing that happened, as sinks get it; and what takes it."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from enum import IntEnum
from functools import cached_property
from typing import Any, NamedTuple, Protocol


class Importance(IntEnum):
    """What goes first when there is no room: the oldest of the lowest."""

    DETAIL = 0  # of how the work goes; a lost one is a gap in a chart
    LIFECYCLE = 1  # of runs, agents and messages
    AUDIT = 2  # who did what; never lost


class Record(NamedTuple):
    """An event, numbered in the order in which events were told.

    ``at`` is seconds since 1970, UTC. ``common`` is what is the same for all events of the
    process: ``service.name`` and the like.
    """

    number: int
    at: float
    importance: Importance
    event: Any
    common: Mapping[str, str]

    def telling(self, event: object) -> "Record":
        """Return the same with another event."""
        number, at, importance, _, common = self
        return make_record(Record, (number, at, importance, event, common))


# Without the call that a named tuple makes of it: there is one for every event, and every line.
make_record = tuple.__new__


class Batch:
    """Records in order, sorted by the types of their events once for all who want only some."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.records = records

    def of(self, kinds: Collection[type] | None) -> Sequence[Record]:
        """Return those with events of ``kinds``, in order; None: all."""
        if kinds is None:
            return self.records
        by_kind = self._by_kind
        found = [records for kind, records in by_kind.items() if kind in kinds]
        if len(found) == len(by_kind):
            return self.records
        if len(found) > 1:
            return [record for record in self.records if type(record.event) in kinds]
        return found[0] if found else ()

    @cached_property
    def _by_kind(self) -> Mapping[type, Sequence[Record]]:
        by_kind = defaultdict[type, list[Record]](list)
        for record in self.records:
            by_kind[type(record.event)].append(record)
        return by_kind


class Sink(Protocol):
    """What takes records. It has a thread of its own, in which all its methods are called."""

    @property
    def name(self) -> str:
        """What it is called in logs and metrics."""
        ...

    @property
    def kinds(self) -> Collection[type] | None:
        """The types of events that it is given; None: all. For others it is not even woken."""
        ...

    def take(self, batch: Sequence[Record], /) -> None:
        """Take records, in order.

        One that raises is given the same batch again, later; one that hangs holds up nobody else.
        Meanwhile the oldest records of the least importance are dropped, and counted.
        """
        ...

    def close(self, grace: float) -> None:
        """Let go of what it holds, within so many seconds. Nothing is taken any more."""
        ...


class Writer(Sink, Protocol):
    """A sink that waits for a disk or a pipe; what it can compute before, others compute for it."""

    def prepare(self, batch: Sequence[Record], /) -> Sequence[Record]:
        """Return what is to be taken of a batch, with what was made of it as events.

        Called where records are handed on, which it must not hold up: it only computes.
        """
        ...
