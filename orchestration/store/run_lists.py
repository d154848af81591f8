"""The lists of runs, as SQL: each has an index."""

import sqlite3
from collections.abc import Callable
from functools import partial

import orjson

from operations.database import Database
from orchestration.store.bounded import fetch
from orchestration.store.gone_threads import OF_NO_GONE_THREAD
from orchestration.store.visibility import Visible

RUNS_PAGE = 1_000  # rows a caller may ask for at once

Read = Callable[[sqlite3.Connection], list[sqlite3.Row]]

_UNFINISHED_ONES = frozenset({"pending", "running"})
_UNFINISHED = "status IN ('pending', 'running')"
_FAILED_ONES = frozenset({"error", "timeout", "interrupted"})
_FAILED = "status IN ('error', 'timeout', 'interrupted')"
# The runs of a thread work one by one, but a delayed one after those that came later, and one that
# never began (attempt 0) may have been ended while another worked. Of a run that is gone there is
# no more than its id.
RESUMABLE = f"""
SELECT run_id FROM runs INDEXED BY runs_of_thread
WHERE thread_id = :thread_id AND NOT ephemeral AND resumable AND ({_UNFINISHED} OR COALESCE(
    (SELECT CASE attempt WHEN 0 THEN runs.updated_at >= seen.arrived
        ELSE NOT seen.unfinished AND runs.updated_at >= seen.updated_at END
    FROM (SELECT COALESCE(due_at, created_at) AS arrived, updated_at,
        {_UNFINISHED} AS unfinished FROM runs WHERE run_id = :since) AS seen),
    run_id >= :since, TRUE))
ORDER BY {_UNFINISHED}, updated_at, run_id
"""  # noqa: S608 - constants
LATEST = """
SELECT * FROM runs INDEXED BY runs_of_thread
WHERE thread_id = ? AND NOT ephemeral AND graph_id = ? AND attempt > 0
ORDER BY created_at DESC, run_id DESC LIMIT 1
"""
# A run is its thread's; one that has none is its own.
_OWNED = f"""{OF_NO_GONE_THREAD} AND (:part IS NULL OR json_contains(
    CASE WHEN ephemeral THEN metadata
        ELSE (SELECT threads.metadata FROM threads WHERE threads.thread_id = runs.thread_id) END,
    :part))"""  # noqa: S608 - constants
DEAD = f"""
SELECT * FROM runs WHERE dead_letter IS NOT NULL AND {_OWNED}
ORDER BY updated_at DESC LIMIT :limit OFFSET :offset
"""  # noqa: S608 - constants


def of_thread_sql(status: str | None) -> str:
    """Return what selects the runs of a thread, of one status or all, from the index for them."""
    index, condition = "runs_of_thread", "TRUE"
    if status in _UNFINISHED_ONES:
        index, condition = "runs_unfinished", f"{_UNFINISHED} AND status = :status"
    elif status in _FAILED_ONES:
        index, condition = "runs_failed", f"{_FAILED} AND status = :status"
    elif status is not None:
        condition = "status = :status"
    return f"""
        SELECT * FROM runs INDEXED BY {index}
        WHERE thread_id = :thread_id AND NOT ephemeral AND {condition}
        ORDER BY created_at DESC, run_id DESC LIMIT :limit OFFSET :offset
    """  # noqa: S608 - constants


def of_all_sql(run_id: str | None, status: str | None) -> str:
    """Return what selects runs of all threads: ids that the service makes are ordered by time."""
    source, condition = "runs", "TRUE" if status is None else "status = :status"
    if run_id is not None:
        condition += " AND run_id = :run_id"
    elif status in _UNFINISHED_ONES:
        source, condition = "runs INDEXED BY runs_unfinished", f"{_UNFINISHED} AND {condition}"
    elif status in _FAILED_ONES:
        source = "runs INDEXED BY runs_failed"
        condition = f"NOT ephemeral AND {_FAILED} AND {condition}"
    return f"""
        SELECT * FROM {source} WHERE {condition} AND {_OWNED}
        ORDER BY run_id DESC LIMIT :limit OFFSET :offset
    """  # noqa: S608 - constants


def dead_letters(limit: int, offset: int, visible: Visible) -> Read:
    """Return what reads the runs that were given up, newest first."""
    return partial(fetch, sql=DEAD, parameters=_page(limit, offset, visible))


def count_dead(database: Database) -> int:
    """Return how many runs were given up."""
    return int(database.value("SELECT count(*) FROM runs WHERE dead_letter IS NOT NULL"))


def of_all(
    run_id: str | None, status: str | None, limit: int, offset: int, visible: Visible
) -> Read:
    """Return what reads runs of all threads, newest first, or that one."""
    parameters = {**_page(limit, offset, visible), "run_id": run_id, "status": status}
    return partial(fetch, sql=of_all_sql(run_id, status), parameters=parameters)


def of_thread(thread_id: str, status: str | None, limit: int, offset: int) -> Read:
    """Return what reads the runs of a thread, newest first."""
    parameters = {**_page(limit, offset, None), "thread_id": thread_id, "status": status}
    return partial(fetch, sql=of_thread_sql(status), parameters=parameters)


def _page(limit: int, offset: int, visible: Visible) -> dict[str, bytes | int | None]:
    part = orjson.dumps(visible) if visible else None
    return {"part": part, "limit": min(limit, RUNS_PAGE), "offset": offset}
