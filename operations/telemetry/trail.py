"""The audit trail: who did what, on the disk a moment later, and kept."""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

import orjson

from operations.clock import iso_of
from operations.json_text import dumps
from operations.telemetry.record import Importance, Record
from operations.telemetry.segments import Segments, read_segments

FOLDER = "audit"
_SEGMENT = 16 * 1024**2  # bytes
_ONE = 2**63 - 1  # bytes: whoever writes one event deletes nothing
_LONG = 1_000  # characters of a text that are kept
_HEAD = ("writer", "number", "at", "event")  # what every entry begins with
_NAMES: dict[type, Sequence[str]] = {}  # of the other fields of each type of event


class Trail:
    """A writer that has what it is given on the disk before it returns.

    Each entry has the id of who writes and a number that goes up by one: a gap is a loss.
    """

    name = "audit"

    def __init__(self, folder: Path, *, total: int) -> None:
        self._segments = Segments(folder, size=min(_SEGMENT, total // 4), total=total)
        self._writer = f"{time.time_ns():x}-{os.getpid()}"
        self._number = 0  # of the last entry that was made
        self._common: Mapping[str, str] = {}
        self._rest: Mapping[str, str] = {}  # of what is common, that is no part of the head
        self._written = 0  # entries
        self._open = False
        self._heard: Callable[[bool], None] | None = None
        self.failing = False  # whether the disk does not take what has to be written

    @property
    def kinds(self) -> None:
        """What is for the audit, whatever it is."""

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
        """Make the entries, with their numbers."""
        return [record.telling(self._entry(record)) for record in batch]

    def take(self, batch: Sequence[Record]) -> None:
        """Write entries.

        Raises:
            OSError: the disk did not take it; nothing of it was written.
        """
        try:
            if not self._open:
                self._segments.open()
                self._open = True
            self._segments.append([record.event for record in batch])
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

    def _entry(self, record: Record) -> bytes:
        self._number += 1
        event = record.event
        kind = type(event)
        if record.common is not self._common:
            self._common = record.common
            self._rest = {k: v for k, v in record.common.items() if k not in _HEAD}
        entry: dict[str, Any] = {
            "writer": self._writer,
            "number": self._number,
            "at": iso_of(record.at),
            "event": kind.__name__,
            **self._rest,
        }
        for name in _names(kind):
            entry[name] = getattr(event, name)
        line = dumps(entry)
        if len(line) > _LONG:  # or no text in it can be too long
            line = dumps({k: v[:_LONG] if isinstance(v, str) else v for k, v in entry.items()})
        return line


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
    """
    for entry in read_segments(folder):
        with suppress(orjson.JSONDecodeError):  # whole, but not of our making
            yield orjson.loads(entry)


def _names(kind: Any) -> Sequence[str]:
    if kind not in _NAMES:
        _NAMES[kind] = [one.name for one in fields(kind) if one.name not in _HEAD]
    return _NAMES[kind]
