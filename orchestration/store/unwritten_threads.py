"""Threads that are not written yet: nobody was told of them, and most are written once, whole."""

import asyncio
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from operations.database import Database
from operations.errors import StorageUnavailable
from operations.writer import Operation
from orchestration.loop.run import Run
from orchestration.store.run_rows import is_there
from orchestration.store.unwritten import AGAIN, Hold, leaves_a_thread

T = TypeVar("T")

HOLD = 0.05  # seconds: what a run has done on a thread is more to lose than its acceptance
_MOST = 0.5  # seconds, while such runs take long


class CannotBeWritten(Exception):
    """Something that was held back of a thread can never be written. Nothing of it was."""

    def __init__(self, run_id: str) -> None:
        super().__init__(f"the run {run_id} could not be written, nor its thread")
        self.run_id = run_id


@dataclass(slots=True, eq=False)
class _Thread:
    """A thread, the run that makes it, and what is to be done to both, in order.

    ``due`` is one that holds nothing more back: it is being written, or could not be.
    """

    thread_id: str
    run_id: str
    timer: asyncio.TimerHandle
    operations: list[Operation[Any]]
    parts: set[str] = field(default_factory=set[str])
    synced: bool = False
    due: bool = False
    writing: "asyncio.Future[Any] | None" = None


class UnwrittenThreads:
    """Holds threads back from the disk for a moment, with the runs that make them; see ADR 7.

    What is done to one is kept in order, and made in one transaction with the first write that is
    not held back, or after ``hold`` seconds, or more while all take long; until that has worked,
    each write brings it along.
    """

    def __init__(self, database: Database, hold: float = HOLD) -> None:
        self._database = database
        self._hold = Hold(hold, _MOST)
        self._named: dict[str, _Thread] = {}  # each by its id, and by that of its run

    def __bool__(self) -> bool:
        """Return whether any thread is held back."""
        return bool(self._named)

    def __contains__(self, thread_id: str) -> bool:
        """Return whether what is done to a thread may be held back."""
        thread = self._named.get(thread_id)
        return thread is not None and not thread.due

    def hold(self, run: Run, accept: Operation[Any]) -> None:
        """Hold back the thread that ``run`` makes, beginning with its acceptance."""
        seconds = self._hold.seconds
        timer = asyncio.get_running_loop().call_later(seconds, self._write_due, run.thread_id)
        thread = _Thread(run.thread_id, run.run_id, timer, [accept])
        self._named[run.thread_id] = self._named[run.run_id] = thread

    def note(self, run: Run) -> None:
        """Take into account how long a run took, which ends and may have been held back."""
        if leaves_a_thread(run):
            self._hold.note(run)

    def keep(
        self,
        thread_id: str,
        operation: Operation[Any],
        part: str | None = None,
        *,
        synced: bool = False,
    ) -> bool:
        """Hold back what is done to a ``part`` of a thread; False if it is to be written.

        The operation must not fail for anything that it does itself: nobody would be told.
        ``synced`` has the thread wait for the disk once it is written.
        """
        if thread_id not in self:
            return False
        thread = self._named[thread_id]
        thread.operations.append(operation)
        if part is not None:
            thread.parts.add(part)
        thread.synced |= synced
        return True

    def nothing_in(self, thread_id: str, part: str) -> bool:
        """Return whether nothing was ever done to a ``part`` of a thread, as far as it is known."""
        return thread_id in self and part not in self._named[thread_id].parts

    def write(
        self, thread_id: str, operation: Operation[T], *, synced: bool = True
    ) -> "asyncio.Future[T]":
        """Write as `Database.write` does, with all that is held back of the thread before it."""
        thread = self._named.get(thread_id)
        if thread is None:
            return self._database.write(operation, synced=synced)
        thread.due = True
        thread.timer.cancel()
        whole = partial(_whole, thread.run_id, tuple(thread.operations), operation)
        written = self._database.write(whole, synced=synced or thread.synced)
        # Not what the caller is given: one that is cancelled says nothing of what was written.
        told = thread.writing = asyncio.get_running_loop().create_future()
        written.add_done_callback(partial(self._written, thread, told))
        return told

    def write_now(self, thread_id: str) -> "asyncio.Future[Any] | None":
        """Write what is held back of a thread; None if nothing is. What fails is tried again."""
        thread = self._named.get(thread_id)
        if thread is None:
            return None
        if thread.writing is not None:
            return thread.writing
        return self.write(thread.thread_id, _nothing, synced=False)

    def write_all(self) -> "list[asyncio.Future[Any]]":
        """Write all that is held back."""
        threads = {thread.thread_id for thread in self._named.values()}
        return [written for one in threads if (written := self.write_now(one)) is not None]

    async def show(self, *ids: str) -> None:
        """Have the threads written that somebody names, or whose runs.

        Raises:
            StorageUnavailable: one cannot be; it is tried again.
        """
        for one in ids:
            if (written := self.write_now(one)) is not None:
                await asyncio.shield(written)

    async def show_all(self) -> None:
        """Have everything written, for somebody who looks at all.

        Raises:
            StorageUnavailable: something cannot be; it is tried again.
        """
        for written in self.write_all():
            await asyncio.shield(written)

    def _write_due(self, thread_id: str) -> None:
        try:
            self.write_now(thread_id)
        except StorageUnavailable:  # for good: the database is closed
            self._release(self._named[thread_id])

    def _written(
        self,
        thread: _Thread,
        told: "asyncio.Future[Any]",
        written: "asyncio.Future[Any]",
    ) -> None:
        error = written.exception()
        if thread.writing is told:
            thread.writing = None
        if self._named.get(thread.thread_id) is thread:
            if error is None or isinstance(error, CannotBeWritten):
                self._release(thread)
            else:
                thread.timer.cancel()
                loop = asyncio.get_running_loop()
                thread.timer = loop.call_later(AGAIN, self._write_due, thread.thread_id)
        if told.done():  # its waiter was cancelled
            return
        if error is None:
            told.set_result(written.result())
        else:
            told.set_exception(error)
            told.exception()  # looked at: asyncio logs nothing if nobody else does

    def _release(self, thread: _Thread) -> None:
        thread.timer.cancel()
        del self._named[thread.thread_id], self._named[thread.run_id]


def _whole(
    run_id: str,
    before: Sequence[Operation[Any]],
    operation: Operation[T],
    connection: sqlite3.Connection,
) -> T:
    # Another write may have brought it along meanwhile.
    if not is_there(connection, run_id):
        try:
            for one in before:
                one(connection)
        except sqlite3.Error:
            raise
        except Exception as error:
            raise CannotBeWritten(run_id) from error
    return operation(connection)


def _nothing(_: sqlite3.Connection) -> None:
    pass
