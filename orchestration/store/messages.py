"""The mailboxes, in SQLite: the port of ``agents.network``."""

import sqlite3
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import orjson

from agents.network.configuration import NetworkSection
from agents.network.errors import MailboxFull
from agents.network.message import Letter, Message, Receipt
from agents.network.port import Lane, Place, Rank, Verdict
from operations.clock import Clock, iso, utc_now
from operations.database import Database

PART = 500  # rows that one write of the sweeper forgets
_NAMESPACE = "__masterloop_namespace"  # where the metadata of a row have that of the message

_KNOWN = """
SELECT offsets FROM message_ids
WHERE sender = ? AND recipient = ? AND message_id = ? AND sent_at > ?
"""
_REMEMBER = "INSERT OR REPLACE INTO message_ids VALUES (?, ?, ?, ?, ?)"
_INSERT = """
INSERT INTO messages (mailbox, message_id, sender, topic, correlation_id, priority, hops, content,
    metadata, sent_at, expires_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_COUNTS = "SELECT waiting, ended FROM mailboxes WHERE mailbox = ?"
_EXPIRE = """
UPDATE messages SET status = 'expired', ended_at = ?
WHERE mailbox = ? AND status = 'pending' AND expires_at <= ?
"""
_DROP = """
UPDATE messages SET status = 'dropped', ended_at = ?, due_at = NULL
WHERE number = (SELECT min(number) FROM messages WHERE mailbox = ? AND status = 'pending')
"""
_LANES = """
SELECT mailbox, sender, priority, min(number) FROM messages WHERE status = 'pending'
GROUP BY mailbox, sender, priority
"""
HEAD = """
SELECT * FROM messages WHERE mailbox = ? AND sender = ? AND status = 'pending'
ORDER BY priority, number LIMIT 1
"""
_SETTLE = """
UPDATE messages SET status = ?, due_at = ?, ended_at = ?, error = ?,
    attempts = attempts + (? IS NOT NULL)
WHERE number = ? AND status IN ('pending', ?) RETURNING mailbox
"""
_FORGET_BEYOND = """
DELETE FROM messages WHERE number IN (
    SELECT number FROM messages WHERE mailbox = ? AND status <> 'pending' ORDER BY number LIMIT ?)
"""
OLDEST = "SELECT min(ended_at) FROM messages WHERE ended_at IS NOT NULL"
OLDEST_ID = "SELECT min(sent_at) FROM message_ids"
_FORGET = """
DELETE FROM messages WHERE number IN (
    SELECT number FROM messages WHERE ended_at <= ? ORDER BY ended_at LIMIT ?)
"""
_FORGET_IDS = """
DELETE FROM message_ids WHERE (sender, recipient, message_id) IN (
    SELECT sender, recipient, message_id FROM message_ids WHERE sent_at <= ? LIMIT ?)
"""


class MessageStore:
    """Keeps messages until they are too old, or too many are over; see the port."""

    def __init__(self, database: Database, section: NetworkSection, clock: Clock = utc_now) -> None:
        self._database = database
        self._window = timedelta(seconds=section.dedup_window)
        self._kept_for = timedelta(seconds=section.keep_for)
        self._kept = section.keep
        self._clock = clock

    async def append(self, letter: Letter, places: Sequence[Place]) -> Receipt:
        """Put a message into all of these mailboxes, or nowhere; see the port."""
        since = iso(letter.sent_at - self._window)
        return await self._database.write(partial(_append, letter, places, since, self._kept))

    async def lanes(self) -> Sequence[Lane]:
        """Return where messages wait, once for each priority of a sender."""
        rows = await self._database.read(lambda c: c.execute(_LANES).fetchall())
        return [Lane(row[0], row[1], Rank(row[2], row[3])) for row in rows]

    async def head(self, mailbox: str, sender: str) -> Message | None:
        """Return the first message of a sender that waits in a mailbox."""
        row = self._database.get(HEAD, (mailbox, sender))
        return None if row is None else _message(row)

    async def settle(self, offset: int, verdict: Verdict) -> None:
        """Keep what came of an attempt; of too many that are over, the oldest are forgotten."""
        await self._database.write(partial(_settle, offset, verdict, self._kept))

    async def sweep(self) -> int:
        """Forget some of what is too old; return how much, 0 when there is no more."""
        now = self._clock()
        cut = iso(now - self._kept_for), iso(now - self._window)
        return await self._database.write(partial(_sweep, *cut))

    def next_sweep(self) -> float:
        """Return in how many seconds there is something to sweep, at the earliest."""
        now = self._clock()
        waits = [min(self._kept_for, self._window).total_seconds()]
        for sql, kept in ((OLDEST, self._kept_for), (OLDEST_ID, self._window)):
            if (oldest := self._database.value(sql)) is not None:
                waits.append((datetime.fromisoformat(oldest) + kept - now).total_seconds())
        return min(waits)


def _append(
    letter: Letter,
    places: Sequence[Place],
    since: str,
    kept: int,
    connection: sqlite3.Connection,
) -> Receipt:
    identity = (letter.sender, letter.recipient, letter.message_id)
    if letter.named:
        known = connection.execute(_KNOWN, (*identity, since)).fetchone()
        if known is not None:
            offsets = orjson.loads(known[0])
            return _receipt(letter, offsets, duplicate=True)
    offsets = {place.mailbox: _put(connection, letter, place, kept) for place in places}
    if letter.named:
        row = (*identity, iso(letter.sent_at), orjson.dumps(offsets).decode())
        connection.execute(_REMEMBER, row)
    return _receipt(letter, offsets, duplicate=False)


def _receipt(letter: Letter, offsets: dict[str, int], *, duplicate: bool) -> Receipt:
    return Receipt(
        message_id=letter.message_id, sender=letter.sender, offsets=offsets, duplicate=duplicate
    )


def _put(connection: sqlite3.Connection, letter: Letter, place: Place, kept: int) -> int:
    """Insert a message, having made room for it, and return its offset.

    Of too many that are over, the oldest are forgotten.

    Raises:
        MailboxFull: there is none.
    """
    at = iso(letter.sent_at)
    waits, ended = _counts(connection, place.mailbox)
    if waits >= place.capacity:
        connection.execute(_EXPIRE, (at, place.mailbox, at))
        waits, ended = _counts(connection, place.mailbox)
    if waits >= place.capacity:
        if not place.drop_oldest:
            raise MailboxFull(place.mailbox, place.capacity)
        connection.execute(_DROP, (at, place.mailbox))
        ended += 1
    # Also where none was ended now: more may have expired at once than are forgotten at once.
    _forget_beyond(connection, place.mailbox, ended - kept)
    row = (
        place.mailbox,
        letter.message_id,
        letter.sender,
        letter.topic,
        letter.correlation_id,
        letter.priority,
        letter.hops,
        letter.content,
        orjson.dumps({**letter.metadata, _NAMESPACE: letter.namespace}).decode(),
        at,
        None if letter.expires_at is None else iso(letter.expires_at),
    )
    return connection.execute(_INSERT, row).lastrowid or 0


def waiting(connection: sqlite3.Connection, mailbox: str) -> int:
    """Return how many messages wait in a mailbox."""
    return _counts(connection, mailbox)[0]


def _counts(connection: sqlite3.Connection, mailbox: str) -> tuple[int, int]:
    """Return how many messages of a mailbox wait, and how many are over."""
    counts = connection.execute(_COUNTS, (mailbox,)).fetchone()
    return (0, 0) if counts is None else (counts[0], counts[1])


def _settle(offset: int, verdict: Verdict, kept: int, connection: sqlite3.Connection) -> None:
    row: tuple[Any, ...] = (
        verdict.status,
        None if verdict.due_at is None else iso(verdict.due_at),
        None if verdict.status == "pending" else iso(verdict.at),
        verdict.error,
        verdict.error,
        offset,
        # Dropped while it was being received, and yet taken: it must not be told as lost.
        "dropped" if verdict.status == "delivered" else "pending",
    )
    found = connection.execute(_SETTLE, row).fetchall()
    if not found:
        return
    mailbox = found[0][0]
    _forget_beyond(connection, mailbox, _counts(connection, mailbox)[1] - kept)


def _forget_beyond(connection: sqlite3.Connection, mailbox: str, surplus: int) -> None:
    """Forget the oldest messages of a mailbox that are over, a part of the ``surplus`` at most."""
    if surplus > 0:
        connection.execute(_FORGET_BEYOND, (mailbox, min(surplus, PART)))


def _sweep(ended_before: str, sent_before: str, connection: sqlite3.Connection) -> int:
    forgotten = connection.execute(_FORGET, (ended_before, PART)).rowcount
    return forgotten + connection.execute(_FORGET_IDS, (sent_before, PART)).rowcount


def _message(row: sqlite3.Row) -> Message:
    metadata = orjson.loads(row["metadata"])
    namespace = metadata.pop(_NAMESPACE, None)
    return Message(
        offset=row["number"],
        mailbox=row["mailbox"],
        message_id=row["message_id"],
        sender=row["sender"],
        topic=row["topic"],
        correlation_id=row["correlation_id"],
        priority=row["priority"],
        hops=row["hops"],
        content=orjson.loads(row["content"]),
        metadata=metadata,
        namespace=None if namespace is None else tuple(namespace),
        sent_at=datetime.fromisoformat(row["sent_at"]),
        expires_at=_time(row["expires_at"]),
        due_at=_time(row["due_at"]),
        attempts=row["attempts"],
    )


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
