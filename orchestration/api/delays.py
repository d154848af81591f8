"""What a thread is like that runs are on which are not due yet."""

import sqlite3

from orchestration.api.backend import Backend


def only_delayed(backend: Backend, thread_id: str) -> bool:
    """Whether there are runs on a thread, and none of them is due."""
    runs = backend.loop.on_thread(thread_id)
    return bool(runs) and all(run.delayed for run in runs)


def status_now(backend: Backend, row: sqlite3.Row) -> str:
    """Return the status of a thread as runs that are not due leave it: it may ask something."""
    kept = "status" if only_delayed(backend, row["thread_id"]) else "shown_status"
    status: str = row[kept]
    return status
