"""How a run ends, in a transaction: it has its last status, or is gone, and its thread is free."""

import sqlite3
from typing import Any

from operations.clock import iso_now
from orchestration.loop.run import Outcome, Run, RunStatus, ThreadState
from orchestration.store.checkpoint_rows import delete_run_checkpoints, delete_thread_checkpoints
from orchestration.store.deliveries import drop_payload
from orchestration.store.idempotency import keep_output
from orchestration.store.thread_rows import fail_thread, failure_text
from orchestration.store.workflow_rows import LEFT, hand_on_workflow

MINE = "run_id = ? AND status = ? AND token IS ?"
_FINISH = f"UPDATE runs SET status = ?, error = ?, token = NULL, updated_at = ? WHERE {MINE}"  # noqa: S608 - constants
_DELETE = f"DELETE FROM runs WHERE {MINE}"  # noqa: S608 - constants
_DELETE_FINISHED = f"""
DELETE FROM runs WHERE run_id = ? AND thread_id = ? AND status NOT IN ('pending', 'running')
RETURNING {LEFT}
"""  # noqa: S608 - constants
_DELETE_EVENTS = "DELETE FROM run_events WHERE run_id = ?"
# An index is only left alone if its columns are not set at all: so not the status, if it stays.
_SETTLE_THREAD = """
UPDATE threads SET error = :error, updated_at = :at, state_updated_at = :at,
    state_values = COALESCE(:values, state_values), interrupts = COALESCE(:interrupts, interrupts)
WHERE thread_id = :thread_id AND status = :status
"""
_CHANGE_STATUS = "UPDATE threads SET status = :status WHERE thread_id = :thread_id"


def change(sql: str, parameters: tuple[Any, ...], connection: sqlite3.Connection) -> bool:
    """Do what is meant for one row; False if there is no such row."""
    return connection.execute(sql, parameters).rowcount == 1


def finish(
    run: Run,
    token: str | None,
    outcome: Outcome,
    state: ThreadState | None,
    connection: sqlite3.Connection,
) -> bool:
    """Write how a run ended, and free its thread; False if it is not held under ``token``."""
    held = (run.run_id, _held_as(token), token)
    at, error = iso_now(), failure_text(outcome.failure)
    if run.ephemeral and not outcome.poison:
        if not change(_DELETE, held, connection):
            return not run.announced  # it could not be written; nobody else knows of it
    elif not change(_FINISH, (outcome.status, error, at, *held), connection):
        return False
    kept = run.repeatable and keep_output(connection, run.run_id, outcome.answer)
    if run.ephemeral:
        _clear(run, connection, events=not kept)
    elif state is not None:
        _settle(run, outcome, state, at, connection)
    elif outcome.failure is not None:
        fail_thread(connection, run.thread_id, outcome.failure, at)
    return True


def _clear(run: Run, connection: sqlite3.Connection, *, events: bool) -> None:
    """Leave no thread of an ephemeral run; nor its ``events``, if it cannot be asked for again."""
    if run.kwargs.get("durability") is not None:
        delete_thread_checkpoints(connection, run.thread_id)
    if run.resumable and events:
        connection.execute(_DELETE_EVENTS, (run.run_id,))


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


def erase(run: Run, token: str | None, connection: sqlite3.Connection) -> bool:
    """Undo a run, with the checkpoints that it put; False if it is not held under ``token``."""
    if not change(_DELETE, (run.run_id, _held_as(token), token), connection):
        return False
    delete_run_checkpoints(connection, run.thread_id, run.run_id)
    connection.execute(_DELETE_EVENTS, (run.run_id,))
    return True


def delete_finished(thread_id: str, run_id: str, connection: sqlite3.Connection) -> bool:
    """Delete a run that has ended, with its checkpoints; False if there is none."""
    left = connection.execute(_DELETE_FINISHED, (run_id, thread_id)).fetchone()
    if left is None:
        return False
    delete_run_checkpoints(connection, thread_id, run_id)
    hand_on_workflow(left, connection)
    connection.execute(_DELETE_EVENTS, (run_id,))
    drop_payload(connection, run_id)
    return True
