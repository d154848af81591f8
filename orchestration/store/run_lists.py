"""The lists of runs, as SQL: each has an index."""

_UNFINISHED_ONES = frozenset({"pending", "running"})
_UNFINISHED = "status IN ('pending', 'running')"
_FAILED_ONES = frozenset({"error", "timeout", "interrupted"})
_FAILED = "status IN ('error', 'timeout', 'interrupted')"
RESUMABLE = """
SELECT run_id FROM runs INDEXED BY runs_of_thread
WHERE thread_id = :thread_id AND NOT ephemeral AND resumable
    AND (:since IS NULL OR created_at >= (SELECT created_at FROM runs WHERE run_id = :since))
    AND (:since IS NULL OR run_id >= :since)
ORDER BY created_at, run_id
"""
# A run is its thread's; one that has none is its own.
DEAD = """
SELECT * FROM runs
WHERE dead_letter IS NOT NULL AND (? IS NULL OR json_contains(
    CASE WHEN ephemeral THEN metadata
        ELSE (SELECT threads.metadata FROM threads WHERE threads.thread_id = runs.thread_id) END,
    ?))
ORDER BY updated_at DESC LIMIT ? OFFSET ?
"""


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
