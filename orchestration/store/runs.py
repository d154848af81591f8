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
from orchestration.loop.run import (
    Failure,
    Outcome,
    Run,
    RunStatus,
    ThreadState,
)
from orchestration.store.checkpoint_rows import delete_run_checkpoints, delete_thread_checkpoints
from orchestration.store.cron_rows import move_cron
from orchestration.store.deliveries import Ended, with_delivery
from orchestration.store.idempotency import keep_output, with_receipt
from orchestration.store.recovery import crash, poison, recover
from orchestration.store.run_lists import (
    RESUMABLE,
    RUNS_PAGE,
    dead_letters,
    of_all,
    of_thread_sql,
)
from orchestration.store.run_rows import columns
from orchestration.store.terms import terms_of_names
from orchestration.store.thread_metadata import insert_thread, read_metadata, write_metadata
from orchestration.store.thread_rows import fail_thread, failure_text
from orchestration.store.ttl import Ttl
from orchestration.store.unwritten import HOLD, UnwrittenRuns, leaves_nothing
from orchestration.store.visibility import Visible, sees

_INSERT = """
INSERT INTO runs (run_id, thread_id, assistant_id, graph_id, status, created_at, updated_at,
    due_at, priority, timeout, tenant, ephemeral, resumable, repeatable, multitask_strategy,
    metadata, kwargs, principal)
VALUES (?, ?, ?, ?, 'pending', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_THREAD = """
SELECT json_extract(metadata, '$.graph_id'), json_extract(metadata, '$.assistant_id')
FROM threads WHERE thread_id = ?
"""
_WORKFLOW = """
SELECT json_extract(kwargs, '$.config.configurable.workflow') FROM runs INDEXED BY runs_of_thread
WHERE thread_id = ? AND NOT ephemeral
    AND json_type(kwargs, '$.config.configurable.workflow') = 'object'
ORDER BY created_at DESC, run_id DESC LIMIT 1
"""
_CLAIM = """
UPDATE runs SET status = 'running', token = ?, attempt = attempt + 1, updated_at = ?
WHERE run_id = ? AND status = 'pending'
"""
_IS_THERE = "SELECT 1 FROM runs WHERE run_id = ?"
_MINE = "run_id = ? AND status = ? AND token IS ?"
_FINISH = f"UPDATE runs SET status = ?, error = ?, token = NULL, updated_at = ? WHERE {_MINE}"  # noqa: S608 - constants
_REQUEUE = f"""
UPDATE runs SET status = 'pending', token = NULL, attempt = attempt - 1, updated_at = ?
WHERE {_MINE}
"""  # noqa: S608 - constants
_DELETE = f"DELETE FROM runs WHERE {_MINE}"  # noqa: S608 - constants
_DELETE_EVENTS = "DELETE FROM run_events WHERE run_id = ?"
# An index is only left alone if its columns are not set at all: so not the status, if it stays.
_SETTLE_THREAD = """
UPDATE threads SET error = :error, updated_at = :at, state_updated_at = :at,
    state_values = COALESCE(:values, state_values), interrupts = COALESCE(:interrupts, interrupts)
WHERE thread_id = :thread_id AND status = :status
"""
_CHANGE_STATUS = "UPDATE threads SET status = :status WHERE thread_id = :thread_id"


class RunStore:
    """The runs, and what a run does to its thread.

    ``tell`` is called whenever there may be something new for a webhook; without it, nothing is
    kept for webhooks. ``ttl`` is how long a thread lives that is made for a run; ``made`` is called
    with the id of each that was. ``hold`` is how many seconds a run that nobody was told of is not
    written, for it may have ended by then.
    """

    def __init__(
        self,
        database: Database,
        tell: Callable[[], None] | None = None,
        ttl: Ttl | None = None,
        made: Callable[[str], None] | None = None,
        hold: float = HOLD,
    ) -> None:
        self._database = database
        self._tell = tell
        self._ttl = ttl
        self._made = made
        self._unwritten = UnwrittenRuns(self._write_held, hold)
        self._nothing_to_write: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._nothing_to_write.set_result(True)

    def workflow_on(self, thread_id: str) -> Any:
        """Return the workflow of the latest run on a thread that had one; None if none had."""
        row = self._database.get(_WORKFLOW, (thread_id,))
        return None if row is None else orjson.loads(row[0])

    def accept(self, *runs: Run) -> Awaitable[bool]:
        """Keep pending runs; see the port."""
        if len(runs) == 1 and runs[0].receipt is None:
            if leaves_nothing(runs[0]) and not self._database.refusing:
                self._unwritten.add(runs[0])
                return self._nothing_to_write
            accept = partial(_accept, runs[0], self._ttl)
            written = self._database.write(accept, synced=runs[0].announced)
            if runs[0].create_thread and self._made is not None:
                written.add_done_callback(partial(self._tell_of_thread, runs[0], self._made))
            return written

        def accept_all(connection: sqlite3.Connection) -> bool:  # each has a thread of its own
            return all(_accept(run, self._ttl, connection) for run in runs)

        return self._database.write(with_receipt(accept_all, runs[0].receipt, lambda _: runs))

    def claim(self, run: Run, token: str) -> Awaitable[bool]:
        """Mark a pending run as running; see the port."""
        if run in self._unwritten:
            return self._nothing_to_write
        claim = partial(_claim, run.run_id, token, run.announced)
        return self._database.write(claim, synced=run.announced)

    def finish(self, run: Run, outcome: Outcome, state: ThreadState | None) -> Awaitable[bool]:
        """Write how a run ended; see the port."""
        if self._unwritten.discard(run):
            return self._nothing_to_write
        end = partial(_finish, run, run.token, outcome, state)
        if outcome.poison:
            end = partial(poison, end, run.run_id, run.crashes)
        if self._tell is None or "webhook" not in run.kwargs:
            return self._database.write(end)
        values = None if state is None else state.values
        return self._end_and_tell(
            end, run, Ended(outcome.status, iso_now(), outcome.failure, values)
        )

    def requeue(self, run: Run) -> Awaitable[bool]:
        """Put a running run back; see the port."""
        if self._unwritten.discard(run):
            return self._database.write(partial(_accept, run, self._ttl))
        parameters = (iso_now(), run.run_id, RunStatus.RUNNING, run.token)
        return self._database.write(partial(_change, _REQUEUE, parameters))

    def crash(self, run: Run) -> Awaitable[bool]:
        """Put a running run back that is charged with a crash; see the port."""
        self._unwritten.write_now(run)
        return self._database.write(partial(crash, run.run_id, run.crashes, run.token))

    def erase(self, run: Run) -> Awaitable[bool]:
        """Undo a run; see the port."""
        if self._unwritten.discard(run):
            return self._nothing_to_write
        end = partial(_erase, run, run.token)
        if self._tell is None or "webhook" not in run.kwargs:
            return self._database.write(end)
        return self._end_and_tell(end, run, Ended("rollback", iso_now()))

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
        await self._database.sync()
        run.announced = True

    def write_all(self) -> None:
        """Write every run that is not written yet: there is no more time."""
        self._unwritten.write_all()

    def get(self, run_id: str) -> sqlite3.Row | None:
        """Return the row of a run."""
        return self._database.get("SELECT * FROM runs WHERE run_id = ?", (run_id,))

    async def of_thread(
        self, thread_id: str, status: str | None, limit: int, offset: int
    ) -> list[sqlite3.Row]:
        """Return the runs of a thread, newest first."""
        sql = of_thread_sql(status)
        parameters = {
            "thread_id": thread_id,
            "status": status,
            "limit": min(limit, RUNS_PAGE),
            "offset": offset,
        }
        return await self._database.read(lambda c: c.execute(sql, parameters).fetchall())

    async def resumable(self, thread_id: str, since: str | None) -> list[sqlite3.Row]:
        """Return the ids of the runs of a thread whose events are kept, oldest first.

        ``since``: that run, if it is one of them, and those after it.
        """
        parameters = {"thread_id": thread_id, "since": since}
        return await self._database.read(lambda c: c.execute(RESUMABLE, parameters).fetchall())

    async def dead_letters(
        self, limit: int, offset: int, visible: Visible = None
    ) -> list[sqlite3.Row]:
        """Return the runs that were given up, newest first."""
        return await self._database.read(dead_letters(limit, offset, visible))

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
        return await self._database.read(of_all(run_id, status, limit, offset, visible))

    async def delete(self, thread_id: str, run_id: str) -> bool:
        """Delete a run that has ended, with its checkpoints; False if there is none."""
        return await self._database.write(partial(_delete_finished, thread_id, run_id))

    def _tell_of_thread(
        self, run: Run, made: Callable[[str], None], written: "asyncio.Future[bool]"
    ) -> None:
        """Tell that a thread was made; before anybody who waits for ``written`` goes on."""
        if run.new_thread and not written.cancelled() and written.exception() is None:
            made(run.thread_id)

    def _write_held(self, run: Run) -> "asyncio.Future[bool]":
        """Keep a run that was held back as it is by now."""
        keep = partial(_accept_held, run, run.token, self._ttl)
        return self._database.write(keep, synced=False)

    def _end_and_tell(self, end: Operation[bool], run: Run, ended: Ended) -> Awaitable[bool]:
        written = self._database.write(with_delivery(end, run, ended))
        if self._tell is not None:
            tell = self._tell
            written.add_done_callback(lambda _: tell())
        return written


def _accept(run: Run, ttl: Ttl | None, connection: sqlite3.Connection) -> bool:
    execute = connection.execute
    named = None if run.ephemeral else execute(_THREAD, (run.thread_id,)).fetchone()
    if named is None and not run.ephemeral and not run.create_thread:
        return False
    if named is not None and run.visible and not _is_own(run, connection):
        return False
    if run.firing is not None and not move_cron(connection, run.firing):
        return False
    if not run.ephemeral:
        run.new_thread = named is None
        if named is None:
            cron = {} if run.firing is None else {"cron_id": run.firing.cron_id}
            metadata = {**run.stamp, **_names(run), **cron}
            known = None
            if not run.stamp and not cron:
                known = terms_of_names(run.graph_id, run.assistant_id)
            insert_thread(connection, run.thread_id, run.created_at, metadata, ttl, found=known)
        elif tuple(named) != (run.graph_id, run.assistant_id):
            metadata = read_metadata(connection, run.thread_id) or {}
            write_metadata(connection, run.thread_id, {**metadata, **_names(run)})
    execute(_INSERT, columns(run))
    failpoint("accept.before_commit")
    return True


def _accept_held(
    run: Run, token: str | None, ttl: Ttl | None, connection: sqlite3.Connection
) -> bool:
    accepted = _accept(run, ttl, connection)
    claim = (token, iso_now(), run.run_id)
    return accepted and (token is None or _change(_CLAIM, claim, connection))


def _claim(
    run_id: str,
    token: str,
    written: bool,  # noqa: FBT001 - an operation's arguments are given once, by position
    connection: sqlite3.Connection,
) -> bool:
    """Mark a pending run as running; one that could not be ``written`` is claimed all the same."""
    if _change(_CLAIM, (token, iso_now(), run_id), connection):
        return True
    return not written and connection.execute(_IS_THERE, (run_id,)).fetchone() is None


def _is_own(run: Run, connection: sqlite3.Connection) -> bool:
    """Return whether the thread is for the caller still: another may have made it meanwhile."""
    return sees(run.visible, read_metadata(connection, run.thread_id) or {})


def _names(run: Run) -> dict[str, str]:
    """Return what a thread is told of a run on it."""
    return {"graph_id": run.graph_id, "assistant_id": run.assistant_id}


def _change(sql: str, parameters: tuple[Any, ...], connection: sqlite3.Connection) -> bool:
    return connection.execute(sql, parameters).rowcount == 1


def _finish(
    run: Run,
    token: str | None,
    outcome: Outcome,
    state: ThreadState | None,
    connection: sqlite3.Connection,
) -> bool:
    execute = connection.execute
    held = (run.run_id, _held_as(token), token)
    if run.ephemeral:
        if not _change(_DELETE, held, connection):
            return not run.announced  # it could not be written; nobody else knows of it
        if run.kwargs.get("durability") is not None:
            delete_thread_checkpoints(connection, run.thread_id)
        if run.repeatable:
            keep_output(connection, run.run_id, outcome.answer)
        elif run.resumable:
            execute(_DELETE_EVENTS, (run.run_id,))
        return True
    at, error = iso_now(), failure_text(outcome.failure)
    if not _change(_FINISH, (outcome.status, error, at, *held), connection):
        return False
    if run.repeatable:
        keep_output(connection, run.run_id, outcome.answer)
    if state is not None:
        _settle(run, outcome, state, at, connection)
    elif outcome.failure is not None:
        fail_thread(connection, run.thread_id, outcome.failure, at)
    return True


def _settle(
    run: Run, outcome: Outcome, state: ThreadState, at: str, connection: sqlite3.Connection
) -> None:
    settled = {
        "thread_id": run.thread_id,
        "status": _thread_status(outcome, state),
        "error": failure_text(outcome.failure),
        "at": at,
        "values": state.values.decode() if state.values is not None else None,
        "interrupts": state.interrupts.decode(),
    }
    if connection.execute(_SETTLE_THREAD, settled).rowcount == 0:
        connection.execute(_CHANGE_STATUS, settled)
        connection.execute(_SETTLE_THREAD, settled)


def _held_as(token: str | None) -> RunStatus:
    return RunStatus.PENDING if token is None else RunStatus.RUNNING


def _thread_status(outcome: Outcome, state: ThreadState) -> str:
    if outcome.failure is not None:
        return "error"
    return "interrupted" if state.interrupted else "idle"


def _erase(run: Run, token: str | None, connection: sqlite3.Connection) -> bool:
    if not _change(_DELETE, (run.run_id, _held_as(token), token), connection):
        return False
    delete_run_checkpoints(connection, run.thread_id, run.run_id)
    connection.execute(_DELETE_EVENTS, (run.run_id,))
    return True


def _delete_finished(thread_id: str, run_id: str, connection: sqlite3.Connection) -> bool:
    sql = """
        DELETE FROM runs
        WHERE run_id = ? AND thread_id = ? AND status NOT IN ('pending', 'running')
    """
    if not _change(sql, (run_id, thread_id), connection):
        return False
    delete_run_checkpoints(connection, thread_id, run_id)
    connection.execute(_DELETE_EVENTS, (run_id,))
    return True
