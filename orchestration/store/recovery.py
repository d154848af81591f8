"""What a start finds: the runs that had not ended."""

import sqlite3
from collections.abc import Sequence
from datetime import datetime

import orjson

from operations.clock import iso_now, utc_now
from orchestration.loop.run import Failure, MultitaskStrategy, Outcome, Run, RunStatus
from orchestration.store.deliveries import Ended, add_delivery
from orchestration.store.idempotency import keep_output
from orchestration.store.thread_rows import fail_thread, failure_text

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


def recover(
    crash_limit: int,
    failure: Failure,
    told: bool,  # noqa: FBT001 - an operation's arguments are given once, by position
    charge: tuple[int, int],
    connection: sqlite3.Connection,
) -> Sequence[Run]:
    """Return the unfinished runs after a start, and end those that are poison; see the loop's port.

    ``told``: webhooks are to hear of those. ``charge`` is what a run found working has more
    crashes, and less attempts.
    """
    at, error = iso_now(), failure_text(failure)
    connection.execute(_CRASHED, charge)
    for row in connection.execute(_POISON, (error, at, crash_limit)).fetchall():
        if row["repeatable"]:
            keep_output(connection, row["run_id"], Outcome(RunStatus.ERROR, None, failure).answer)
        fail_thread(connection, row["thread_id"], failure, at)
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
