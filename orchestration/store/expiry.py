"""The threads whose time to live may be over, and what is left of those that are deleted."""

import sqlite3
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from operations.clock import iso
from operations.database import Database
from orchestration.store.gone_threads import delete_some
from orchestration.store.thread_rows import delete_thread
from orchestration.store.ttl import Ttl

EXPIRED = """
SELECT thread_id, ttl_minutes, ttl_strategy, updated_at, expires_at FROM threads
WHERE expires_at <= ? ORDER BY expires_at LIMIT ?
"""
NEXT = "SELECT min(expires_at) FROM threads WHERE expires_at IS NOT NULL"
_POSTPONE = "UPDATE threads SET expires_at = ? WHERE thread_id = ? AND expires_at = ?"
_UNTOUCHED = """
SELECT 1 FROM threads
WHERE thread_id = ? AND expires_at = ? AND updated_at = ? AND NOT EXISTS (
    SELECT 1 FROM runs
    WHERE runs.thread_id = threads.thread_id AND runs.status IN ('pending', 'running'))
"""


@dataclass(frozen=True, slots=True)
class Expired:
    """A thread whose time has come, unless it was updated since it was set."""

    thread_id: str
    ttl: Ttl
    updated_at: str
    expires_at: str

    def ends(self) -> str:
        """Return when its time is over."""
        return self.ttl.after(self.updated_at)


class ExpiryStore:
    """The threads that have a time to live.

    What is left of the deleted ones that are ``spared`` stays.
    """

    def __init__(self, database: Database, spared: Collection[str] = ()) -> None:
        self._database = database
        self._spared = spared

    async def expired(self, at: datetime, limit: int) -> list[Expired]:
        """Return the threads to look at, longest expired first."""
        parameters = (iso(at), limit)
        rows = await self._database.read(lambda c: c.execute(EXPIRED, parameters).fetchall())
        return [
            Expired(
                row["thread_id"],
                Ttl(row["ttl_minutes"], row["ttl_strategy"]),
                row["updated_at"],
                row["expires_at"],
            )
            for row in rows
        ]

    def next_expiry(self) -> datetime | None:
        """Return when the first thread is to be looked at, which may be past."""
        expiry = self._database.value(NEXT)
        return None if expiry is None else datetime.fromisoformat(expiry)

    async def postpone(self, thread: Expired, until: str) -> None:
        """Look at a thread again at ``until``, unless it was given another time meanwhile."""
        row = (until, thread.thread_id, thread.expires_at)
        await self._database.write(lambda c: c.execute(_POSTPONE, row).rowcount)

    async def delete(self, thread: Expired) -> bool:
        """Delete a thread; False if it was touched, and is to stay."""
        return await self._database.write(partial(_delete, thread))

    async def delete_some(self) -> bool:
        """Delete some of what is left of deleted threads; False if nothing is."""
        delete = partial(delete_some, tuple(self._spared))
        return await self._database.write(delete, synced=False)


def _delete(thread: Expired, connection: sqlite3.Connection) -> bool:
    key = (thread.thread_id, thread.expires_at, thread.updated_at)
    if connection.execute(_UNTOUCHED, key).fetchone() is None:
        return False
    delete_thread(connection, thread.thread_id)
    return True
