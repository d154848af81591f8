"""The thread that writes: what waits shares a transaction, each waiter has its own result."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from queue import SimpleQueue
from time import perf_counter
from typing import Any, TypeAlias, TypeVar

from operations.database_errors import (
    DatabaseBusy,
    DatabaseClosed,
    DatabaseCorrupt,
    DatabaseError,
    DiskFailed,
    DiskFull,
    in_our_words,
)
from operations.durations import Durations
from operations.handover import handover
from operations.migrations import touch

T = TypeVar("T")
Operation: TypeAlias = Callable[[sqlite3.Connection], T]
Connect: TypeAlias = Callable[[], AbstractContextManager[sqlite3.Connection]]

BATCH = 512  # operations that share one transaction at most


class Writer:
    """Owns the writing connection: opens it, uses it and closes it on a thread of its own.

    ``started`` resolves once the connection is open, or to the error of opening it; ``stopped``
    once it is closed. All methods belong to the event loop that made the writer.
    """

    def __init__(self, path: Path, connect: Connect) -> None:
        self._path = path
        self._connect = connect
        self._loop = asyncio.get_running_loop()
        self._requests: SimpleQueue[_Request | None] = SimpleQueue()
        self._waiting = 0
        self.refused: DatabaseError | None = None  # the last write that no other would do better
        self.durations = Durations()  # of transactions, their waits for locks and disk included
        self.busy = 0  # writes that found the file locked by another process
        self._closing = False
        self._syncing = True  # as the connection is opened
        self._unsynced = False
        self._changes = 0
        self.started: asyncio.Future[None] = self._loop.create_future()
        self.stopped: asyncio.Future[None] = self._loop.create_future()
        threading.Thread(target=self._run, name="database-writer", daemon=True).start()

    def submit(self, operation: Operation[T], *, synced: bool = True) -> asyncio.Future[T]:
        """Queue ``operation`` behind what is queued; the future is resolved after its commit.

        One that is not ``synced`` does not wait for the disk, unless it shares a transaction with
        one that is; the next of those, or `sync`, takes it along.

        Raises:
            DatabaseClosed: the writer is stopping.
        """
        if self._closing:
            raise DatabaseClosed(f"{self._path} is closed")
        future: asyncio.Future[T] = self._loop.create_future()
        self._waiting += 1
        if self._waiting == 1:
            handover.gather()
        self._requests.put((operation, future, synced))
        return future

    def sync(self) -> asyncio.Future[None]:
        """Have everything that is queued or committed on the disk."""
        return self.submit(self._sync_rest)

    async def settled(self) -> None:
        """Return once what was queued before is committed, or has failed."""
        if self._waiting:
            await asyncio.wait({self.submit(_nothing)})

    def stop(self) -> None:
        """Take no more operations, and end when those queued are done."""
        self._closing = True
        self._requests.put(None)

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            with self._connect() as connection:
                self._loop.call_soon_threadsafe(_resolve, self.started, None, None)
                while self._work(connection):
                    pass
        except BaseException as exc:  # noqa: BLE001 - handed to whoever opens or closes
            error = exc
        with suppress(RuntimeError):  # the event loop has ended, by a signal while this was opened
            self._loop.call_soon_threadsafe(self._end, error)

    def _work(self, connection: sqlite3.Connection) -> bool:
        """Do what waits; return whether to go on."""
        request = self._requests.get()
        batch: list[_Request] = []
        while request is not None:
            batch.append(request)
            if len(batch) == BATCH or self._requests.empty():
                break
            request = self._requests.get()
        if batch:
            began = perf_counter()
            outcomes = self._commit(connection, batch)
            self.durations.add(perf_counter() - began)
            self._loop.call_soon_threadsafe(self._resolve_all, outcomes)
        return request is not None

    def _commit(self, connection: sqlite3.Connection, batch: "list[_Request]") -> "list[_Outcome]":
        """Make one transaction of a batch, as long as all of it can be done."""
        try:
            self._begin(connection, batch)
        except sqlite3.Error as error:
            return [(future, None, self._in_our_words(error)) for _, future, _ in batch]
        try:
            outcomes: list[_Outcome] = [
                (future, operation(connection), None) for operation, future, _ in batch
            ]
            connection.execute("COMMIT")
            if connection.total_changes != self._changes:
                self._unsynced = not self._syncing
        except BaseException as error:  # noqa: BLE001 - an operation must not take the writer down
            _roll_back(connection)
            if len(batch) == 1:
                return [(batch[0][1], None, self._in_our_words(error))]
            return self._commit_without_failures(connection, batch)
        return outcomes

    def _commit_without_failures(
        self, connection: sqlite3.Connection, batch: "list[_Request]"
    ) -> "list[_Outcome]":
        """Do a batch again with a savepoint each, so that an operation that raises fails alone."""
        try:
            self._begin(connection, batch)
            outcomes = [
                self._attempt(connection, operation, future) for operation, future, _ in batch
            ]
            connection.execute("COMMIT")
            self._unsynced = self._unsynced or not self._syncing
        except sqlite3.Error:
            # SQLite gave up the transaction as a whole, over a full disk as a rule: what is small
            # may still find room.
            _roll_back(connection)
            return [outcome for request in batch for outcome in self._commit(connection, [request])]
        return outcomes

    def _begin(self, connection: sqlite3.Connection, batch: "list[_Request]") -> None:
        """Begin a transaction whose commit waits for the disk if any operation asks for that."""
        syncing = any(synced for _, _, synced in batch)
        if syncing != self._syncing:
            connection.execute(f"PRAGMA synchronous = {'FULL' if syncing else 'NORMAL'}")
            self._syncing = syncing
        self._changes = connection.total_changes
        connection.execute("BEGIN IMMEDIATE")

    def _sync_rest(self, connection: sqlite3.Connection) -> None:
        if self._unsynced:
            touch(connection)

    def _attempt(
        self,
        connection: sqlite3.Connection,
        operation: Operation[Any],
        future: asyncio.Future[Any],
    ) -> "_Outcome":
        connection.execute("SAVEPOINT operation")
        try:
            outcome: _Outcome = (future, operation(connection), None)
        except BaseException as error:  # noqa: BLE001 - an operation must not take the writer down
            connection.execute("ROLLBACK TO operation")
            outcome = (future, None, self._in_our_words(error))
        connection.execute("RELEASE operation")
        return outcome

    def _in_our_words(self, error: BaseException) -> BaseException:
        if isinstance(error, sqlite3.Error):
            ours = in_our_words(error, self._path)
            ours.__cause__ = error
            return ours
        if isinstance(error, StopIteration):  # which a future does not take
            return RuntimeError("the operation raised StopIteration")
        return error

    def _resolve_all(self, outcomes: "list[_Outcome]") -> None:
        self._waiting -= len(outcomes)
        if not self._waiting:
            handover.gathered()
        for _, _, error in outcomes:
            if isinstance(error, DiskFull | DiskFailed | DatabaseBusy | DatabaseCorrupt):
                if self.refused is None or not self.refused.lasting:
                    self.refused = error
                self.busy += isinstance(error, DatabaseBusy)
        for outcome in outcomes:
            _resolve(*outcome)

    def _end(self, error: BaseException | None) -> None:
        self._closing = True
        if self._waiting:
            self._waiting = 0
            handover.gathered()
        opening = self.started.cancelled() or not self.started.done()
        _resolve(self.started, None, error)
        _resolve(self.stopped, None, None if opening else error)


_Request: TypeAlias = tuple[Operation[Any], asyncio.Future[Any], bool]
_Outcome: TypeAlias = tuple[asyncio.Future[Any], Any, BaseException | None]


def _resolve(future: asyncio.Future[Any], result: object, error: BaseException | None) -> None:
    if future.done():  # its waiter was cancelled
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
        future.exception()  # looked at: asyncio logs nothing if nobody else does


def _nothing(_: sqlite3.Connection) -> None:
    pass


def _roll_back(connection: sqlite3.Connection) -> None:
    with suppress(sqlite3.Error):  # whatever it reports, it has rolled back
        connection.rollback()
