"""Copies of threads, made in small parts: there once they are whole, and nobody waits for them."""

import asyncio
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson

from operations.clock import iso_now
from operations.database import Database
from orchestration.store.gone_threads import PART, set_gone
from orchestration.store.idempotency import Receipt, with_receipt
from orchestration.store.thread_metadata import insert_thread
from orchestration.store.thread_rows import read_thread
from orchestration.store.ttl import Ttl
from orchestration.store.visibility import Visible, seen, stamped
from orchestration.store.workflow_rows import copy_workflow

PART_BYTES = 1024**2  # that are copied in one transaction, and those of one row more

_SHOWN = ("state_updated_at", "status", "config", "interrupts", "error", "state_values")
_SHOW = f"""
UPDATE threads SET ({", ".join(_SHOWN)}) = (?, ?, ?, ?, ?, ?) WHERE thread_id = ?
"""  # noqa: S608 - constants
_UNDER_WAY = """
SELECT 1 FROM runs
WHERE thread_id = ? AND (status = 'running' OR status = 'pending' AND attempt > 0) LIMIT 1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    """A table with rows of threads, which are inserted, replaced and deleted, but never updated.

    So a row is the same for as long as it has its number. ``value`` is the column that may be
    large, ``mark`` inserts a row in which there is nothing.
    """

    name: str
    key: str
    columns: str
    value: str
    mark: str

    def older(
        self, source: str, mark: int, connection: sqlite3.Connection
    ) -> Iterable[tuple[int, int]]:
        """Return the number and the size of each row of a thread that is older than ``mark``."""
        sql = f"""
        SELECT rowid, length({self.value}) FROM {self.name} WHERE thread_id = ? AND rowid < ?
        """  # noqa: S608 - constants
        return connection.execute(sql, (source, mark)).fetchall()

    def copy(
        self, source: str, target: str, rows: list[int], connection: sqlite3.Connection
    ) -> int:
        """Copy those of these rows that are there still; return how many."""
        where = "rowid IN (SELECT value FROM json_each(?))"
        return self._copy(source, target, where, orjson.dumps(rows).decode(), connection)

    def finish(
        self, source: str, target: str, mark: int, copied: int, connection: sqlite3.Connection
    ) -> None:
        """Have the copy be as the thread is, of whose older rows so many were ``copied``."""
        sql = f"SELECT count(*) FROM {self.name} WHERE thread_id = ? AND rowid < ?"  # noqa: S608 - constants
        [left] = connection.execute(sql, (source, mark)).fetchone()
        if left < copied:
            sql = f"""
            DELETE FROM {self.name} WHERE thread_id = ? AND ({self.key}) NOT IN (
                SELECT {self.key} FROM {self.name} WHERE thread_id = ?)
            """  # noqa: S608 - constants
            connection.execute(sql, (target, source))
        connection.execute(f"DELETE FROM {self.name} WHERE rowid = ?", (mark,))  # noqa: S608 - constants
        self._copy(source, target, "rowid > ?", mark, connection)

    def _copy(
        self, source: str, target: str, where: str, value: Any, connection: sqlite3.Connection
    ) -> int:
        columns = f"{self.key}, {self.columns}"
        sql = f"""
        INSERT OR REPLACE INTO {self.name} (thread_id, {columns})
        SELECT ?, {columns} FROM {self.name} WHERE thread_id = ? AND {where}
        """  # noqa: S608 - constants
        return connection.execute(sql, (target, source, value)).rowcount


_TABLES = (
    _Table(
        name="checkpoints",
        key="checkpoint_ns, checkpoint_id",
        columns="parent_checkpoint_id, type, checkpoint, metadata",
        value="checkpoint",
        mark="INSERT INTO checkpoints (thread_id, checkpoint_id) VALUES (?, '')",
    ),
    _Table(
        name="writes",
        key="checkpoint_ns, checkpoint_id, task_id, idx",
        columns="task_path, channel, type, value",
        value="value",
        mark="""
        INSERT INTO writes (thread_id, checkpoint_id, task_id, idx, channel)
        VALUES (?, '', '', 0, '')
        """,
    ),
)


@dataclass(frozen=True, slots=True)
class _Copy:
    """What is to be copied, where to, and what of it the caller may see."""

    source: str
    target: str
    visible: Visible

    def begin(self, connection: sqlite3.Connection) -> list[int]:
        """Mark in each table where its newest row is; in none if there is no such thread.

        The marks stay until the copy is whole: so no row that is deleted meanwhile gives its number
        to another one.
        """
        if seen(self.visible, read_thread(self.source, connection)) is None:
            return []
        set_gone(self.target, connection)
        execute = connection.execute
        return [execute(table.mark, (self.target,)).lastrowid or 0 for table in _TABLES]

    def finish(
        self,
        stamp: Mapping[str, Any],
        progress: list[tuple[_Table, int, int]],
        connection: sqlite3.Connection,
    ) -> bool:
        """Bring the copy up to date, and have it be there, whole if it can be.

        False if a run is under way, whose checkpoints are newer than what the thread shows. If
        the thread is gone, nothing is done.
        """
        thread = seen(self.visible, read_thread(self.source, connection))
        if thread is None:
            return False
        for table, mark, copied in progress:
            table.finish(self.source, self.target, mark, copied, connection)
        set_gone(self.target, connection, gone=False)
        minutes, metadata = thread["ttl_minutes"], orjson.loads(thread["metadata"])
        ttl = None if minutes is None else Ttl(minutes, thread["ttl_strategy"])
        insert_thread(connection, self.target, iso_now(), stamped(metadata, stamp), ttl)
        connection.execute(_SHOW, (*(thread[name] for name in _SHOWN), self.target))
        copy_workflow(self.source, self.target, connection)
        if connection.execute(_UNDER_WAY, (self.source,)).fetchone() is None:
            return True
        set_gone(self.target, connection)
        return False


class ThreadCopies:
    """Copies threads. ``unfinished`` is told the ids of the copies that are begun.

    Until it is whole a copy is among the threads that are gone: so what a crash leaves of it is
    deleted. Those that are ``unfinished`` must be spared by who does that.
    """

    def __init__(self, database: Database, unfinished: set[str]) -> None:
        self._database = database
        self._unfinished = unfinished
        self._turn = asyncio.Lock()

    async def copy(
        self,
        source: str,
        target: str,
        visible: Visible,
        stamp: Mapping[str, Any],
        receipt: Receipt | None,
    ) -> bool:
        """Copy a thread, as it is then; False if the copy is not whole, or there is no thread.

        One that is not whole is to show what is in its checkpoints first, and stays among the
        ``unfinished``. What was copied until it raises is among the threads that are gone.
        """
        copy = _Copy(source, target, visible)
        self._unfinished.add(target)
        marks = await self._database.write(copy.begin, synced=False)
        if not marks:
            return False
        copied = [
            await self._copy_older(table, copy, mark)
            for table, mark in zip(_TABLES, marks, strict=True)
        ]
        progress = list(zip(_TABLES, marks, copied, strict=True))
        finish = partial(copy.finish, stamp, progress)
        row = partial(read_thread, target)
        return await self._database.write(with_receipt(finish, receipt, row))

    async def _copy_older(self, table: _Table, copy: _Copy, mark: int) -> int:
        rows = await self._database.read(partial(table.older, copy.source, mark))
        copied = 0
        for part in _parts(rows):
            async with self._turn:  # those that wait together would make one long transaction
                take = partial(table.copy, copy.source, copy.target, part)
                copied += await self._database.write(take, synced=False)
        return copied


def _parts(rows: Iterable[tuple[int, int]]) -> Iterator[list[int]]:
    part: list[int] = []
    left = PART_BYTES
    for number, size in rows:
        part.append(number)
        left -= size or 0
        if len(part) == PART or left <= 0:
            yield part
            part, left = [], PART_BYTES
    if part:
        yield part
