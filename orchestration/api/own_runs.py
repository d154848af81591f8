"""The runs that are there for a caller."""

import asyncio
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from orchestration.api.endpoint import Call
from orchestration.api.problems import Problem
from orchestration.loop.errors import Draining
from orchestration.loop.run import Ending, Run, RunStatus
from orchestration.store.visibility import sees


def live_run(call: Call, run_id: str, thread_id: str | None = None) -> Run | None:
    """Return a run that has not ended; on that thread, if one is named."""
    run = call.backend.loop.live(run_id)
    if run is None or thread_id not in (None, run.thread_id):
        return None
    return run if is_own(call, run.thread_id, run.metadata, ephemeral=run.ephemeral) else None


def run_row(call: Call, run_id: str, thread_id: str | None = None) -> sqlite3.Row:
    """Return the row of a run; on that thread, if one is named.

    Raises:
        Problem: 404, there is none.
    """
    row = _own_row(call, run_id)
    if row is None or thread_id not in (None, row["thread_id"]):
        raise Problem(HTTPStatus.NOT_FOUND, f"Run {run_id} not found")
    return row


def unfinished(row: sqlite3.Row) -> bool:
    """Return whether a run has not ended."""
    return row["status"] in (RunStatus.PENDING, RunStatus.RUNNING)


def left_waiting(call: Call, run_id: str) -> bool:
    """Return whether a run of the caller's that is not live goes on after the next start."""
    row = _own_row(call, run_id)
    return row is not None and unfinished(row)


def _own_row(call: Call, run_id: str) -> sqlite3.Row | None:
    row = call.backend.runs.get(run_id)
    if row is None:
        return None
    own = is_own(call, row["thread_id"], row["metadata"], ephemeral=row["ephemeral"])
    return row if own else None


async def cancel(call: Call, run: Run, ending: Ending) -> None:
    """Have a live run end, whatever becomes of the service.

    Raises:
        Draining: it need not: it may be put back before, as the service is stopping.
        StorageUnavailable: it ends, unless the service dies before.
    """
    loop = call.backend.loop
    loop.cancel(run, ending)
    if loop.draining and not run.ends:
        raise Draining
    await noted([run])


async def noted(runs: Iterable[Run]) -> None:
    """Return once those of ``runs`` that work, and were told to end, do so after a crash too.

    Raises:
        StorageUnavailable: that could not be written.
    """
    await asyncio.gather(*(_noted(run) for run in runs if run.noted is not None))


async def _noted(run: Run) -> None:
    waited = {future for future in (run.noted, run.done) if future is not None}
    await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
    if run.noted is not None and run.noted.done():
        run.noted.result()


def is_own(
    call: Call, thread_id: str, metadata: Mapping[str, Any] | str, *, ephemeral: bool
) -> bool:
    """Return whether the caller sees a run: it is its thread's, or its own if it has none."""
    if not call.visible:
        return True
    if ephemeral:
        return sees(call.visible, metadata)
    return call.backend.threads.get(thread_id, call.visible) is not None


async def own_runs(call: Call, runs: Sequence[Run]) -> list[Run]:
    """Return those of ``runs`` that the caller sees."""
    threads = {run.thread_id for run in runs if not run.ephemeral}
    own = await call.backend.threads.among(threads, call.visible)
    return [
        run
        for run in runs
        if (sees(call.visible, run.metadata) if run.ephemeral else run.thread_id in own)
    ]
