"""What is done to the rows of crons inside the transaction of something else."""

import sqlite3

from orchestration.loop.run import Firing

_MOVE = "UPDATE crons SET next_run_date = ? WHERE cron_id = ? AND next_run_date = ?"


def move_cron(connection: sqlite3.Connection, firing: Firing) -> bool:
    """Let a cron be due next; False if it is not due as ``firing`` says, and nothing changed."""
    row = (firing.next, firing.cron_id, firing.due)
    return connection.execute(_MOVE, row).rowcount == 1


def delete_crons_of_thread(connection: sqlite3.Connection, thread_id: str) -> None:
    """Delete the crons that run on a thread."""
    connection.execute("DELETE FROM crons WHERE thread_id = ?", (thread_id,))


def delete_crons_of_assistant(connection: sqlite3.Connection, assistant_id: str) -> None:
    """Delete the crons that run an assistant."""
    connection.execute("DELETE FROM crons WHERE assistant_id = ?", (assistant_id,))
