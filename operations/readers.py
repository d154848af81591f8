"""Reading beside the writer: connections that can neither write nor checkpoint."""

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from queue import SimpleQueue
from time import perf_counter
from typing import Any, TypeVar

from operations.database_errors import DatabaseBusy, DatabaseClosed, in_our_words
from operations.durations import Durations

T = TypeVar("T")

STATEMENTS = 256  # prepared statements that a connection keeps
INTERRUPT_PERIOD = 0.01  # seconds between two attempts to interrupt what is read at the end


def connect_to_read(path: Path, timeout: float, *, alone: bool = False) -> sqlite3.Connection:
    """Open a read-only connection that any one thread at a time may use.

    ``timeout`` is how long it waits for a lock, in seconds. Rows are `sqlite3.Row`. ``alone``: it
    makes no files beside the one and reads none; if somebody writes meanwhile, it reads nonsense.
    """
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro{'&immutable=1' if alone else ''}",
        uri=True,
        timeout=timeout,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=STATEMENTS,
    )
    connection.row_factory = sqlite3.Row
    return connection


class Readers:
    """A few threads that read, each on a connection of its own. Made and used on the event loop.

    One of them is never with a read that is ``wide``: that may take seconds.
    """

    def __init__(self, path: Path, *, size: int, timeout: float) -> None:
        self._path = path
        self._connections = [connect_to_read(path, timeout) for _ in range(size)]
        self._idle: SimpleQueue[sqlite3.Connection] = SimpleQueue()
        for connection in self._connections:
            self._idle.put(connection)
        self._threads = ThreadPoolExecutor(size, thread_name_prefix="database-reader")
        self._reading: set[Future[Any]] = set()
        self._room = asyncio.Semaphore(size - 1)  # for wide reads
        self._closed = False
        self.durations = Durations()  # of reads that have begun
        self.busy = 0  # reads that found the file locked by another process

    async def read(self, query: Callable[[sqlite3.Connection], T], *, wide: bool = False) -> T:
        """Return what ``query`` returns, or raise what it raises, on one of the threads.

        Raises:
            DatabaseClosed: the readers are closed, or were before the query was done.
            DatabaseError: SQLite could not read.
        """
        if wide:
            await self._room.acquire()
        try:
            reading = self._begin(query)
        except BaseException:
            if wide:
                self._room.release()
            raise
        if wide:  # who waits may go before it is done
            loop = asyncio.get_running_loop()
            reading.add_done_callback(lambda _: loop.call_soon_threadsafe(self._room.release))
        try:
            return await asyncio.wrap_future(reading)
        except sqlite3.Error as error:
            if self._closed:
                raise DatabaseClosed(f"{self._path} is closed") from error
            ours = in_our_words(error, self._path)
            self.busy += isinstance(ours, DatabaseBusy)
            raise ours from error

    def _begin(self, query: Callable[[sqlite3.Connection], T]) -> "Future[T]":
        if self._closed:
            raise DatabaseClosed(f"{self._path} is closed")
        reading = self._threads.submit(self._use_one, query)
        self._reading.add(reading)
        reading.add_done_callback(self._reading.discard)
        return reading

    def close(self) -> None:
        """Interrupt what is being read, and close the connections."""
        self._closed = True
        pending = set(self._reading)
        while pending:
            # Again and again: a query that had not begun its statement yet was not interrupted.
            for connection in self._connections:
                connection.interrupt()
            pending = wait(pending, timeout=INTERRUPT_PERIOD).not_done
        self._threads.shutdown()
        for connection in self._connections:
            connection.close()

    def _use_one(self, query: Callable[[sqlite3.Connection], T]) -> T:
        if self._closed:
            raise DatabaseClosed(f"{self._path} is closed")
        connection = self._idle.get()
        began = perf_counter()
        try:
            return query(connection)
        finally:
            self.durations.add(perf_counter() - began)
            self._idle.put(connection)
