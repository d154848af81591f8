"""Threads in SQLite."""

import sqlite3
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson

from operations.database import Database
from orchestration.loop.errors import ThreadNotFound
from orchestration.loop.run import ThreadState
from orchestration.store.checkpoint_rows import copy_thread_checkpoints, delete_thread_checkpoints
from orchestration.store.contains import Contains
from orchestration.store.cron_rows import delete_crons_of_thread
from orchestration.store.idempotency import Receipt, with_receipt
from orchestration.store.runs import now
from orchestration.store.visibility import Visible, seen, sees, stamped

_BUSY = """
EXISTS (SELECT 1 FROM runs
        WHERE runs.thread_id = threads.thread_id AND runs.status IN ('pending', 'running'))
"""
_SHOWN = f"CASE WHEN {_BUSY} THEN 'busy' ELSE status END"
_SELECT = f"SELECT *, {_SHOWN} AS shown_status FROM threads"  # noqa: S608 - constants
_SORTS = {
    "thread_id": "thread_id",
    "status": _SHOWN,
    "created_at": "created_at",
    "updated_at": "updated_at",
    "state_updated_at": "state_updated_at",
}
_METADATA = "SELECT metadata FROM threads WHERE thread_id = ?"
_AMONG = """
SELECT thread_id FROM threads
WHERE thread_id IN (SELECT value FROM json_each(?)) AND json_contains(metadata, ?)
"""
_COPY = """
INSERT INTO threads
    (thread_id, created_at, updated_at, state_updated_at, status, metadata, config,
     interrupts, error, state_values)
SELECT ?, ?, ?, state_updated_at, status, ?, config, interrupts, error, state_values
FROM threads WHERE thread_id = ?
"""


class ThreadExists(Exception):
    """There is a thread with that id already."""

    def __init__(self, thread_id: str) -> None:
        super().__init__(f"Thread {thread_id} already exists")
        self.thread_id = thread_id


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadQuery:
    """What to look for. ``metadata`` and ``values`` must be contained in the thread's."""

    ids: Sequence[str] | None = None
    status: str | None = None
    metadata: Mapping[str, Any] | None = None
    values: Mapping[str, Any] | None = None
    visible: Visible = None
    limit: int = 10
    offset: int = 0
    sort_by: str = "created_at"
    descending: bool = True

    def where(self) -> tuple[str, list[Any]]:
        """Return the condition and its parameters."""
        conditions, parameters = ["1"], list[Any]()
        if self.ids is not None:
            conditions.append(f"thread_id IN ({', '.join('?' * len(self.ids))})")
            parameters += self.ids
        if self.status is not None:
            conditions.append(f"{_SHOWN} = ?")
            parameters.append(self.status)
        for column, part in (
            ("metadata", self.visible),
            ("metadata", self.metadata),
            ("state_values", self.values),
        ):
            if part:
                conditions.append(f"json_contains({column}, ?)")
                parameters.append(orjson.dumps(part))
        return " AND ".join(conditions), parameters


class ThreadStore:
    """The threads, their metadata, and what they show between runs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, thread_id: str, visible: Visible = None) -> sqlite3.Row | None:
        """Return a thread's row; ``shown_status`` is what clients see as its status."""
        return seen(visible, self._database.get(f"{_SELECT} WHERE thread_id = ?", (thread_id,)))

    async def among(self, thread_ids: Collection[str], visible: Visible) -> frozenset[str]:
        """Return which of these threads there are for the caller."""
        if visible is None:
            return frozenset(thread_ids)
        parameters = (orjson.dumps(list(thread_ids)).decode(), orjson.dumps(visible))
        rows = await self._database.read(Contains(_AMONG, parameters).fetchall)
        return frozenset(row[0] for row in rows)

    async def create(
        self, thread_id: str, metadata: Mapping[str, Any], receipt: Receipt | None = None
    ) -> None:
        """Create a thread; keep ``receipt`` of its row.

        Raises:
            ThreadExists: there is one with that id.
        """
        create = partial(_create, thread_id, metadata)
        if not await self._database.write(with_receipt(create, receipt, partial(_get, thread_id))):
            raise ThreadExists(thread_id)

    async def patch(
        self, thread_id: str, metadata: Mapping[str, Any], visible: Visible = None
    ) -> bool:
        """Merge ``metadata`` into the thread's, key by key; False if there is no such thread."""
        return await self._database.write(partial(_patch, thread_id, metadata, visible))

    async def show(self, thread_id: str, state: ThreadState) -> None:
        """Let the thread show ``state``, after an update of it from outside."""
        await self._database.write(partial(_show, thread_id, state))

    async def delete(self, thread_id: str, visible: Visible = None) -> bool:
        """Delete a thread with its runs and checkpoints; False if there is none."""
        return await self._database.write(partial(_delete, thread_id, visible))

    async def copy(
        self,
        source: str,
        target: str,
        visible: Visible = None,
        stamp: Mapping[str, Any] | None = None,
        receipt: Receipt | None = None,
    ) -> None:
        """Copy a thread with its checkpoints, without its runs; put ``stamp`` into its metadata.

        ``receipt`` is kept of the copy's row.

        Raises:
            ThreadNotFound: there is no such thread.
        """
        copy = partial(_copy, source, target, visible, stamp or {})
        if not await self._database.write(with_receipt(copy, receipt, partial(_get, target))):
            raise ThreadNotFound(source)

    async def of_assistant(self, assistant_id: str) -> list[str]:
        """Return the ids of the threads that ran this assistant last. It looks at all threads."""
        sql = "SELECT thread_id FROM threads WHERE json_extract(metadata, '$.assistant_id') = ?"
        rows = await self._database.read(lambda c: c.execute(sql, (assistant_id,)).fetchall())
        return [row[0] for row in rows]

    async def search(self, query: ThreadQuery) -> list[sqlite3.Row]:
        """Return the threads that match."""
        where, parameters = query.where()
        order = f"{_SORTS[query.sort_by]} {'DESC' if query.descending else 'ASC'}, thread_id"
        sql = f"{_SELECT} WHERE {where} ORDER BY {order} LIMIT ? OFFSET ?"
        parameters += [query.limit, query.offset]
        return await self._database.read(Contains(sql, parameters).fetchall)

    async def count(self, query: ThreadQuery) -> int:
        """Return how many threads match."""
        where, parameters = query.where()
        sql = f"SELECT count(*) FROM threads WHERE {where}"  # noqa: S608 - made of constants
        rows = await self._database.read(Contains(sql, parameters).fetchall)
        return int(rows[0][0])


# A refusal is returned, not raised: an operation that raises undoes its whole transaction.


def _get(thread_id: str, connection: sqlite3.Connection) -> sqlite3.Row:
    row: sqlite3.Row = connection.execute(f"{_SELECT} WHERE thread_id = ?", (thread_id,)).fetchone()
    return row


def _create(thread_id: str, metadata: Mapping[str, Any], connection: sqlite3.Connection) -> bool:
    at = now()
    sql = """
        INSERT INTO threads (thread_id, created_at, updated_at, metadata) VALUES (?, ?, ?, ?)
        ON CONFLICT DO NOTHING
    """
    parameters = (thread_id, at, at, orjson.dumps(metadata).decode())
    return connection.execute(sql, parameters).rowcount == 1


def _patch(
    thread_id: str, metadata: Mapping[str, Any], visible: Visible, connection: sqlite3.Connection
) -> bool:
    row = connection.execute(_METADATA, (thread_id,)).fetchone()
    if row is None or not sees(visible, row[0]):
        return False
    merged = orjson.dumps({**orjson.loads(row[0]), **metadata}).decode()
    connection.execute(
        "UPDATE threads SET metadata = ?, updated_at = ? WHERE thread_id = ?",
        (merged, now(), thread_id),
    )
    return True


def _show(thread_id: str, state: ThreadState, connection: sqlite3.Connection) -> None:
    at = now()
    status = "interrupted" if state.interrupted else "idle"
    values = state.values.decode() if state.values is not None else None
    connection.execute(
        """
        UPDATE threads SET status = ?, error = NULL, updated_at = ?, state_updated_at = ?,
            state_values = ?, interrupts = ?
        WHERE thread_id = ?
        """,
        (status, at, at, values, state.interrupts.decode(), thread_id),
    )


def _delete(thread_id: str, visible: Visible, connection: sqlite3.Connection) -> bool:
    execute = connection.execute
    if visible is not None:
        row = execute(_METADATA, (thread_id,)).fetchone()
        if row is None or not sees(visible, row[0]):
            return False
    execute(
        """
        DELETE FROM run_events WHERE run_id IN
            (SELECT run_id FROM runs WHERE thread_id = ? AND NOT ephemeral)
        """,
        (thread_id,),
    )
    execute("DELETE FROM runs WHERE thread_id = ? AND NOT ephemeral", (thread_id,))
    delete_thread_checkpoints(connection, thread_id)
    delete_crons_of_thread(connection, thread_id)
    return execute("DELETE FROM threads WHERE thread_id = ?", (thread_id,)).rowcount == 1


def _copy(
    source: str,
    target: str,
    visible: Visible,
    stamp: Mapping[str, Any],
    connection: sqlite3.Connection,
) -> bool:
    at = now()
    row = connection.execute(_METADATA, (source,)).fetchone()
    if row is None or not sees(visible, row[0]):
        return False
    metadata = orjson.dumps(stamped(orjson.loads(row[0]), stamp)).decode()
    connection.execute(_COPY, (target, at, at, metadata, source))
    copy_thread_checkpoints(connection, source, target)
    return True
