"""SQLite for the whole service: one file, one connection that writes, others that read."""

import sqlite3
from asyncio import Future
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import anyio

from operations.database_errors import (
    DatabaseBusy,
    DatabaseClosed,
    DatabaseCorrupt,
    DatabaseError,
    DatabaseInUse,
    DatabaseNotWritable,
    DiskFailed,
    DiskFull,
    in_our_words,
)
from operations.database_file import hold, open_to_write
from operations.durations import Durations
from operations.migrations import Migration, SchemaMismatch
from operations.readers import Readers, connect_to_read
from operations.writer import Operation, Writer

__all__ = [
    "Database",
    "DatabaseBusy",
    "DatabaseClosed",
    "DatabaseCorrupt",
    "DatabaseError",
    "DatabaseInUse",
    "DatabaseNotWritable",
    "DiskFailed",
    "DiskFull",
    "Migration",
    "SchemaMismatch",
    "open_database",
]

T = TypeVar("T")

BUSY_TIMEOUT = 5.0  # seconds that a write waits for another process's lock
FRONT_TIMEOUT = 0.1  # seconds that a read on the event loop may wait, and so hold it up
READERS = 4  # threads for the longer reads
ROOM = 1024**2  # bytes that there has to be room for before writes are taken again
ROWS = 1_000  # rows of a read on the event loop


class Database:
    """The service's database, as `open_database` opens it. Its methods belong to the event loop.

    Rows are `sqlite3.Row`. Reads see what is committed, never a write that is still queued.
    ``crashed`` says that the server that had it open before died, or was left by an error.
    """

    def __init__(
        self,
        path: Path,
        writer: Writer,
        front: sqlite3.Connection,
        readers: Readers,
        *,
        crashed: bool,
    ) -> None:
        self.crashed = crashed
        self._path = path
        self._writer = writer
        self._front = front
        self._readers = readers
        self._busy = 0

    def write(self, operation: Operation[T], *, synced: bool = True) -> Future[T]:
        """Queue an operation for the writer; operations take effect in the order of the calls.

        The future has what the operation returned, or raised, once its transaction is durable.
        Operations that wait together share a transaction. When one of them raises, that is
        rolled back and all are done again, undoing those that raise: so an operation must be
        repeatable (nothing but its connection changes), and neither begins nor commits. It runs
        on the writer's thread. A waiter that is cancelled does not stop the write; an error that
        nobody looks at is dropped.

        A write that need not be ``synced`` is durable only with the next one that is, or `sync`:
        the future has its result once no death of this process can undo it, but a loss of power
        still may.

        The future raises:
            DiskFull: there is no room. Later writes work once there is.
            DatabaseBusy: another process held the file for longer than the busy timeout.
            DiskFailed: the disk failed, or lets nobody write.
            DatabaseCorrupt: the file is damaged; no later write works.
            DatabaseError: SQLite failed otherwise, also over a violated constraint.
            Exception: whatever else the operation raised.

        Raises:
            DatabaseClosed: the database is closing.
        """
        return self._writer.submit(operation, synced=synced)

    @property
    def refusing(self) -> bool:
        """Whether a write has failed as any other would, and none was seen to work since."""
        return self._writer.refused is not None

    @property
    def durations(self) -> Mapping[str, Durations]:
        """How long transactions (``write``) and reads on a thread (``read``) took."""
        return {"write": self._writer.durations, "read": self._readers.durations}

    @property
    def busy(self) -> int:
        """How many writes and reads found the file locked by another process for too long."""
        return self._busy + self._writer.busy + self._readers.busy

    def sync(self) -> Future[None]:
        """Have everything written so far on the disk; the future raises as those of writes do."""
        return self._writer.sync()

    def get(self, sql: str, parameters: Sequence[Any] = ()) -> sqlite3.Row | None:
        """Return the first row of a point read by key, at once, on the event loop.

        It takes about 10 µs; under load, a mean of 50, as it lets go of the interpreter meanwhile,
        which runs on threads feel: what a write reads anyhow is better passed on by that.

        Raises:
            DatabaseError: SQLite could not read.
        """
        rows = self._fetch(sql, parameters, 1)
        return rows[0] if rows else None

    def value(self, sql: str, parameters: Sequence[Any] = ()) -> Any:
        """As `get`; return the first value of that row, None if there is none."""
        row = self.get(sql, parameters)
        return None if row is None else row[0]

    def all(
        self, sql: str, parameters: Sequence[Any] = (), *, limit: int = ROWS
    ) -> list[sqlite3.Row]:
        """Return the rows of a small read, ``limit`` of them at most, at once, on the event loop.

        Raises:
            DatabaseError: SQLite could not read.
        """
        return self._fetch(sql, parameters, limit)

    async def read(self, query: Callable[[sqlite3.Connection], T], *, wide: bool = False) -> T:
        """Return what a longer read returns.

        It runs on one of four threads, each with a connection of its own, which cannot write. Those
        that are ``wide``, as they may look through very much, have three of them at most.

        Raises:
            DatabaseClosed: the database is closing.
            DatabaseError: SQLite could not read, or the closing interrupted it.
            Exception: whatever else the query raised.
        """
        return await self._readers.read(query, wide=wide)

    async def refusal(self) -> DatabaseError | None:
        """Return why nothing can be written at the moment; None if it can.

        Nothing is written to find out, unless a write failed before: then 1 MiB is tried. Of a
        damaged file a part may still take that: it is not tried.
        """
        refused = self._writer.refused
        if refused is None or refused.lasting:
            return refused
        try:
            await self.write(_take_room)
            await self.write(_give_room_back)
        except DatabaseError as error:
            return error
        if self._writer.refused is refused:
            self._writer.refused = None
        return self._writer.refused

    async def settled(self) -> None:
        """Return once every write queued so far is made, or has failed."""
        await self._writer.settled()

    def _fetch(self, sql: str, parameters: Sequence[Any], limit: int) -> list[sqlite3.Row]:
        try:
            # A cursor left open would hold its snapshot, and later reads to it.
            with closing(self._front.execute(sql, parameters)) as cursor:
                return cursor.fetchmany(limit)
        except sqlite3.Error as error:
            ours = in_our_words(error, self._path)
            self._busy += isinstance(ours, DatabaseBusy)
            raise ours from error


def _take_room(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE IF NOT EXISTS room_tried (filler BLOB)")
    connection.execute("INSERT INTO room_tried VALUES (zeroblob(?))", (ROOM,))


def _give_room_back(connection: sqlite3.Connection) -> None:
    connection.execute("DROP TABLE IF EXISTS room_tried")


@asynccontextmanager
async def open_database(
    path: Path, migrations: Sequence[Migration], *, busy_timeout: float = BUSY_TIMEOUT
) -> AsyncGenerator[Database]:
    """Open the database at ``path`` for this process alone, and bring its schema up to date.

    A missing file is made (mode 0600, its folder 0700). Leaving makes every queued write first;
    left by an error, it is found ``crashed`` the next time.
    ``busy_timeout`` is how long a write waits for another process's lock, in seconds.

    Raises:
        DatabaseInUse: another server has it open.
        DatabaseCorrupt: the file is damaged or no database; it is left as it is.
        SchemaMismatch: the file is of a newer version, or an applied migration has changed.
        DatabaseError: SQLite could not open it.
        DatabaseNotWritable: the folder or the file cannot be made or written.
    """
    crashed, in_order = False, False

    @contextmanager
    def connect() -> Generator[sqlite3.Connection]:
        nonlocal crashed
        with hold(path) as held:
            crashed = held.crashed
            with open_to_write(path, migrations, busy_timeout) as connection:
                yield connection
            if in_order:
                held.leave()

    writer = Writer(path, connect)
    try:
        await writer.started
        with (
            closing(connect_to_read(path, FRONT_TIMEOUT)) as front,
            closing(Readers(path, size=READERS, timeout=busy_timeout)) as readers,
        ):
            yield Database(path, writer, front, readers, crashed=crashed)
        in_order = True
    finally:
        writer.stop()
        with anyio.CancelScope(shield=True):
            await writer.stopped
