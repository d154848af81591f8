"""What becomes of runs that are cut off: by the end of the server, or of a worker process."""

import sqlite3

from operations.clock import iso_now
from operations.writer import Operation
from orchestration.loop.ports import Recovered
from orchestration.loop.run import Failure, Outcome, Run, RunStatus
from orchestration.store.deliveries import Ended, add_delivery
from orchestration.store.idempotency import keep_output
from orchestration.store.run_ends import change
from orchestration.store.run_rows import is_there, run_of
from orchestration.store.thread_rows import delete_unfinished, fail_thread, failure_text

# SQLite uses an index of some of the runs only for its very condition.
_UNFINISHED = "status IN ('pending', 'running')"
_CRASHED = f"""
UPDATE runs SET status = 'pending', token = NULL, crashes = crashes + ?, attempt = attempt - ?,
    updated_at = ?
WHERE {_UNFINISHED} AND status = 'running'
"""  # noqa: S608 - constants
_POISON = f"""
UPDATE runs SET status = 'error', dead_letter = 'poison', error = ?, updated_at = ?
WHERE {_UNFINISHED} AND status = 'pending' AND crashes >= ?
RETURNING *
"""  # noqa: S608 - constants
_CRASH = """
UPDATE runs SET status = 'pending', token = NULL, crashes = ?, updated_at = ?
WHERE run_id = ? AND status = 'running' AND token IS ?
"""
_DEAD = "UPDATE runs SET dead_letter = 'poison', crashes = ? WHERE run_id = ?"
# What was claimed once has been updated: it goes before the others of its thread, which it keeps.
_PENDING = f"""
SELECT * FROM runs WHERE {_UNFINISHED} AND status = 'pending'
ORDER BY updated_at = created_at, coalesce(due_at, created_at), run_id
"""  # noqa: S608 - constants


def recover(
    crash_limit: int,
    failure: Failure,
    told: bool,  # noqa: FBT001 - an operation's arguments are given once, by position
    charge: tuple[int, int],
    connection: sqlite3.Connection,
) -> Recovered:
    """Return the unfinished runs after a start, and end those that are poison; see the loop's port.

    Threads that were not whole are deleted.

    ``told``: webhooks are to hear of those. ``charge`` is what a run found working has more
    crashes, and less attempts.
    """
    at, error = iso_now(), failure_text(failure)
    delete_unfinished(connection)
    working = connection.execute(_CRASHED, (*charge, at)).rowcount
    dead: list[Run] = []
    for row in connection.execute(_POISON, (error, at, crash_limit)).fetchall():
        if row["repeatable"]:
            keep_output(connection, row["run_id"], Outcome(RunStatus.ERROR, None, failure).answer)
        fail_thread(connection, row["thread_id"], failure, at)
        dead.append(poisoned := run_of(row))
        if told and "webhook" in poisoned.kwargs:
            add_delivery(connection, poisoned, Ended(RunStatus.ERROR, at, failure))
    runs = [run_of(row) for row in connection.execute(_PENDING)]
    return Recovered(runs, dead, working, crashed=charge[0] > 0)


def crash(
    run_id: str,
    crashes: int,
    token: str | None,
    unseen: bool,  # noqa: FBT001 - as above
    connection: sqlite3.Connection,
) -> bool:
    """Put a running run back whose execution was cut off for the ``crashes``-th time.

    One ``unseen`` goes on all the same if there was no room to write it.
    """
    if change(_CRASH, (crashes, iso_now(), run_id, token), connection):
        return True
    return unseen and not is_there(connection, run_id)


def poison(end: Operation[bool], run_id: str, crashes: int, connection: sqlite3.Connection) -> bool:
    """End a run, and make it a dead letter: it was cut off once too often."""
    ended = end(connection)
    if ended:
        connection.execute(_DEAD, (crashes, run_id))
    return ended
