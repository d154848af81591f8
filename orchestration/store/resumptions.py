"""What a run adds to a checkpoint that it did not put, and how to take that away again.

A run that resumes a thread first writes at the checkpoint that another run left: the answer to its
interrupt, the results of its tasks. Those rows do not say who wrote them. So the writes of such a
checkpoint are kept as they were before the run came, and put back when the run is deleted.
"""

import sqlite3
from typing import NamedTuple

_PUT_BY_ANOTHER = """
SELECT 1 FROM checkpoints
WHERE thread_id = :thread_id AND checkpoint_ns = :checkpoint_ns AND checkpoint_id = :checkpoint_id
    AND json_extract(CAST(metadata AS TEXT), '$.run_id') IS NOT :run_id
    AND NOT EXISTS (
        SELECT 1 FROM writes_before_run
        WHERE thread_id = :thread_id AND run_id = :run_id
            AND checkpoint_ns = :checkpoint_ns AND checkpoint_id = :checkpoint_id
    )
"""
# One row without a task tells that the run was here, also where nothing had been written.
_KEEP = """
INSERT INTO writes_before_run (thread_id, run_id, checkpoint_ns, checkpoint_id,
    task_id, task_path, idx, channel, type, value)
SELECT :thread_id, :run_id, :checkpoint_ns, :checkpoint_id, NULL, NULL, NULL, NULL, NULL, NULL
UNION ALL
SELECT thread_id, :run_id, checkpoint_ns, checkpoint_id,
    task_id, task_path, idx, channel, type, value
FROM writes
WHERE thread_id = :thread_id AND checkpoint_ns = :checkpoint_ns AND checkpoint_id = :checkpoint_id
"""
_RESUMED = """
SELECT thread_id, run_id, checkpoint_ns, checkpoint_id, (
    SELECT run_id FROM writes_before_run AS later
    WHERE later.thread_id = mine.thread_id AND later.checkpoint_ns = mine.checkpoint_ns
        AND later.checkpoint_id = mine.checkpoint_id AND later.rowid > mine.rowid
        AND later.run_id <> mine.run_id
    ORDER BY later.rowid LIMIT 1
)
FROM writes_before_run AS mine WHERE thread_id = ? AND run_id = ? AND task_id IS NULL
"""
_CLEAR = """
DELETE FROM writes
WHERE thread_id = :thread_id AND checkpoint_ns = :checkpoint_ns AND checkpoint_id = :checkpoint_id
"""
_OF_RUN = """
thread_id = :thread_id AND run_id = :run_id
    AND checkpoint_ns = :checkpoint_ns AND checkpoint_id = :checkpoint_id
"""
_RESTORE = f"""
INSERT INTO writes
    (thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, value)
SELECT thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, value
FROM writes_before_run WHERE {_OF_RUN} AND task_id IS NOT NULL
"""  # noqa: S608 - constants
_FORGET_ONE = f"DELETE FROM writes_before_run WHERE {_OF_RUN}"  # noqa: S608 - constants
_HAND_DOWN = f"UPDATE writes_before_run SET run_id = :later WHERE {_OF_RUN}"  # noqa: S608 - constants
_FORGET_RUN = "DELETE FROM writes_before_run WHERE thread_id = ? AND run_id = ?"
_FORGET_THREAD = "DELETE FROM writes_before_run WHERE thread_id = ?"


class Resumption(NamedTuple):
    """A run at a checkpoint."""

    thread_id: str
    run_id: str
    checkpoint_ns: str
    checkpoint_id: str


def keep_writes(connection: sqlite3.Connection, resumption: Resumption) -> None:
    """Keep a checkpoint's writes as they are, if another run put it and this one is new there."""
    run = resumption._asdict()
    if connection.execute(_PUT_BY_ANOTHER, run).fetchone() is not None:
        connection.execute(_KEEP, run)


def restore_writes(connection: sqlite3.Connection, thread_id: str, run_id: str) -> None:
    """Put back the writes of what the run resumed, and forget that it did.

    A checkpoint that a later run has resumed, too, is that run's now: it is left as it is, and what
    it was before this run is what it is to be after the deletion of that one.
    """
    for *place, later in connection.execute(_RESUMED, (thread_id, run_id)).fetchall():
        run = Resumption(*place)._asdict()
        if later is None:
            connection.execute(_CLEAR, run)
            connection.execute(_RESTORE, run)
        else:
            connection.execute(_FORGET_ONE, {**run, "run_id": later})
            connection.execute(_HAND_DOWN, {**run, "later": later})
    connection.execute(_FORGET_RUN, (thread_id, run_id))


def forget_resumptions(connection: sqlite3.Connection, thread_id: str) -> None:
    """Forget what runs have resumed in a thread that is deleted."""
    connection.execute(_FORGET_THREAD, (thread_id,))
