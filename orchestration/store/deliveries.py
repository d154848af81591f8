"""What webhooks have to be told, in SQLite: written with the end of a run, kept until told."""

import re
import sqlite3
from asyncio import Future
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import orjson
from uuid_utils import uuid7

from operations.clock import Clock, iso, utc_now
from operations.database import Database
from operations.writer import Operation
from orchestration.loop.run import Failure, Run
from orchestration.store.bounded import fetch_widely
from orchestration.store.visibility import Visible

KEPT = timedelta(days=7)  # from a delivery's creation, once there is nothing more to do for it
AT_ONCE = 100  # deliveries that one write of the sweeper forgets
PAGE = 1_000  # rows a caller may ask for at once

_RECEIVER = re.compile(r"[^:/?#]+://([^/?#]*)")
_INSERT = """
INSERT INTO webhook_deliveries
    (delivery_id, run_id, thread_id, url, receiver, created_at, due_at, payload, metadata, trace)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_STARTED = "SELECT updated_at FROM runs WHERE run_id = ? AND status = 'running'"
_ENDED = "SELECT updated_at FROM runs WHERE run_id = ?"
_DUE = """
SELECT * FROM webhook_deliveries
WHERE due_at <= ? AND delivery_id NOT IN (SELECT value FROM json_each(?))
    AND receiver NOT IN (SELECT value FROM json_each(?))
ORDER BY due_at LIMIT ?
"""
_NEXT_DUE = "SELECT min(due_at) FROM webhook_deliveries WHERE due_at > ?"
# What is over keeps its payload if it was not delivered, but no longer than there is the run.
_RECORD = """
UPDATE webhook_deliveries SET status = :status, due_at = :due_at, attempts = attempts + 1,
    attempted_at = :at, answer = :answer, error = :error,
    payload = CASE
        WHEN :status = 'delivered' THEN NULL
        WHEN :due_at IS NULL AND NOT EXISTS (
            SELECT 1 FROM runs WHERE runs.run_id = webhook_deliveries.run_id) THEN NULL
        ELSE payload END
WHERE delivery_id = :delivery_id
"""
_DROP_OF_RUN = "UPDATE webhook_deliveries SET payload = NULL WHERE run_id = ? AND due_at IS NULL"
DROP_OF_THREAD = """
UPDATE webhook_deliveries SET payload = NULL WHERE delivery_id IN (
    SELECT delivery_id FROM webhook_deliveries
    WHERE thread_id = ? AND due_at IS NULL AND payload IS NOT NULL LIMIT ?)
"""
FORGET = """
DELETE FROM webhook_deliveries WHERE delivery_id IN (
    SELECT delivery_id FROM webhook_deliveries
    WHERE due_at IS NULL AND created_at <= ? ORDER BY created_at LIMIT ?)
"""
OLDEST = "SELECT min(created_at) FROM webhook_deliveries WHERE due_at IS NULL"
_PAGE = """
SELECT delivery_id, run_id, thread_id, url, status, created_at, due_at, attempts, attempted_at,
    answer, error
FROM webhook_deliveries WHERE {conditions}
ORDER BY created_at DESC LIMIT :limit OFFSET :offset
"""


@dataclass(frozen=True, slots=True)
class Ended:
    """How and when a run ended; ``values`` is what its thread shows, as JSON text."""

    status: str
    at: str
    failure: Failure | None = None
    values: bytes | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of trying to deliver; ``due_at`` is when to try again, None if never."""

    status: str
    at: datetime
    due_at: datetime | None = None
    answer: int | None = None
    error: str | None = None


def receiver_of(url: str) -> str:
    """Return who is at ``url``: its host, with the port if it names one."""
    receiver = _RECEIVER.match(url)
    return receiver[1] if receiver else ""


def with_delivery(end: Operation[bool], run: Run, ended: Ended) -> Operation[bool]:
    """Return the operation that ends ``run`` and keeps for its webhook that it did."""
    delivery_id = f"msg_{uuid7().hex}"

    def operation(connection: sqlite3.Connection) -> bool:
        started = connection.execute(_STARTED, (run.run_id,)).fetchone()
        if not end(connection):
            return False
        kept = connection.execute(_ENDED, (run.run_id,)).fetchone()
        told = ended if kept is None else replace(ended, at=kept[0])  # as the run itself says
        _insert(connection, delivery_id, run, told, started[0] if started else None)
        return True

    return operation


def add_delivery(connection: sqlite3.Connection, run: Run, ended: Ended) -> None:
    """Keep for the run's webhook that it ended, inside the transaction that ended it."""
    _insert(connection, f"msg_{uuid7().hex}", run, ended, None)


def drop_payload(connection: sqlite3.Connection, run_id: str) -> None:
    """Forget what a run's webhook was not told, unless it is yet to be."""
    connection.execute(_DROP_OF_RUN, (run_id,))


def drop_payloads(connection: sqlite3.Connection, thread_id: str, limit: int = -1) -> int:
    """Forget that of the runs of a thread, of ``limit`` at most; return of how many."""
    return connection.execute(DROP_OF_THREAD, (thread_id, limit)).rowcount


class DeliveryStore:
    """The deliveries: what is due, what came of each. What is over is kept for a week."""

    def __init__(self, database: Database, clock: Clock = utc_now) -> None:
        self._database = database
        self._clock = clock

    async def due(
        self, at: datetime, *, without: Collection[str], avoiding: Collection[str], limit: int
    ) -> list[sqlite3.Row]:
        """Return what is due, oldest first, payloads included.

        ``without`` are ids and ``avoiding`` receivers to leave out.
        """
        left_out = (orjson.dumps(list(ids)).decode() for ids in (without, avoiding))
        parameters = (iso(at), *left_out, limit)
        return await self._database.read(lambda c: c.execute(_DUE, parameters).fetchall())

    def next_due(self, after: datetime) -> datetime | None:
        """Return when the first delivery that is not due yet will be."""
        due = self._database.value(_NEXT_DUE, (iso(after),))
        return None if due is None else datetime.fromisoformat(due)

    def record(self, delivery_id: str, attempt: Attempt) -> "Future[None]":
        """Keep what came of an attempt."""
        return self._database.write(partial(_record, delivery_id, attempt))

    async def sweep(self) -> int:
        """Forget some that are over and too old; return how many, 0 when there are no more."""
        return await self._database.write(partial(_forget, iso(self._clock() - KEPT)))

    def next_sweep(self) -> float:
        """Return in how many seconds there is something to sweep, at the earliest."""
        oldest = self._database.value(OLDEST)
        if oldest is None:
            return KEPT.total_seconds()
        return (datetime.fromisoformat(oldest) + KEPT - self._clock()).total_seconds()

    async def page(
        self, run_id: str | None, limit: int, offset: int, visible: Visible = None
    ) -> list[sqlite3.Row]:
        """Return deliveries without their payloads, newest first.

        Raises:
            SearchTooWide: it took too long to find what is ``visible``.
        """
        parameters = {
            "run_id": run_id,
            "visible": orjson.dumps(visible or {}),
            "limit": min(limit, PAGE),
            "offset": offset,
        }
        sql = page_sql(one_run=run_id is not None, visible=bool(visible))
        return await fetch_widely(self._database, sql, parameters)


def page_sql(*, one_run: bool, visible: bool) -> str:
    """Return what selects a page of deliveries: of all runs or one, of all callers or one."""
    conditions = ["TRUE"]
    if one_run:
        conditions.append("run_id = :run_id")
    if visible:
        conditions.append("json_contains(metadata, :visible)")
    return _PAGE.format(conditions=" AND ".join(conditions))


def _insert(
    connection: sqlite3.Connection,
    delivery_id: str,
    run: Run,
    ended: Ended,
    started_at: str | None,
) -> None:
    url: str = run.kwargs["webhook"]
    payload = orjson.dumps(_document(run, ended, started_at)).decode()
    to = receiver_of(url)
    metadata = orjson.dumps(run.metadata).decode()
    ids = delivery_id, run.run_id, run.thread_id
    trace = orjson.dumps(run.span.headers()).decode()
    connection.execute(_INSERT, (*ids, url, to, ended.at, ended.at, payload, metadata, trace))


def _document(run: Run, ended: Ended, started_at: str | None) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "thread_id": run.thread_id,
        "assistant_id": run.assistant_id,
        "created_at": run.created_at,
        "updated_at": ended.at,
        "run_started_at": started_at,
        "run_ended_at": ended.at,
        "status": ended.status,
        "metadata": run.metadata,
        "kwargs": run.kwargs,
        "multitask_strategy": run.multitask_strategy,
        "priority": run.priority,
        "attempt": run.attempt,
        "error": ended.failure,
        "values": None if ended.values is None else orjson.Fragment(ended.values),
    }


def _record(delivery_id: str, attempt: Attempt, connection: sqlite3.Connection) -> None:
    row = {
        "delivery_id": delivery_id,
        "status": attempt.status,
        "due_at": None if attempt.due_at is None else iso(attempt.due_at),
        "at": iso(attempt.at),
        "answer": attempt.answer,
        "error": attempt.error,
    }
    connection.execute(_RECORD, row)


def _forget(created_before: str, connection: sqlite3.Connection) -> int:
    return connection.execute(FORGET, (created_before, AT_ONCE)).rowcount
