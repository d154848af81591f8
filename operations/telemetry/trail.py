"""The audit trail: who did what, on the disk a moment later, and kept."""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from operator import attrgetter
from pathlib import Path
from typing import Any

import orjson

from operations.clock import iso_of
from operations.json_text import dumps
from operations.telemetry.record import Importance, Record, make_record
from operations.telemetry.segments import Segments, read_segments

FOLDER = "audit"
_SEGMENT = 16 * 1024**2  # bytes
_ONE = 2**63 - 1  # bytes: whoever writes one event deletes nothing
_LONG = 1_000  # characters of a text that are kept, where entries are longer than that on average
_MOST = 256  # entries of a page: they are made while the event loop waits for the interpreter
_INTEGERS = 2**63  # larger ones are told as texts, if they can be
_LARGE = 256 * 1024  # bytes of a page, beyond which it is made into two
_HEAD = ("writer", "number", "at", "event")  # what every entry begins with
_Values = Callable[[Any], Sequence[Any]]  # of an event


class Trail:
    """A writer that has what it is given on the disk before it returns.

    Each entry has the id of who writes and a number that goes up by one: a gap is a loss. They are
    written in pages, as JSON: what the entries have in common once, and of each its number, its
    time, the type of its event, and the values of the fields that the page names for that type.
    """

    name = "audit"
    kinds = None  # what is for the audit, whatever it is

    def __init__(self, folder: Path, *, total: int) -> None:
        self._segments = Segments(folder, size=min(_SEGMENT, total // 4), total=total)
        self._writer = f"{time.time_ns():x}-{os.getpid()}"
        self._number = 0  # of the last entry that was made
        self._kinds: dict[type, tuple[Sequence[str], _Values]] = {}  # fields, and what reads them
        self._written = 0  # entries
        self._open = False
        self._heard: Callable[[bool], None] | None = None
        self.failing = False  # whether the disk does not take what has to be written

    @property
    def written(self) -> int:
        """How many entries are on the disk."""
        return self._written

    @property
    def held(self) -> int:
        """How many bytes of entries are on the disk, those of earlier writers too."""
        return self._segments.held

    def tell(self, heard: Callable[[bool], None]) -> None:
        """Have ``heard`` told, in the sink's thread, whenever ``failing`` is about to change."""
        self._heard = heard

    def prepare(self, batch: Sequence[Record]) -> Sequence[Record]:
        """Number the entries."""
        first = self._number + 1
        self._number += len(batch)
        return [
            make_record(Record, (number, at, importance, event, common))
            for number, (_, at, importance, event, common) in enumerate(batch, first)
        ]

    def take(self, batch: Sequence[Record]) -> None:
        """Write entries.

        Raises:
            OSError: the disk did not take it; nothing of it was written.
        """
        try:
            if not self._open:
                self._segments.open()
                self._open = True
            parts = (batch[begin : begin + _MOST] for begin in range(0, len(batch), _MOST))
            self._segments.append([page for part in parts for page in self._pages(part)])
        except OSError:
            self._hear(failing=True)
            raise
        self._written += len(batch)
        self._hear(failing=False)

    def close(self, grace: float) -> None:  # noqa: ARG002 - it takes no time
        """Let go of the file."""
        self._segments.close()

    def _hear(self, *, failing: bool) -> None:
        if failing is not self.failing:
            if self._heard is not None:
                self._heard(failing)
            self.failing = failing

    def _pages(self, batch: Sequence[Record]) -> Iterator[bytes]:
        try:
            page = self._page(batch)
        except (ValueError, RecursionError):  # a value goes round in circles, or down too deep
            page = self._page(batch, cut=True)
        if len(page) > _LONG * len(batch):
            page = self._page(batch, cut=True)
        if len(page) <= _LARGE or len(batch) == 1:
            yield page
            return
        middle = len(batch) // 2
        yield from self._pages(batch[:middle])
        yield from self._pages(batch[middle:])

    def _page(self, batch: Sequence[Record], *, cut: bool = False) -> bytes:
        named: dict[str, Sequence[str]] = {}
        entries: list[Sequence[Any]] = []
        for number, at, _, event, _ in batch:
            kind = type(event)
            name = kind.__name__
            names, values_of = self._kinds.get(kind) or self._learn(kind)
            named[name] = names
            values = values_of(event)
            entries.append((number, at, name, _cut(values) if cut else values))
        head = {"writer": self._writer, "common": batch[-1].common, "fields": named}
        return dumps({**head, "entries": entries})

    def _learn(self, kind: Any) -> tuple[Sequence[str], _Values]:
        names = [one.name for one in fields(kind) if one.name not in _HEAD]
        self._kinds[kind] = names, _reader(names)
        return self._kinds[kind]


def _reader(names: Sequence[str]) -> _Values:
    """Return what reads these attributes; of two or more, `attrgetter` does at once."""
    if len(names) > 1:
        return attrgetter(*names)
    return lambda event: [getattr(event, name) for name in names]


def _cut(values: Sequence[Any]) -> Sequence[Any]:
    return [value if isinstance(value, bool | float | None) else _short(value) for value in values]


def _short(value: Any) -> str | int:
    if isinstance(value, int) and abs(value) < _INTEGERS:
        return value
    try:
        return str(value)[:_LONG]
    except (ValueError, RecursionError):
        return f"a {type(value).__name__} that cannot be written"


def write_down(folder: Path, event: object) -> None:
    """Write one event into a trail that another process may be writing, too.

    Raises:
        OSError: the disk did not take it.
    """
    trail = Trail(folder, total=_ONE)
    trail.take(trail.prepare([Record(1, time.time(), Importance.AUDIT, event, {})]))
    trail.close(0)


def read_trail(folder: Path) -> Iterator[Mapping[str, Any]]:
    """Yield the entries of a trail, whoever writes it at the same time.

    Raises:
        PermissionError: some segments may not be read; the entries of all others were yielded.
        TrailDamaged: some are not as they were written; the entries that are were yielded.
    """
    for written in read_segments(folder):
        with suppress(orjson.JSONDecodeError):  # whole, but not of our making
            page = orjson.loads(written)
            if "entries" in page:
                yield from _entries(page)
            else:  # from before there were pages: one entry
                yield page


def _entries(page: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    common = {name: value for name, value in page["common"].items() if name not in _HEAD}
    for number, at, kind, values in page["entries"]:
        head = {"writer": page["writer"], "number": number, "at": iso_of(at), "event": kind}
        yield {**head, **common, **dict(zip(page["fields"][kind], values, strict=True))}
