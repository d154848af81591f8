"""What people see and do of the messages in SQLite: pages, counts, dead letters."""

import sqlite3
from collections.abc import AsyncGenerator, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import orjson

from agents.network.port import Rank
from operations.database import Database
from orchestration.store.bounded import fetch_widely
from orchestration.store.messages import PART, waiting
from orchestration.store.visibility import Visible

PAGE = 1_000  # rows a caller may ask for at once

_PAGE = """
SELECT * FROM messages WHERE {conditions} ORDER BY number LIMIT :limit
"""
_COUNTS = """
SELECT mailbox, status, count(*) AS messages, min(sent_at) AS oldest FROM messages
WHERE {conditions} GROUP BY mailbox, status
"""
_DEEPEST = "SELECT max(waiting) FROM mailboxes"
_NUMBERS = """
SELECT number FROM messages WHERE {conditions} ORDER BY number LIMIT :limit
"""
_HOLDS = "SELECT 1 FROM mailboxes WHERE mailbox = ? AND waiting + ended > 0"
_FORGET = "DELETE FROM messages WHERE number IN (SELECT value FROM json_each(?))"
_REVIVE = """
UPDATE messages SET status = 'pending', attempts = 0, due_at = NULL, ended_at = NULL,
    error = NULL, expires_at = NULL
WHERE number IN (SELECT value FROM json_each(:part) LIMIT :room) AND status = :status
RETURNING number, sender, priority
"""


class MessageLog:
    """Reads messages, and puts back what is over."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self,
        mailbox: str,
        *,
        after: int,
        limit: int,
        status: str | None = None,
        visible: Visible = None,
    ) -> list[sqlite3.Row]:
        """Return messages of a mailbox whose offset is beyond ``after``, in their order.

        Raises:
            SearchTooWide: it took too long to find what is ``visible``.
        """
        values = _values(mailbox, visible, after=after, limit=min(limit, PAGE), status=status)
        sql = page_sql(status=status is not None, visible=bool(visible))
        return await fetch_widely(self._database, sql, values)

    async def counts(self, visible: Visible = None) -> Mapping[tuple[str, str], sqlite3.Row]:
        """Return how many messages there are, by mailbox and status, counted now.

        Raises:
            SearchTooWide: it took too long.
        """
        conditions = "json_contains(metadata, :visible)" if visible else "TRUE"
        sql, values = _COUNTS.format(conditions=conditions), _values("", visible)
        rows = await fetch_widely(self._database, sql, values)
        return {(row["mailbox"], row["status"]): row for row in rows}

    def holds(self, mailbox: str) -> bool:
        """Return whether there are messages in a mailbox, those that are over included."""
        return self._database.get(_HOLDS, (mailbox,)) is not None

    async def forget(self, mailbox: str, visible: Visible = None) -> int:
        """Forget the messages of a mailbox that nobody receives; return how many there were.

        Raises:
            SearchTooWide: it took too long to find what is ``visible``; none is forgotten.
        """
        values = _values(mailbox, visible, after=0, limit=-1)
        sql = _NUMBERS.format(conditions=_conditions(status=False, visible=bool(visible)))
        found = await self._numbers(sql, values)
        for part in _parts(found):
            await self._database.write(partial(_forget, part))
        return len(found)

    @property
    def deepest(self) -> int:
        """How many messages wait in the mailbox in which the most do."""
        return self._database.value(_DEEPEST) or 0

    async def revive(
        self,
        mailbox: str,
        status: str,
        *,
        capacity: int,
        after: int = 0,
        offsets: Collection[int] | None = None,
        visible: Visible = None,
    ) -> AsyncGenerator[tuple[str, Rank]]:
        """Let messages that are over wait again, oldest first, as many as the mailbox has room for.

        They do not expire any more. Yield the sender and rank of each once it waits.

        Raises:
            SearchTooWide: it took too long to find what is ``visible``; none waits again.
        """
        chosen = None if offsets is None else orjson.dumps(list(offsets)).decode()
        values = _values(
            mailbox, visible, after=after, status=status, offsets=chosen, limit=capacity
        )
        conditions = _conditions(status=True, visible=bool(visible))
        if offsets is not None:
            conditions += " AND number IN (SELECT value FROM json_each(:offsets))"
        sql = _NUMBERS.format(conditions=conditions)
        # Looked for by a reader, and put back in parts: everybody's writes wait for each other.
        for part in _parts(await self._numbers(sql, values)):
            how = {"status": status, "part": part}
            for one in await self._database.write(partial(_revive, mailbox, how, capacity)):
                yield one

    async def _numbers(self, sql: str, values: Mapping[str, Any]) -> list[int]:
        rows = await fetch_widely(self._database, sql, values)
        return [row["number"] for row in rows]


def _parts(numbers: Sequence[int]) -> Iterator[str]:
    """Yield the numbers as JSON, so many at a time as one write is to change."""
    for start in range(0, len(numbers), PART):
        yield orjson.dumps(numbers[start : start + PART]).decode()


def page_sql(*, status: bool, visible: bool) -> str:
    """Return what selects a page of messages: of every status or one, of all callers or one."""
    return _PAGE.format(conditions=_conditions(status=status, visible=visible))


def _conditions(*, status: bool, visible: bool) -> str:
    conditions = "mailbox = :mailbox AND number > :after"
    if status:
        conditions += " AND status = :status"
    if visible:
        conditions += " AND json_contains(metadata, :visible)"
    return conditions


def _values(mailbox: str, visible: Visible, **more: Any) -> dict[str, Any]:
    return {"mailbox": mailbox, "visible": orjson.dumps(visible or {}), **more}


def _forget(part: str, connection: sqlite3.Connection) -> None:
    connection.execute(_FORGET, (part,))


def _revive(
    mailbox: str, how: Mapping[str, Any], capacity: int, connection: sqlite3.Connection
) -> list[tuple[str, Rank]]:
    room = max(0, capacity - waiting(connection, mailbox))
    rows = connection.execute(_REVIVE, {**how, "room": room}).fetchall()
    return [(row["sender"], Rank(row["priority"], row["number"])) for row in rows]
