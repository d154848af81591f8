"""A thread's row: read, given a failure, deleted."""

import sqlite3

import orjson

from orchestration.loop.run import Failure
from orchestration.store.cron_rows import delete_crons_of_thread
from orchestration.store.gone_threads import UNFINISHED, set_gone
from orchestration.store.thread_conditions import SHOWN
from orchestration.store.thread_metadata import write_metadata

THREAD = f"SELECT *, {SHOWN} AS shown_status FROM threads WHERE thread_id = ?"  # noqa: S608 - constants
# What nobody goes on with: it is deleted after its events, which are found by it.
_END_RUNS = """
UPDATE runs SET status = 'interrupted'
WHERE thread_id = ? AND NOT ephemeral AND status IN ('pending', 'running')
"""
_ANY_RUN = "SELECT 1 FROM runs WHERE thread_id = ? LIMIT 1"
_FAIL = "UPDATE threads SET status = 'error', error = ?, updated_at = ? WHERE thread_id = ?"


def read_thread(thread_id: str, connection: sqlite3.Connection) -> sqlite3.Row | None:
    """Return a thread's row, with what clients see as its status; None if there is none."""
    row: sqlite3.Row | None = connection.execute(THREAD, (thread_id,)).fetchone()
    return row


def failure_text(failure: Failure | None) -> str | None:
    """Return a failure as it is stored."""
    return None if failure is None else orjson.dumps(failure).decode()


def fail_thread(connection: sqlite3.Connection, thread_id: str, failure: Failure, at: str) -> None:
    """Have a thread show the failure of a run that has left no state."""
    connection.execute(_FAIL, (failure_text(failure), at, thread_id))


def delete_unfinished(connection: sqlite3.Connection) -> None:
    """Delete the threads that a crash has left unfinished, but those with runs."""
    for (thread_id,) in connection.execute(UNFINISHED).fetchall():
        if connection.execute(_ANY_RUN, (thread_id,)).fetchone() is None:
            delete_thread(connection, thread_id)
        else:
            set_gone(thread_id, connection, gone=False)


def delete_thread(connection: sqlite3.Connection, thread_id: str) -> None:
    """Delete a thread that exists, with its crons, and have nobody find its runs any more.

    What is left of it is for `delete_part`. What a webhook is yet to be told of it, it is told all
    the same.
    """
    connection.execute(_END_RUNS, (thread_id,))
    delete_crons_of_thread(connection, thread_id)
    write_metadata(connection, thread_id, {})  # with which it goes from where it is found
    connection.execute("DELETE FROM threads WHERE thread_id = ?", (thread_id,))
    set_gone(thread_id, connection)
