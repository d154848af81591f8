"""Which checkpoints a caller lists, as SQL that holds nothing of what the caller sent."""

import re
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointTuple, get_checkpoint_id
from langgraph.checkpoint.serde.base import SerializerProtocol

from orchestration.store.checkpoint_rows import WRITES, checkpoint_tuple

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
    """A search for checkpoints: conditions with their parameters, newest first."""

    conditions: tuple[str, ...]
    parameters: tuple[Any, ...]

    def after(self, last: CheckpointTuple) -> "Search":
        """Return the search for what comes after ``last``."""
        place = last.config.get("configurable", {})
        checkpoint_id = place["checkpoint_id"]
        return Search(
            (*self.conditions, _AFTER),
            (
                *self.parameters,
                checkpoint_id,
                checkpoint_id,
                place["thread_id"],
                place["checkpoint_ns"],
            ),
        )

    def page(
        self, connection: sqlite3.Connection, limit: int, serde: SerializerProtocol
    ) -> list[CheckpointTuple]:
        """Return the first ``limit`` checkpoints found."""
        sql = _SELECT.format(conditions=" AND ".join(self.conditions) or "TRUE")
        rows = connection.execute(sql, (*self.parameters, limit)).fetchall()
        return [
            checkpoint_tuple(row, connection.execute(WRITES, row[:3]).fetchall(), serde)
            for row in rows
        ]


def search(
    config: RunnableConfig | None,
    metadata: Mapping[str, Any] | None,
    before: RunnableConfig | None,
) -> Search:
    """Return the search for a thread's checkpoints, or for everybody's without a ``config``.

    ``metadata`` filters by equality with entries of the checkpoints' metadata; a dot in a key is
    a dot. ``before`` leaves those that are older than its checkpoint.

    Raises:
        UnsafeFilter: the filter has over 16 keys, a key that is not 1-64 letters, digits or
            ``_.-``, or a value that is no scalar.
    """
    conditions: list[str] = []
    parameters: list[Any] = []
    if config is not None:
        configurable = config.get("configurable", {})
        conditions.append("thread_id = ?")
        parameters.append(str(configurable["thread_id"]))
        for column in ("checkpoint_ns", "checkpoint_id"):
            if (value := configurable.get(column)) is not None:
                conditions.append(f"{column} = ?")
                parameters.append(value)
    if before is not None and (checkpoint_id := get_checkpoint_id(before)):
        conditions.append("checkpoint_id < ?")
        parameters.append(checkpoint_id)
    for key, value in _safe(metadata or {}).items():
        conditions.append("json_extract(CAST(metadata AS TEXT), ?) IS ?")
        parameters += [f'$."{key}"', value]
    return Search(tuple(conditions), tuple(parameters))


def _safe(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    if len(metadata) > FILTER_KEYS:
        raise UnsafeFilter(f"a metadata filter has at most {FILTER_KEYS} keys")
    for key, value in metadata.items():
        if not _KEY.fullmatch(key):
            raise UnsafeFilter(f"{key!r} cannot be a key of a metadata filter")
        if not isinstance(value, str | int | float | None):
            raise UnsafeFilter(f"the metadata filter's {key} is no text, number or null")
    return metadata
