"""Idempotency keys in SQLite: what a creation was first answered, for those who ask again."""

import sqlite3
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from operations.clock import Clock, iso, utc_now
from operations.database import Database
from operations.writer import Operation
from orchestration.loop.errors import AskedTwice

KEPT = timedelta(hours=24)
AT_ONCE = 500  # keys that one write of the sweeper forgets
EVENTS_AT_ONCE = 1_000  # events that were kept for them, likewise

Document = Callable[[Any], tuple[bytes, str | None]]

_INSERT = """
INSERT INTO idempotency_keys (principal, key, fingerprint, expires_at, answer, run_id)
VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (principal, key) DO NOTHING
"""
# As no request can name it: the sweeper is to find what was kept for it.
_SET_ASIDE = """
UPDATE idempotency_keys SET key = key || char(10) || expires_at
WHERE principal = ? AND key = ? AND expires_at <= ?
"""
_FIND = "SELECT * FROM idempotency_keys WHERE principal = ? AND key = ? AND expires_at > ?"
KEEP_OUTPUT = "UPDATE idempotency_keys SET output = ? WHERE run_id = ?"
EXPIRED = "SELECT principal, key, run_id FROM idempotency_keys WHERE expires_at <= ? LIMIT ?"
_FORGET = "DELETE FROM idempotency_keys WHERE principal = ? AND key = ?"
# The events of a run that was deleted when it ended were kept for the key alone.
_FORGET_EVENTS = """
DELETE FROM run_events WHERE (run_id, number) IN (
    SELECT run_id, number FROM run_events
    WHERE run_id = ? AND NOT EXISTS (SELECT 1 FROM runs WHERE runs.run_id = run_events.run_id)
    LIMIT ?)
"""
NEXT_EXPIRY = "SELECT min(expires_at) FROM idempotency_keys"


@dataclass(frozen=True, slots=True)
class Receipt:
    """What is to be kept of a creation, in the transaction that makes it durable.

    ``document`` turns what was created into the JSON text of the answer, and the id of the run
    whose output belongs to it, if there is one. It is called on the writer's thread.
    """

    principal: str
    key: str
    fingerprint: bytes
    at: datetime
    document: Document

    def write(self, connection: sqlite3.Connection, created: Any) -> None:
        """Keep the answer.

        Raises:
            AskedTwice: another request with this key was faster; the transaction is to be undone.
        """
        answer, run_id = self.document(created)
        parameters = (
            self.principal,
            self.key,
            self.fingerprint,
            iso(self.at + KEPT),
            answer.decode(),
            run_id,
        )
        if connection.execute(_INSERT, parameters).rowcount == 0:
            old = (self.principal, self.key, iso(self.at))
            if connection.execute(_SET_ASIDE, old).rowcount == 0:
                raise AskedTwice
            connection.execute(_INSERT, parameters)


def with_receipt(
    operation: Operation[bool], receipt: Receipt | None, created: Operation[Any]
) -> Operation[bool]:
    """Return an operation that also keeps ``receipt`` of what was ``created``, if it was."""
    if receipt is None:
        return operation

    def both(connection: sqlite3.Connection) -> bool:
        done = operation(connection)
        if done:
            receipt.write(connection, created(connection))
        return done

    return both


def keep_output(connection: sqlite3.Connection, run_id: str, output: bytes) -> bool:
    """Keep what the waiters for a run are answered, for those who ask again with its key.

    False if that is forgotten already.
    """
    return connection.execute(KEEP_OUTPUT, (output.decode(), run_id)).rowcount > 0


class KeyStore:
    """The keys of the last 24 hours; and of the requests that are being answered now."""

    def __init__(self, database: Database, clock: Clock = utc_now) -> None:
        self._database = database
        self._clock = clock
        self._under_way: set[tuple[str, str]] = set()

    def find(self, principal: str, key: str) -> sqlite3.Row | None:
        """Return what was kept of the request that first had this key."""
        return self._database.get(_FIND, (principal, key, iso(self._clock())))

    def receipt(self, principal: str, key: str, fingerprint: bytes, document: Document) -> Receipt:
        """Return what is to be kept of a creation with this key."""
        return Receipt(principal, key, fingerprint, self._clock(), document)

    @contextmanager
    def answering(self, principal: str, key: str) -> Generator[None]:
        """Mark a request with this key as being answered.

        Raises:
            AskedTwice: one is already.
        """
        slot = (principal, key)
        if slot in self._under_way:
            raise AskedTwice
        self._under_way.add(slot)
        try:
            yield
        finally:
            self._under_way.discard(slot)

    async def sweep(self) -> int:
        """Forget some of what is too old; return of how many keys, 0 when there are no more."""
        return await self._database.write(partial(_sweep, iso(self._clock())))

    def next_sweep(self) -> float:
        """Return in how many seconds there is something to sweep, at the earliest."""
        expiry = self._database.value(NEXT_EXPIRY)
        if expiry is None:
            return KEPT.total_seconds()
        return (datetime.fromisoformat(expiry) - self._clock()).total_seconds()


def _sweep(at: str, connection: sqlite3.Connection) -> int:
    expired = connection.execute(EXPIRED, (at, AT_ONCE)).fetchall()
    left = EVENTS_AT_ONCE
    for number, (principal, key, run_id) in enumerate(expired, 1):
        if run_id is not None:
            left -= connection.execute(_FORGET_EVENTS, (run_id, left)).rowcount
            if left == 0:  # there may be more of them, which the key still tells of
                return number
        connection.execute(_FORGET, (principal, key))
    return len(expired)
