"""Which checkpoints a caller lists, as SQL that holds nothing of what the caller sent."""

import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointTuple, get_checkpoint_id

from orchestration.store.checkpoint_rows import WRITES

Row: TypeAlias = Sequence[Any]
Found: TypeAlias = tuple[Row, Sequence[Row]]  # a checkpoint, and what was written at it

PAGE = 32  # checkpoints read, and held in memory, at once
FILTER_KEYS = 16  # keys of a metadata filter
_KEY = re.compile(r"[A-Za-z0-9_.-]{1,64}")

_SELECT = """
SELECT thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata
FROM checkpoints WHERE {conditions}
ORDER BY checkpoint_id DESC, thread_id DESC, checkpoint_ns DESC LIMIT ?
"""
_AFTER = "checkpoint_id <= ? AND (checkpoint_id, thread_id, checkpoint_ns) < (?, ?, ?)"


class UnsafeFilter(ValueError):
    """A metadata filter has too many keys, or a key or value that it may not have."""


@dataclass(frozen=True, slots=True)
class Search:
    """A search for checkpoints, newest first; None is no condition.

    ``before`` is an id, ``metadata`` are equal to entries of the checkpoints', and ``last`` is
    the checkpoint (its id, thread and namespace) that the search goes on after.

    Raises:
        UnsafeFilter: ``metadata`` have over 16 keys, a key that is not 1-64 letters, digits or
            ``_.-``, or a value that is no scalar.
    """

    thread_id: str | None = None
    checkpoint_ns: str | None = None
    checkpoint_id: str | None = None
    before: str | None = None
    metadata: Sequence[tuple[str, Any]] = ()
    last: Sequence[str] | None = None

    def __post_init__(self) -> None:
        if len(self.metadata) > FILTER_KEYS:
            raise UnsafeFilter(f"a metadata filter has at most {FILTER_KEYS} keys")
        for key, value in self.metadata:
            if not _KEY.fullmatch(key):
                raise UnsafeFilter(f"{key!r} cannot be a key of a metadata filter")
            if not isinstance(value, str | int | float | None):
                raise UnsafeFilter(f"the metadata filter's {key} is no text, number or null")

    def after(self, last: CheckpointTuple) -> "Search":
        """Return the search for what comes after ``last``."""
        place = last.config.get("configurable", {})
        return replace(
            self, last=(place["checkpoint_id"], place["thread_id"], place["checkpoint_ns"])
        )

    def page(self, connection: sqlite3.Connection, limit: int) -> list[Found]:
        """Return the first ``limit`` checkpoints found."""
        conditions = [condition for condition, _ in self._conditions()]
        parameters = [value for _, values in self._conditions() for value in values]
        sql = _SELECT.format(conditions=" AND ".join(conditions) or "TRUE")
        rows = connection.execute(sql, (*parameters, limit)).fetchall()
        return [(row, connection.execute(WRITES, row[:3]).fetchall()) for row in rows]

    def _conditions(self) -> Iterator[tuple[str, Sequence[Any]]]:
        for column in ("thread_id", "checkpoint_ns", "checkpoint_id"):
            if (value := getattr(self, column)) is not None:
                yield f"{column} = ?", (value,)
        if self.before is not None:
            yield "checkpoint_id < ?", (self.before,)
        for key, value in self.metadata:
            # A dot in a key is a dot.
            yield "json_extract(CAST(metadata AS TEXT), ?) IS ?", (f'$."{key}"', value)
        if self.last is not None:
            yield _AFTER, (self.last[0], *self.last)


def search(
    config: RunnableConfig | None,
    metadata: Mapping[str, Any] | None,
    before: RunnableConfig | None,
) -> Search:
    """Return the search for a thread's checkpoints, or for everybody's without a ``config``.

    ``before`` leaves those that are older than its checkpoint.

    Raises:
        UnsafeFilter: as for `Search`.
    """
    configurable = {} if config is None else config.get("configurable", {})
    return Search(
        thread_id=None if config is None else str(configurable["thread_id"]),
        checkpoint_ns=configurable.get("checkpoint_ns"),
        checkpoint_id=configurable.get("checkpoint_id"),
        before=(None if before is None else get_checkpoint_id(before)) or None,
        metadata=tuple((metadata or {}).items()),
    )
