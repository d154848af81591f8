"""Threads that are gone, and what is left of them: deleted in small parts, whatever happens.

Those that are not whole yet are among them: copies, and such as go through their first supersteps,
which have a row already.
"""

import sqlite3
from collections.abc import Collection

import orjson

from orchestration.store.checkpoint_rows import delete_thread_checkpoints
from orchestration.store.deliveries import drop_payloads

PART = 100  # checkpoints or payloads that go in one transaction; ten times as many runs or events
_HAS_ROW = "EXISTS (SELECT 1 FROM threads WHERE threads.thread_id = threads_gone.thread_id)"
OF_NO_GONE_THREAD = f"thread_id NOT IN (SELECT thread_id FROM threads_gone WHERE NOT {_HAS_ROW})"  # noqa: S608 - constants
UNFINISHED = f"SELECT thread_id FROM threads_gone WHERE {_HAS_ROW}"  # noqa: S608 - constants
_ANY = """
SELECT thread_id FROM threads_gone
WHERE thread_id NOT IN (SELECT value FROM json_each(?)) LIMIT 1
"""
_IS_GONE = "SELECT 1 FROM threads_gone WHERE thread_id = ?"
_ADD = "INSERT OR IGNORE INTO threads_gone VALUES (?)"
_REMOVE = "DELETE FROM threads_gone WHERE thread_id = ?"
_SOME_EVENTS = f"""
DELETE FROM run_events WHERE (run_id, number) IN (
    SELECT run_id, number FROM run_events
    WHERE run_id IN (SELECT run_id FROM runs WHERE thread_id = ? AND NOT ephemeral)
    LIMIT {10 * PART})
"""  # noqa: S608 - constants
_SOME_RUNS = f"""
DELETE FROM runs WHERE run_id IN (
    SELECT run_id FROM runs WHERE thread_id = ? AND NOT ephemeral LIMIT {10 * PART})
"""  # noqa: S608 - constants
_SOME = f"""
(thread_id, checkpoint_ns, checkpoint_id) IN (
    SELECT thread_id, checkpoint_ns, checkpoint_id FROM checkpoints WHERE thread_id = ?
    LIMIT {PART})
"""  # noqa: S608 - constants
_SOME_WRITES = f"DELETE FROM writes WHERE {_SOME}"  # noqa: S608 - constants
_SOME_CHECKPOINTS = f"DELETE FROM checkpoints WHERE {_SOME}"  # noqa: S608 - constants


def set_gone(thread_id: str, connection: sqlite3.Connection, *, gone: bool = True) -> None:
    """Have a thread be among those that are gone, or not any more."""
    connection.execute(_ADD if gone else _REMOVE, (thread_id,))


def delete_some(spared: Collection[str], connection: sqlite3.Connection) -> bool:
    """Delete some of what is left of threads that are gone but these; False if nothing is."""
    row = connection.execute(_ANY, (orjson.dumps(spared).decode(),)).fetchone()
    if row is not None:
        delete_part(row[0], connection)
    return row is not None


def delete_rest(connection: sqlite3.Connection, thread_id: str) -> None:
    """Delete all that is left of a thread, if it is gone."""
    while delete_part(thread_id, connection):
        pass


def delete_part(thread_id: str, connection: sqlite3.Connection) -> bool:
    """Delete some of what is left of a thread, if it is gone; return whether there is more."""
    execute, one = connection.execute, (thread_id,)
    if execute(_IS_GONE, one).fetchone() is None:
        return False
    if drop_payloads(connection, thread_id, PART) == PART:
        return True
    if execute(_SOME_EVENTS, one).rowcount == 10 * PART:
        return True
    if execute(_SOME_RUNS, one).rowcount == 10 * PART:
        return True
    execute(_SOME_WRITES, one)
    if execute(_SOME_CHECKPOINTS, one).rowcount == PART:
        return True
    delete_thread_checkpoints(connection, thread_id)  # writes without a checkpoint among them
    set_gone(thread_id, connection, gone=False)
    return False
