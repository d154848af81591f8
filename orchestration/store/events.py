"""The kept events of resumable runs, in SQLite."""

import sqlite3
from functools import partial

from operations.database import Database
from orchestration.loop.streams import StreamEvent

_APPEND = """
INSERT OR IGNORE INTO run_events (run_id, number, name, data)
SELECT run_id, ?, ?, ? FROM runs WHERE run_id = ?
"""
_AFTER = "SELECT number, name, data FROM run_events WHERE run_id = ? AND number > ? ORDER BY number"
_LAST = "SELECT max(number) FROM run_events WHERE run_id = ?"


def _append(row: tuple[int, str, str, str], connection: sqlite3.Connection) -> None:
    connection.execute(_APPEND, row)


class EventStore:
    """Appends events as they come; reads them for those who come later."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def append(self, run_id: str, event: StreamEvent) -> None:
        """Keep an event, if its run is still there; durable a moment later."""
        row = (event.number, event.name, event.data.decode(), run_id)
        self._database.write(partial(_append, row))

    def last(self, run_id: str) -> int:
        """Return the number of the last event kept of a run, 0 if there is none."""
        row = self._database.get(_LAST, (run_id,))
        return (row[0] or 0) if row is not None else 0

    async def after(self, run_id: str, number: int) -> list[StreamEvent]:
        """Return the kept events past ``number``, those appended a moment ago included."""
        await self._database.settled()
        rows = await self._database.read(lambda c: c.execute(_AFTER, (run_id, number)).fetchall())
        return [StreamEvent(row[0], row[1], row[2].encode()) for row in rows]
