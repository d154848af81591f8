"""Runs in SQLite: the loop's store port, and what the faces read of them."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import orjson

from operations.clock import iso_now
from operations.database import Database
from operations.failpoints import failpoint
from operations.writer import Operation
from orchestration.loop.ports import Recovered
from orchestration.loop.run import Failure, Outcome, Run, RunStatus, ThreadState
from orchestration.store.checkpoint_rows import has_checkpoints
from orchestration.store.cron_rows import move_cron
from orchestration.store.deliveries import Ended, with_delivery
from orchestration.store.gone_threads import OF_NO_GONE_THREAD
from orchestration.store.idempotency import with_receipt
from orchestration.store.recovery import crash, poison, recover
from orchestration.store.run_ends import MINE, change, delete_finished, erase, finish
from orchestration.store.run_lists import (
    LATEST,
    RESUMABLE,
    dead_letters,
    of_all,
    of_thread,
)
from orchestration.store.run_rows import columns, is_there, run_of
from orchestration.store.terms import terms_of_names
from orchestration.store.thread_metadata import (
    insert_thread,
    name_thread,
    read_metadata,
)
from orchestration.store.ttl import Ttl
from orchestration.store.unwritten import HOLD, UnwrittenRuns, leaves_a_thread, leaves_nothing
from orchestration.store.unwritten_threads import UnwrittenThreads
from orchestration.store.visibility import Visible, sees
from orchestration.store.workflow_rows import WORKFLOW

_INSERT = """
INSERT INTO runs (run_id, thread_id, assistant_id, graph_id, status, token, attempt, created_at,
    updated_at, due_at, priority, timeout, tenant, ephemeral, resumable, repeatable,
    multitask_strategy, metadata, kwargs, principal)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_GET = f"SELECT * FROM runs WHERE run_id = ? AND {OF_NO_GONE_THREAD}"  # noqa: S608 - constants
_CLAIM = """
UPDATE runs SET status = 'running', token = ?, attempt = attempt + 1, updated_at = ?
WHERE run_id = ? AND status = 'pending'
"""
_REQUEUE = f"""
UPDATE runs SET status = 'pending', token = NULL, attempt = attempt - 1, updated_at = ?
WHERE {MINE}
"""  # noqa: S608 - constants
_STOP = f"UPDATE runs SET stop = ? WHERE {MINE}"  # noqa: S608 - constants


class RunStore:
    """The runs, and what a run does to its thread.

    ``tell`` is called with the URL of each webhook for which there is something new; without it,
    nothing is kept for webhooks. ``ttl`` is how long a thread lives that is made for a run;
    ``made`` is called with the id of each that was and had no checkpoints yet, ``left`` with that
    of each whose run ends.
    ``hold`` is how many seconds a run that nobody was told of is not written, for it may have ended
    by then; ``threads`` holds those back that make a thread, and what is done to it.
    """

    def __init__(
        self,
        database: Database,
        tell: Callable[[str], None] | None = None,
        ttl: Ttl | None = None,
        made: Callable[[str], None] = lambda _: None,
        left: Callable[[str], None] = lambda _: None,
        *,
        hold: float = HOLD,
        threads: UnwrittenThreads | None = None,
    ) -> None:
        self._database = database
        self._tell = tell
        self._ttl = ttl
        self._made = made
        self._left = left
        self._unwritten = UnwrittenRuns(self._write_held, hold)
        self._threads = UnwrittenThreads(database) if threads is None else threads
        self._nothing_to_write: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._nothing_to_write.set_result(True)

    def workflow_on(self, thread_id: str) -> Any:
        """Return the workflow that a thread goes on with; None if nobody gave it one."""
        workflow = self._database.value(WORKFLOW, (thread_id, thread_id))
        return None if workflow is None else orjson.loads(workflow)

    def latest_on(self, thread_id: str, graph_id: str) -> Run | None:
        """Return the latest run of a graph on a thread that has begun; None if none has."""
        row = self._database.get(LATEST, (thread_id, graph_id))
        return None if row is None else run_of(row)

    def accept(self, *runs: Run) -> Awaitable[bool]:
        """Keep runs; see the port."""
        if len(runs) == 1 and runs[0].receipt is None:
            return self._accept(runs[0])

        rows = [(run, columns(run, run.token)) for run in runs]

        def accept_all(connection: sqlite3.Connection) -> bool:  # each has a thread of its own
            return all(_accept(*one, self._ttl, connection) for one in rows)

        return self._database.write(with_receipt(accept_all, runs[0].receipt, lambda _: runs))

    def claim(self, run: Run, token: str) -> Awaitable[bool]:
        """Mark a pending run as running; see the port."""
        if run in self._unwritten:
            return self._nothing_to_write
        written = self._unwritten.writing(run) is None  # or not, if its acceptance failed
        claim = partial(_claim, run, token, written)
        if self._threads.keep(run.thread_id, claim):
            return self._nothing_to_write
        return self._write(run, claim, synced=run.announced)

    def finish(self, run: Run, outcome: Outcome, state: ThreadState | None) -> Awaitable[bool]:
        """Write how a run ended; see the port."""
        if self._unwritten.discard(run) and not outcome.poison:
            return self._nothing_to_write
        self._threads.note(run)
        self._left(run.thread_id)
        end: Operation[bool] = partial(finish, run, run.token, outcome, state)
        if outcome.poison:
            end = self._kept(run, partial(poison, end, run.run_id, run.crashes))
        if self._tell is None or "webhook" not in run.kwargs:
            return self._write(run, end)
        values = None if state is None else state.values
        return self._end_and_tell(
            end, run, Ended(outcome.status, iso_now(), outcome.failure, values)
        )

    def requeue(self, run: Run) -> Awaitable[bool]:
        """Put a running run back; see the port."""
        self._unwritten.discard(run)
        back = partial(change, _REQUEUE, (iso_now(), run.run_id, RunStatus.RUNNING, run.token))
        return self._write(run, self._kept(run, back))

    def crash(self, run: Run) -> Awaitable[bool]:
        """Put a running run back that is charged with a crash; see the port."""
        self._unwritten.write_now(run)
        unseen = run.ephemeral and not run.announced  # it may not come to be written
        return self._write(run, partial(crash, run.run_id, run.crashes, run.token, unseen))

    def erase(self, run: Run) -> Awaitable[bool]:
        """Undo a run; see the port."""
        if self._unwritten.discard(run):
            return self._nothing_to_write
        self._left(run.thread_id)
        end = partial(erase, run, run.token)
        if self._tell is None or "webhook" not in run.kwargs:
            return self._write(run, end)
        return self._end_and_tell(end, run, Ended("rollback", iso_now()))

    def note_stop(self, run: Run) -> Awaitable[bool]:
        """Have a working run that was told to end do so after a crash too; see the port."""
        self._unwritten.write_now(run)
        parameters = (run.ending, run.run_id, RunStatus.RUNNING, run.token)
        return self._write(run, partial(change, _STOP, parameters))

    def recover(self, crash_limit: int, failure: Failure) -> Awaitable[Recovered]:
        """Return what is unfinished after a start; see the port."""
        told = self._tell is not None
        # After a stop in order, what is found working is what could not be put back: no crash.
        charge = (1, 0) if self._database.crashed else (0, 1)
        return self._database.write(partial(recover, crash_limit, failure, told, charge))

    async def announce(self, run: Run) -> None:
        """Have a run that was not ``announced`` so durable that clients may be told of it.

        Raises:
            StorageUnavailable: it could not be made so; nothing may be said yet.
        """
        if (written := self._unwritten.write_now(run)) is not None:
            await asyncio.shield(written)
        await self._threads.show(run.thread_id)
        await self._database.sync()
        run.announced = True

    def write_all(self) -> None:
        """Write every run that is not written yet: there is no more time."""
        self._unwritten.write_all()
        self._threads.write_all()

    @property
    def holding(self) -> bool:
        """Whether there are threads that are not written yet."""
        return bool(self._threads)

    async def show(self, *ids: str) -> None:
        """Have threads written that somebody names, or whose runs, if they are not yet.

        Raises:
            StorageUnavailable: that cannot be done at the moment.
        """
        await self._threads.show(*ids)

    def get(self, run_id: str) -> sqlite3.Row | None:
        """Return the row of a run."""
        return self._database.get(_GET, (run_id,))

    async def of_thread(
        self, thread_id: str, status: str | None, limit: int, offset: int
    ) -> list[sqlite3.Row]:
        """Return the runs of a thread, newest first.

        Raises:
            TooMuchFound: they are too large together.
        """
        return await self._database.read(of_thread(thread_id, status, limit, offset))

    async def resumable(self, thread_id: str, since: str | None) -> list[sqlite3.Row]:
        """Return the ids of the runs of a thread whose events are kept, in the order of their ends.

        ``since``: that run, if it is one of them, and those that told something after it did;
        where it is not there, those made after it.
        """
        parameters = {"thread_id": thread_id, "since": since}
        return await self._database.read(lambda c: c.execute(RESUMABLE, parameters).fetchall())

    async def dead_letters(
        self, limit: int, offset: int, visible: Visible = None
    ) -> list[sqlite3.Row]:
        """Return the runs that were given up, newest first."""
        return await self._database.read(dead_letters(limit, offset, visible), wide=True)

    async def of_all(
        self,
        run_id: str | None,
        status: str | None,
        limit: int,
        offset: int,
        visible: Visible = None,
    ) -> list[sqlite3.Row]:
        """Return runs of all threads, newest first; or that one.

        Raises:
            SearchTooWide: it took too long to look through so many.
        """
        return await self._database.read(of_all(run_id, status, limit, offset, visible), wide=True)

    async def delete(self, thread_id: str, run_id: str) -> bool:
        """Delete a run that has ended, with its checkpoints; False if there is none."""
        return await self._database.write(partial(delete_finished, thread_id, run_id))

    def _accept(self, run: Run) -> Awaitable[bool]:
        held_back = not self._database.refusing
        if held_back and leaves_nothing(run):
            self._unwritten.add(run)
            return self._nothing_to_write
        accept = partial(_accept, run, columns(run, run.token), self._ttl)
        if held_back and leaves_a_thread(run):
            self._threads.hold(run, accept)
            run.new_thread = True
            self._made(run.thread_id)
            return self._nothing_to_write
        written = self._write(run, accept, synced=run.announced)
        if run.create_thread:
            written.add_done_callback(partial(self._tell_of_thread, run))
        return written

    def _kept(self, run: Run, operation: Operation[bool]) -> Operation[bool]:
        """Return ``operation`` such that a run that may never have been written is there for it."""
        if run.announced or not run.ephemeral:
            return operation
        return partial(_keep, operation, run, columns(run, run.token), self._ttl)

    def _write(
        self, run: Run, operation: Operation[bool], *, synced: bool = True
    ) -> "asyncio.Future[bool]":
        return self._threads.write(run.thread_id, operation, synced=synced)

    def _tell_of_thread(self, run: Run, written: "asyncio.Future[bool]") -> None:
        """Tell that a thread was made; before anybody who waits for ``written`` goes on."""
        if run.new_thread and not written.cancelled() and written.exception() is None:
            self._made(run.thread_id)

    def _write_held(self, run: Run) -> "asyncio.Future[bool]":
        """Keep a run that was held back as it is by now."""
        keep = partial(_accept, run, columns(run, run.token), self._ttl)
        return self._database.write(keep, synced=False)

    def _end_and_tell(self, end: Operation[bool], run: Run, ended: Ended) -> Awaitable[bool]:
        written = self._write(run, with_delivery(end, run, ended))
        if (tell := self._tell) is not None:
            written.add_done_callback(lambda _: tell(run.kwargs["webhook"]))
        return written


def _accept(
    run: Run, row: tuple[Any, ...], ttl: Ttl | None, connection: sqlite3.Connection
) -> bool:
    if run.ephemeral:
        placed = run.firing is None or move_cron(connection, run.firing)
    else:
        placed = _place(run, ttl, connection)
    if placed:
        connection.execute(_INSERT, row)
        failpoint("accept.before_commit")
    return placed


def _place(run: Run, ttl: Ttl | None, connection: sqlite3.Connection) -> bool:
    """Have the thread of a run named after it, or made; False if the run may not be on it."""
    # Most threads that may be made are new; to look first would be one more statement for those.
    run.new_thread = False
    if run.create_thread and run.firing is None and _make(run, ttl, connection):
        return True
    metadata = read_metadata(connection, run.thread_id)
    if metadata is None and not run.create_thread:
        return False
    if metadata is not None and not sees(run.visible, metadata):  # another made it meanwhile
        return False
    if run.firing is not None and not move_cron(connection, run.firing):
        return False
    if metadata is None:
        _make(run, ttl, connection)
    elif run.token is not None or metadata.get("graph_id") is None:  # else when the run is claimed
        name_thread(connection, run.thread_id, _names(run), metadata)
        run.thread_metadata = metadata
    return True


def _make(run: Run, ttl: Ttl | None, connection: sqlite3.Connection) -> bool:
    """Make the thread of a run; False if there is one."""
    cron = {} if run.firing is None else {"cron_id": run.firing.cron_id}
    metadata = {**run.stamp, **_names(run), **cron}
    known = None
    if not run.stamp and not cron:
        known = terms_of_names(run.graph_id, run.assistant_id)
    made = insert_thread(connection, run.thread_id, run.created_at, metadata, ttl, found=known)
    # A file of LangGraph's own saver has checkpoints of threads that are none here yet; not of that
    # of a run that is not announced: its id was made just now.
    run.new_thread = made and not (run.announced and has_checkpoints(connection, run.thread_id))
    return made


def _keep(
    operation: Operation[bool],
    run: Run,
    row: tuple[Any, ...],
    ttl: Ttl | None,
    connection: sqlite3.Connection,
) -> bool:
    """Do what is meant for a run, which is kept first if it is not there."""
    if operation(connection):
        return True
    missing = not is_there(connection, run.run_id)
    return missing and _accept(run, row, ttl, connection) and operation(connection)


def _claim(
    run: Run,
    token: str,
    written: bool,  # noqa: FBT001 - an operation's arguments are given once, by position
    connection: sqlite3.Connection,
) -> bool:
    """Mark a pending run as running; one held back that could not be ``written``, all the same."""
    if not change(_CLAIM, (token, iso_now(), run.run_id), connection):
        return not written and not is_there(connection, run.run_id)
    metadata = None if run.ephemeral else read_metadata(connection, run.thread_id)
    if metadata is not None:
        name_thread(connection, run.thread_id, _names(run), metadata)
        run.thread_metadata = metadata
    return True


def _names(run: Run) -> dict[str, str]:
    """Return what a thread is told of a run on it."""
    return {"graph_id": run.graph_id, "assistant_id": run.assistant_id}
