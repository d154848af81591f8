"""A thread and all that hangs on it, deleted together."""

import sqlite3

from orchestration.store.checkpoint_rows import delete_thread_checkpoints
from orchestration.store.cron_rows import delete_crons_of_thread
from orchestration.store.thread_metadata import write_metadata

_EVENTS = """
DELETE FROM run_events
WHERE run_id IN (SELECT run_id FROM runs WHERE thread_id = ? AND NOT ephemeral)
"""


def delete_thread(connection: sqlite3.Connection, thread_id: str) -> None:
    """Delete a thread that exists with its runs, their events, its checkpoints and crons."""
    connection.execute(_EVENTS, (thread_id,))
    connection.execute("DELETE FROM runs WHERE thread_id = ? AND NOT ephemeral", (thread_id,))
    delete_thread_checkpoints(connection, thread_id)
    delete_crons_of_thread(connection, thread_id)
    write_metadata(connection, thread_id, {})  # with which it goes from where it is found
    connection.execute("DELETE FROM threads WHERE thread_id = ?", (thread_id,))
