"""Items as rows: put, read, found, forgotten, refreshed, swept."""

import json
import sqlite3
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

from orchestration.store.bounded import fetch, gathered
from orchestration.store.item_filters import Condition, filter_conditions
from orchestration.store.item_namespaces import Namespace, below

COLUMNS = "item_id, namespace, key, created_at, updated_at, expires_at, ttl, value"
LIVE = "(expires_at IS NULL OR expires_at > ?)"
_MINUTE = 60.0  # seconds

GET = f"SELECT {COLUMNS} FROM items WHERE namespace = ? AND key = ? AND {LIVE}"  # noqa: S608 - constants
# What has expired is gone, swept or not: an item put in its place is a new one.
_PUT = """
INSERT INTO items (namespace, key, created_at, updated_at, expires_at, ttl, value)
VALUES (:namespace, :key, :now, :now, :expires_at, :ttl, :value)
ON CONFLICT (namespace, key) DO UPDATE SET
    created_at = CASE WHEN expires_at <= :at THEN excluded.created_at ELSE created_at END,
    updated_at = excluded.updated_at, expires_at = excluded.expires_at, ttl = excluded.ttl,
    value = excluded.value
RETURNING item_id
"""
_FORGET_VECTORS = "DELETE FROM item_vectors WHERE item_id = ?"
_PUT_VECTOR = "INSERT OR REPLACE INTO item_vectors (item_id, path, vector) VALUES (?, ?, ?)"
_DELETE = "DELETE FROM items WHERE namespace = ? AND key = ?"
_REFRESH = f"""
UPDATE items SET expires_at = ? + ttl * {_MINUTE}
WHERE namespace = ? AND key = ? AND item_id = ? AND ttl IS NOT NULL AND {LIVE}
"""  # noqa: S608 - constants
_SWEEP = """
DELETE FROM items WHERE item_id IN
    (SELECT item_id FROM items WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)
"""
_BELOW = "namespace >= ? AND namespace < ?"
_COUNT = f"SELECT count(*) FROM (SELECT 1 FROM items WHERE {_BELOW} LIMIT ?)"  # noqa: S608 - constants
_ORDER = "ORDER BY updated_at DESC, namespace DESC, item_id DESC"
# One after another, in the order of the ids: sorted, all values would be in memory at once.
_BY_IDS = f"""
SELECT {COLUMNS} FROM (SELECT value AS wanted FROM json_each(?))
CROSS JOIN items ON item_id = wanted
"""  # noqa: S608 - constants
_NARROW = 1_000  # items that are quicker sorted than met among all of them


@dataclass(frozen=True, slots=True)
class Put:
    """An item to keep. ``vectors`` are by the path of the text that each is of."""

    namespace: str
    key: str
    value: str
    ttl: float | None  # minutes
    vectors: Mapping[str, bytes]


def put(
    items: Iterable[Put],
    forgotten: Iterable[tuple[str, str]],
    now: str,
    at: float,
    connection: sqlite3.Connection,
) -> None:
    """Keep ``items`` and forget others, by namespace and key.

    ``now`` and ``at`` are the same moment, as a timestamp and in seconds since 1970.
    """
    connection.executemany(_DELETE, forgotten)
    for item in items:
        row = {
            "namespace": item.namespace,
            "key": item.key,
            "value": item.value,
            "ttl": item.ttl,
            "expires_at": None if item.ttl is None else at + item.ttl * _MINUTE,
            "now": now,
            "at": at,
        }
        item_id = connection.execute(_PUT, row).fetchone()[0]
        connection.execute(_FORGET_VECTORS, (item_id,))
        vectors = [(item_id, path, vector) for path, vector in item.vectors.items()]
        connection.executemany(_PUT_VECTOR, vectors)


def refresh(
    items: Sequence[tuple[str, str, int]], at: float, connection: sqlite3.Connection
) -> None:
    """Let items live for their whole time to live again: by namespace, key and id.

    The id alone may be another's by now.
    """
    connection.executemany(_REFRESH, [(at, *item, at) for item in items])


def sweep(at: float, limit: int, connection: sqlite3.Connection) -> int:
    """Delete items that have expired, ``limit`` at most; return how many."""
    return connection.execute(_SWEEP, (at, limit)).rowcount


@contextmanager
def snapshot(connection: sqlite3.Connection) -> Generator[None]:
    """Have every read within see the same: the id of an item that is deleted becomes another's."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.rollback()


def by_ids(ids: Sequence[int], connection: sqlite3.Connection) -> list[sqlite3.Row]:
    """Return the items with these ids, in their order.

    Raises:
        TooMuchFound: there are several, and their values are too large together.
    """
    with closing(connection.execute(_BY_IDS, (json.dumps(ids),))) as rows:
        return gathered(rows)


@dataclass(frozen=True, slots=True)
class Search:
    """Which items, live at ``at``, in and below a namespace."""

    namespace: Namespace
    filter: Mapping[str, Any]
    at: float

    def where(self) -> Condition:
        """Return the condition and its parameters.

        Raises:
            FilterRefused: the filter says what none can.
        """
        parameters: list[Any] = [*below(self.namespace), self.at]
        conditions = [_BELOW, LIVE]
        for condition, given in filter_conditions(self.filter):
            conditions.append(condition)
            parameters += given
        return " AND ".join(conditions), parameters

    def page(self, limit: int, offset: int, connection: sqlite3.Connection) -> list[sqlite3.Row]:
        """Return the items, those that were last put first.

        Raises:
            FilterRefused: the filter says what none can.
            SearchTooWide: it took too long.
            TooMuchFound: the values are too large for one page.
        """
        sql, parameters = self.statement(connection)
        with snapshot(connection):
            found = fetch(connection, sql, [*parameters, limit, offset])
            return by_ids([row["item_id"] for row in found], connection)

    def statement(self, connection: sqlite3.Connection) -> Condition:
        """Return what finds the ids of a page, but for the limit and the offset.

        A few items are found by their namespace and sorted, many are met in their order.
        """
        where, parameters = self.where()
        few = connection.execute(_COUNT, (*below(self.namespace), _NARROW)).fetchone()[0] < _NARROW
        index = "items_by_name" if few else "items_by_update"
        sql = f"""
            SELECT item_id FROM items INDEXED BY {index} WHERE {where}
            {_ORDER} LIMIT ? OFFSET ?
        """  # noqa: S608 - made of constants
        return sql, parameters
