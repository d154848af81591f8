"""A thread's row: given a failure, or deleted with all that hangs on it."""

import sqlite3

import orjson

from orchestration.loop.run import Failure
from orchestration.store.checkpoint_rows import delete_thread_checkpoints
from orchestration.store.cron_rows import delete_crons_of_thread
from orchestration.store.deliveries import drop_payloads
from orchestration.store.thread_metadata import write_metadata

_EVENTS = """
DELETE FROM run_events
WHERE run_id IN (SELECT run_id FROM runs WHERE thread_id = ? AND NOT ephemeral)
"""

_FAIL = "UPDATE threads SET status = 'error', error = ?, updated_at = ? WHERE thread_id = ?"


def failure_text(failure: Failure | None) -> str | None:
    """Return a failure as it is stored."""
    return None if failure is None else orjson.dumps(failure).decode()


def fail_thread(connection: sqlite3.Connection, thread_id: str, failure: Failure, at: str) -> None:
    """Have a thread show the failure of a run that has left no state."""
    connection.execute(_FAIL, (failure_text(failure), at, thread_id))


def delete_thread(connection: sqlite3.Connection, thread_id: str) -> None:
    """Delete a thread that exists with its runs, their events, its checkpoints and crons.

    What a webhook is yet to be told of it, it is told all the same.
    """
    drop_payloads(connection, thread_id)
    connection.execute(_EVENTS, (thread_id,))
    connection.execute("DELETE FROM runs WHERE thread_id = ? AND NOT ephemeral", (thread_id,))
    delete_thread_checkpoints(connection, thread_id)
    delete_crons_of_thread(connection, thread_id)
    write_metadata(connection, thread_id, {})  # with which it goes from where it is found
    connection.execute("DELETE FROM threads WHERE thread_id = ?", (thread_id,))
