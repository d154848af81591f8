"""A run as a row, and back."""

import sqlite3
from datetime import datetime, timedelta
from typing import Any

import orjson

from operations.clock import iso, utc_now
from orchestration.loop.run import Ending, MultitaskStrategy, Run, RunStatus


def columns(run: Run, token: str | None) -> tuple[Any, ...]:
    """Return what is inserted for a run that is pending, or claimed under ``token``."""
    due_at = None
    if run.delay > 0:
        created = datetime.fromisoformat(run.created_at)
        due_at = iso(created + timedelta(seconds=run.delay))
    status, attempt = (RunStatus.PENDING, 0) if token is None else (RunStatus.RUNNING, 1)
    return (
        run.run_id,
        run.thread_id,
        run.assistant_id,
        run.graph_id,
        status,
        token,
        attempt,
        run.created_at,
        run.created_at,
        due_at,
        run.priority,
        run.timeout,
        run.tenant,
        run.ephemeral,
        run.resumable,
        run.repeatable,
        run.multitask_strategy,
        orjson.dumps(run.metadata).decode(),
        orjson.dumps(run.kwargs).decode(),
        None if run.principal is None else orjson.dumps(run.principal).decode(),
    )


def is_there(connection: sqlite3.Connection, run_id: str) -> bool:
    """Return whether there is a run of that id."""
    found = connection.execute("SELECT 1 FROM runs WHERE run_id = ?", (run_id,)).fetchone()
    return found is not None


def run_of(row: sqlite3.Row) -> Run:
    """Return the run that is to go on from ``row``."""
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
        stop=None if row["stop"] is None else Ending(row["stop"]),
        principal=None if row["principal"] is None else orjson.loads(row["principal"]),
        recovered=True,
    )
