"""Runs in SQLite: the loop's store port, and what the faces read of them."""

import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import orjson

from operations.clock import iso, iso_now, utc_now
from operations.database import Database
from operations.failpoints import failpoint
from operations.writer import Operation
from orchestration.loop.run import (
    Failure,
    MultitaskStrategy,
    Outcome,
    Run,
    RunStatus,
    ThreadState,
)
from orchestration.store.checkpoint_rows import delete_run_checkpoints, delete_thread_checkpoints
from orchestration.store.contains import Contains
from orchestration.store.cron_rows import move_cron
from orchestration.store.deliveries import Ended, add_delivery, with_delivery
from orchestration.store.idempotency import keep_output, with_receipt
from orchestration.store.run_lists import DEAD, RESUMABLE, of_thread_sql
from orchestration.store.terms import terms_of_names
from orchestration.store.thread_metadata import insert_thread, read_metadata, write_metadata
from orchestration.store.ttl import Ttl
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
_CLAIM = """
UPDATE runs SET status = 'running', token = ?, attempt = attempt + 1, updated_at = ?
WHERE run_id = ? AND status = 'pending'
"""
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
_RELEASE_THREAD = "UPDATE threads SET status = ?, error = ?, updated_at = ? WHERE thread_id = ?"
# SQLite uses an index of some of the runs only for its very condition.
_UNFINISHED = "status IN ('pending', 'running')"
_CRASHED = f"""
UPDATE runs SET status = 'pending', token = NULL, crashes = crashes + ?, attempt = attempt - ?
WHERE {_UNFINISHED} AND status = 'running'
"""  # noqa: S608 - constants
_POISON = f"""
UPDATE runs SET status = 'error', dead_letter = 'poison', error = ?, updated_at = ?
WHERE {_UNFINISHED} AND status = 'pending' AND crashes >= ?
RETURNING *
"""  # noqa: S608 - constants
_PENDING = f"""
SELECT * FROM runs WHERE {_UNFINISHED} AND status = 'pending' ORDER BY created_at, run_id
"""  # noqa: S608 - constants

RUNS_PAGE = 1_000  # rows a caller may ask for at once


class RunStore:
    """The runs, and what a run does to its thread.

    ``tell`` is called whenever there may be something new for a webhook; without it, nothing is
    kept for webhooks. ``ttl`` is how long a thread lives that is made for a run.
    """

    def __init__(
        self,
        database: Database,
        tell: Callable[[], None] | None = None,
        ttl: Ttl | None = None,
    ) -> None:
        self._database = database
        self._tell = tell
        self._ttl = ttl

    def accept(self, *runs: Run) -> Awaitable[bool]:
        """Keep pending runs; see the port."""
        if len(runs) == 1 and runs[0].receipt is None:
            accept = partial(_accept, runs[0], self._ttl)
            return self._database.write(accept, synced=runs[0].announced)
        accept = partial(_accept_all, runs, self._ttl)
        return self._database.write(with_receipt(accept, runs[0].receipt, lambda _: runs))

    def claim(self, run: Run, token: str) -> Awaitable[bool]:
        """Mark a pending run as running; see the port."""
        parameters = (token, iso_now(), run.run_id)
        return self._database.write(partial(_change, _CLAIM, parameters), synced=run.announced)

    def finish(self, run: Run, outcome: Outcome, state: ThreadState | None) -> Awaitable[bool]:
        """Write how a run ended; see the port."""
        end = partial(_finish, run, run.token, outcome, state)
        if self._tell is None or "webhook" not in run.kwargs:
            return self._database.write(end)
        values = None if state is None else state.values
        return self._end_and_tell(
            end, run, Ended(outcome.status, iso_now(), outcome.failure, values)
        )

    def requeue(self, run: Run) -> Awaitable[bool]:
        """Put a running run back; see the port."""
        parameters = (iso_now(), run.run_id, RunStatus.RUNNING, run.token)
        return self._database.write(partial(_change, _REQUEUE, parameters))

    def erase(self, run: Run) -> Awaitable[bool]:
        """Undo a run; see the port."""
        end = partial(_erase, run, run.token)
        if self._tell is None or "webhook" not in run.kwargs:
            return self._database.write(end)
        return self._end_and_tell(end, run, Ended("rollback", iso_now()))

    def recover(self, crash_limit: int, failure: Failure) -> Awaitable[Sequence[Run]]:
        """Return what is unfinished after a start; see the port."""
        told = self._tell is not None
        # After a stop in order, what is found working is what could not be put back: no crash.
        charge = (1, 0) if self._database.crashed else (0, 1)
        return self._database.write(partial(_recover, crash_limit, failure, told, charge))

    async def announce(self, run: Run) -> None:
        """Have a run that was not ``announced`` so durable that clients may be told of it.

        Raises:
            StorageUnavailable: it could not be made so; nothing may be said yet.
        """
        await self._database.sync()
        run.announced = True

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
        part = orjson.dumps(visible) if visible else None
        parameters = (part, part, min(limit, RUNS_PAGE), offset)
        return await self._database.read(Contains(DEAD, parameters).fetchall)

    async def delete(self, thread_id: str, run_id: str) -> bool:
        """Delete a run that has ended, with its checkpoints; False if there is none."""
        return await self._database.write(partial(_delete_finished, thread_id, run_id))

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
    execute(_INSERT, _columns(run))
    failpoint("accept.before_commit")
    return True


def _is_own(run: Run, connection: sqlite3.Connection) -> bool:
    """Return whether the thread is for the caller still: another may have made it meanwhile."""
    return sees(run.visible, read_metadata(connection, run.thread_id) or {})


def _accept_all(runs: Sequence[Run], ttl: Ttl | None, connection: sqlite3.Connection) -> bool:
    return all(_accept(run, ttl, connection) for run in runs)  # each of several has its own thread


def _names(run: Run) -> dict[str, str]:
    """Return what a thread is told of a run on it."""
    return {"graph_id": run.graph_id, "assistant_id": run.assistant_id}


def _columns(run: Run) -> tuple[Any, ...]:
    due_at = None
    if run.delay > 0:
        created = datetime.fromisoformat(run.created_at)
        due_at = iso(created + timedelta(seconds=run.delay))
    return (
        run.run_id,
        run.thread_id,
        run.assistant_id,
        run.graph_id,
        run.created_at,
        run.created_at,
        due_at,
        run.priority,
        run.timeout,
        run.tenant,
        run.ephemeral,
        run.resumable,
        run.repeatable,
        run.multitask_strategy,
        orjson.dumps(run.metadata).decode(),
        orjson.dumps(run.kwargs).decode(),
        None if run.principal is None else orjson.dumps(run.principal).decode(),
    )


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
            return False
        if run.kwargs.get("durability") is not None:
            delete_thread_checkpoints(connection, run.thread_id)
        if run.repeatable:
            keep_output(connection, run.run_id, outcome.answer)
        elif run.resumable:
            execute(_DELETE_EVENTS, (run.run_id,))
        return True
    at, error = iso_now(), _error(outcome.failure)
    if not _change(_FINISH, (outcome.status, error, at, *held), connection):
        return False
    if run.repeatable:
        keep_output(connection, run.run_id, outcome.answer)
    if state is not None:
        _settle(run, outcome, state, at, connection)
    elif outcome.failure is not None:
        execute(_RELEASE_THREAD, ("error", error, at, run.thread_id))
    return True


def _settle(
    run: Run, outcome: Outcome, state: ThreadState, at: str, connection: sqlite3.Connection
) -> None:
    settled = {
        "thread_id": run.thread_id,
        "status": _thread_status(outcome, state),
        "error": _error(outcome.failure),
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


def _error(failure: Failure | None) -> str | None:
    return None if failure is None else orjson.dumps(failure).decode()


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


def _recover(
    crash_limit: int,
    failure: Failure,
    told: bool,  # noqa: FBT001 - an operation's arguments are given once, by position
    charge: tuple[int, int],
    connection: sqlite3.Connection,
) -> Sequence[Run]:
    at, error = iso_now(), _error(failure)
    connection.execute(_CRASHED, charge)
    for row in connection.execute(_POISON, (error, at, crash_limit)).fetchall():
        if row["repeatable"]:
            keep_output(connection, row["run_id"], Outcome(RunStatus.ERROR, None, failure).answer)
        connection.execute(_RELEASE_THREAD, ("error", error, at, row["thread_id"]))
        poisoned = _run(row)
        if told and "webhook" in poisoned.kwargs:
            add_delivery(connection, poisoned, Ended(RunStatus.ERROR, at, failure))
    return [_run(row) for row in connection.execute(_PENDING)]


def _run(row: sqlite3.Row) -> Run:
    delay = 0.0
    if row["due_at"] is not None:
        due_at = datetime.fromisoformat(row["due_at"])
        delay = max(0.0, (due_at - utc_now()).total_seconds())
    return Run(
        run_id=row["run_id"],
        thread_id=row["thread_id"],
        assistant_id=row["assistant_id"],
        graph_id=row["graph_id"],
        kwargs=orjson.loads(row["kwargs"]),
        metadata=orjson.loads(row["metadata"]),
        created_at=row["created_at"],
        priority=row["priority"],
        multitask_strategy=MultitaskStrategy(row["multitask_strategy"]),
        ephemeral=bool(row["ephemeral"]),
        resumable=bool(row["resumable"]),
        repeatable=bool(row["repeatable"]),
        tenant=row["tenant"],
        delay=delay,
        timeout=row["timeout"],
        attempt=row["attempt"],
        crashes=row["crashes"],
        principal=None if row["principal"] is None else orjson.loads(row["principal"]),
    )
