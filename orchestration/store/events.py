"""The kept events of resumable runs, in SQLite."""

import asyncio
import sqlite3
from collections.abc import AsyncGenerator
from contextlib import closing
from datetime import datetime, timedelta
from functools import partial

import structlog

from operations.clock import Clock, iso, utc_now
from operations.database import Database
from operations.errors import StorageUnavailable
from orchestration.loop.streams import StreamEvent

BACKLOG = 2 * 1024**2  # bytes of all runs that wait to be written; other writes wait behind them
PAGE = 1_000  # events that are read at once
PAGE_BYTES = 1024**2  # of their data, and those of one more

_APPEND = """
INSERT OR IGNORE INTO run_events (run_id, number, name, data)
SELECT run_id, ?, ?, ? FROM runs WHERE run_id = ?
"""
_AFTER = "SELECT number, name, data FROM run_events WHERE run_id = ? AND number > ? ORDER BY number"
_LAST = "SELECT max(number) FROM run_events WHERE run_id = ?"
PART = 1_000  # events that are forgotten in one transaction
_ENDED = "resumable AND NOT ephemeral AND status NOT IN ('pending', 'running')"
OLDEST = f"SELECT run_id, updated_at FROM runs WHERE {_ENDED} ORDER BY updated_at LIMIT 1"  # noqa: S608 - constants
_FORGET = f"""
DELETE FROM run_events WHERE (run_id, number) IN (
    SELECT run_id, number FROM run_events WHERE run_id = ? LIMIT {PART})
"""  # noqa: S608 - constants
_FORGOTTEN = "UPDATE runs SET resumable = FALSE WHERE run_id = ?"
_log = structlog.get_logger(__name__)


def _append(row: tuple[int, str, str, str], connection: sqlite3.Connection) -> None:
    connection.execute(_APPEND, row)


class EventStore:
    """Appends events as they come, for `RunStream.keep`; reads them for those who come later."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting = 0  # bytes
        self._waiters: list[asyncio.Future[None]] = []

    @property
    def full(self) -> bool:
        """Whether so much waits to be written that runs are to wait, too."""
        return self._waiting >= BACKLOG

    async def room(self) -> None:
        """Return once it is no longer full."""
        while self.full:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter

    def append(self, run_id: str, event: StreamEvent) -> None:
        """Keep an event, if its run is still there; durable a moment later.

        One that cannot be written is told of in the log, and missing when it is read.
        """
        row = (event.number, event.name, event.data.decode(), run_id)
        try:
            written = self._database.write(partial(_append, row))
        except StorageUnavailable as error:
            _tell(run_id, event.number, error)
            return
        self._waiting += len(event.data)
        written.add_done_callback(partial(self._written, run_id, event.number, len(event.data)))

    def last(self, run_id: str) -> int:
        """Return the number of the last event kept of a run, 0 if there is none."""
        return self._database.value(_LAST, (run_id,)) or 0

    async def pages(self, run_id: str, number: int) -> AsyncGenerator[list[StreamEvent]]:
        """Yield the kept events past ``number``, those appended a moment ago included."""
        page = await self.after(run_id, number)
        while page:
            yield page
            page = await self.after(run_id, page[-1].number) if _full(page) else []

    async def after(self, run_id: str, number: int) -> list[StreamEvent]:
        """Return a page of the kept events past ``number``."""
        await self._database.settled()
        return await self._database.read(partial(_page, run_id, number))

    def _written(self, run_id: str, number: int, size: int, written: asyncio.Future[None]) -> None:
        self._waiting -= size
        if not written.cancelled() and (error := written.exception()) is not None:
            _tell(run_id, number, error)
        if not self.full:
            for waiter in self._waiters:
                if not waiter.done():
                    waiter.set_result(None)
            self._waiters.clear()


def _page(run_id: str, number: int, connection: sqlite3.Connection) -> list[StreamEvent]:
    page: list[StreamEvent] = []
    size = 0
    with closing(connection.execute(_AFTER, (run_id, number))) as rows:
        for row in rows:
            page.append(StreamEvent(row[0], row[1], row[2].encode(), run_id))
            size += len(page[-1].data)
            if len(page) >= PAGE or size >= PAGE_BYTES:
                break
    return page


def _full(page: list[StreamEvent]) -> bool:
    return len(page) >= PAGE or sum(len(event.data) for event in page) >= PAGE_BYTES


def _tell(run_id: str, number: int, error: BaseException) -> None:
    _log.warning(
        "an event could not be kept", run_id=run_id, number=number, reason=type(error).__name__
    )


class OldEvents:
    """The events of runs that ended so long ago that they are to be forgotten; the runs stay."""

    def __init__(self, database: Database, kept: timedelta, clock: Clock = utc_now) -> None:
        self._database = database
        self._kept = kept
        self._clock = clock

    async def sweep(self) -> int:
        """Delete some of one run; return how many, 0 when there are no more."""
        before = iso(self._clock() - self._kept)
        return await self._database.write(partial(_forget, before))

    def next_sweep(self) -> float:
        """Return in how many seconds there is something to sweep, at the earliest."""
        row = self._database.get(OLDEST)
        if row is None:
            return self._kept.total_seconds()
        ended = datetime.fromisoformat(row["updated_at"])
        return (ended + self._kept - self._clock()).total_seconds()


def _forget(before: str, connection: sqlite3.Connection) -> int:
    run = connection.execute(OLDEST).fetchone()
    if run is None or run["updated_at"] >= before:
        return 0
    forgotten = connection.execute(_FORGET, (run["run_id"],)).rowcount
    if forgotten < PART:
        connection.execute(_FORGOTTEN, (run["run_id"],))
    return forgotten or 1  # a run that had no events
