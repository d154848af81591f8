"""Crons in SQLite."""

import sqlite3
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from typing import Any

import orjson

from operations.database import Database
from orchestration.loop.run import Firing
from orchestration.store.bounded import fetch_widely
from orchestration.store.cron_rows import move_cron
from orchestration.store.idempotency import Receipt, with_receipt
from orchestration.store.visibility import Visible, seen

_JSON = frozenset({"maker", "metadata", "payload"})
_SORTS = frozenset(
    {
        "cron_id", "assistant_id", "thread_id", "created_at", "updated_at", "next_run_date",
        "end_time",
    }
)  # fmt: skip
_THREAD = "SELECT 1 FROM threads WHERE thread_id = ?"
DUE = """
SELECT * FROM crons
WHERE next_run_date <= ? AND cron_id NOT IN (SELECT value FROM json_each(?))
ORDER BY next_run_date LIMIT ?
"""
NEXT_DUE = "SELECT min(next_run_date) FROM crons WHERE next_run_date > ?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cron:
    """A schedule, and what to run by it. Without a thread, each run gets one of its own.

    ``payload`` is the body of a run as ``maker`` was allowed it, who made the cron and as whom its
    runs are made; ``metadata`` is what they get.
    Times are UTC in ISO 8601; ``next_run_date`` is None while it is not to run at all.
    """

    cron_id: str
    assistant_id: str
    thread_id: str | None
    schedule: str
    timezone: str | None
    end_time: str | None
    enabled: bool
    on_run_completed: str | None
    user_id: str | None
    maker: Mapping[str, Any]
    created_at: str
    updated_at: str
    next_run_date: str | None
    metadata: Mapping[str, Any]
    payload: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class CronQuery:
    """What to look for. ``metadata`` and ``visible`` must be contained in the cron's metadata."""

    assistant_id: str | None = None
    thread_id: str | None = None
    enabled: bool | None = None
    metadata: Mapping[str, Any] | None = None
    visible: Visible = None
    limit: int = 10
    offset: int = 0
    sort_by: str = "created_at"
    descending: bool = True

    def where(self) -> tuple[str, list[Any]]:
        """Return the condition and its parameters."""
        conditions, parameters = ["1"], list[Any]()
        for name in ("assistant_id", "thread_id", "enabled"):
            value = getattr(self, name)
            if value is not None:
                conditions.append(f"{name} = ?")
                parameters.append(value)
        for part in (self.visible, self.metadata):
            if part:
                conditions.append("json_contains(metadata, ?)")
                parameters.append(orjson.dumps(part))
        return " AND ".join(conditions), parameters


class CronStore:
    """The crons: what they run, and when each is due."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, cron_id: str, visible: Visible = None) -> Cron | None:
        """Return a cron."""
        row = self._database.get("SELECT * FROM crons WHERE cron_id = ?", (cron_id,))
        found = seen(visible, row)
        return None if found is None else _cron(found)

    async def create(
        self, cron: Cron, receipt: Receipt | None = None, *, on_any_thread: bool = False
    ) -> bool:
        """Keep a new cron, and ``receipt`` of it.

        False if there is no such thread, unless it may be on any.
        """
        create = partial(_create, cron, on_any_thread)
        return await self._database.write(with_receipt(create, receipt, lambda _: cron))

    async def update(self, cron_id: str, fields: Mapping[str, Any]) -> bool:
        """Set ``fields``; False if there is no such cron."""
        return await self._database.write(partial(_update, cron_id, fields))

    async def delete(self, cron_id: str) -> bool:
        """Delete a cron; its runs stay. False if there is none."""
        sql = "DELETE FROM crons WHERE cron_id = ?"
        return await self._database.write(lambda c: c.execute(sql, (cron_id,)).rowcount == 1)

    async def search(self, query: CronQuery) -> list[Cron]:
        """Return the crons that match.

        Raises:
            ValueError: ``query.sort_by`` is no column.
            SearchTooWide: it took too long.
        """
        if query.sort_by not in _SORTS:
            raise ValueError(query.sort_by)
        where, parameters = query.where()
        order = f"{query.sort_by} {'DESC' if query.descending else 'ASC'}, cron_id"
        sql = f"SELECT * FROM crons WHERE {where} ORDER BY {order} LIMIT ? OFFSET ?"  # noqa: S608 - made of constants
        parameters += [query.limit, query.offset]
        rows = await fetch_widely(self._database, sql, parameters)
        return [_cron(row) for row in rows]

    async def count(self, query: CronQuery) -> int:
        """Return how many crons match.

        Raises:
            SearchTooWide: it took too long.
        """
        where, parameters = query.where()
        sql = f"SELECT count(*) FROM crons WHERE {where}"  # noqa: S608 - made of constants
        rows = await fetch_widely(self._database, sql, parameters)
        return int(rows[0][0])

    async def due(self, at: datetime, *, without: Collection[str], limit: int) -> list[Cron]:
        """Return what is due at ``at``, longest first; ``without`` are ids to leave out."""
        parameters = (as_text(at), orjson.dumps(list(without)).decode(), limit)
        rows = await self._database.read(lambda c: c.execute(DUE, parameters).fetchall())
        return [_cron(row) for row in rows]

    def next_due(self, after: datetime) -> datetime | None:
        """Return when the first cron that is not due yet will be."""
        due = self._database.value(NEXT_DUE, (as_text(after),))
        return None if due is None else datetime.fromisoformat(due)

    async def skip(self, firing: Firing) -> bool:
        """Let a cron be due next without a run; False if it is not due as ``firing`` says."""
        return await self._database.write(partial(_skip, firing))


def as_text(at: datetime) -> str:
    """Return a time as crons have it, in whole seconds: their order is that of time."""
    return at.isoformat(timespec="seconds")


def _cron(row: sqlite3.Row) -> Cron:
    fields: dict[str, Any] = {**dict(row), "enabled": bool(row["enabled"])}
    for name in _JSON:
        fields[name] = orjson.loads(row[name])
    return Cron(**fields)


def _texts(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: orjson.dumps(value, default=str).decode() if name in _JSON else value
        for name, value in fields.items()
    }


def _create(
    cron: Cron,
    on_any_thread: bool,  # noqa: FBT001 - an operation's arguments are given once, by position
    connection: sqlite3.Connection,
) -> bool:
    on_thread = cron.thread_id is not None and not on_any_thread
    if on_thread and connection.execute(_THREAD, (cron.thread_id,)).fetchone() is None:
        return False
    row = _texts(asdict(cron))
    sql = f"INSERT INTO crons ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})"  # noqa: S608 - the names are ours
    connection.execute(sql, tuple(row.values()))
    return True


def _update(cron_id: str, fields: Mapping[str, Any], connection: sqlite3.Connection) -> bool:
    row = _texts(fields)
    sql = f"UPDATE crons SET {', '.join(f'{name} = ?' for name in row)} WHERE cron_id = ?"  # noqa: S608 - the names are ours
    return connection.execute(sql, (*row.values(), cron_id)).rowcount == 1


def _skip(firing: Firing, connection: sqlite3.Connection) -> bool:
    return move_cron(connection, firing)
