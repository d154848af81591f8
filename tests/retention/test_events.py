"""The events of runs that ended long ago, on virtual time."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from operations.background import in_background
from orchestration.loop.run import Outcome, RunStatus
from orchestration.loop.streams import StreamEvent
from orchestration.retention.sweeper import Sweeper
from orchestration.store.events import OLDEST, PART, OldEvents
from tests.operations.clock import Clock
from tests.store.shelf import Shelf, open_shelf

KEPT = timedelta(minutes=10)


@asynccontextmanager
async def open_shelf_with_sweeper(folder: Path) -> AsyncGenerator[tuple[Shelf, Clock]]:
    async with open_shelf(folder) as shelf:
        clock = Clock(datetime.now(UTC))
        old = OldEvents(shelf.database, KEPT, clock)
        sweeper = Sweeper(old, "events", sleep=clock.sleep)
        await stream(shelf, "first", 2)
        async with in_background(sweeper, "sweeper of events"):
            yield shelf, clock


async def stream(shelf: Shelf, run_id: str, events: int, *, end: bool = True) -> None:
    """Let a run stream so much, and end."""
    run = await shelf.claim(await shelf.accept(run_id, f"of {run_id}", resumable=True))
    for number in range(events):
        shelf.events.append(run_id, StreamEvent(number + 1, "values", b"{}"))
    if end:
        await shelf.runs.finish(run, Outcome(RunStatus.SUCCESS), None)


async def test_events_go_when_their_run_ended_long_enough_ago(tmp_path: Path) -> None:
    async with open_shelf_with_sweeper(tmp_path) as (shelf, clock):
        await stream(shelf, "long", 2 * PART + 1)
        await stream(shelf, "working", 1, end=False)
        clock.move(await clock.next_alarm())
        clock.move(await clock.next_alarm())
        await clock.next_alarm()
        counts = [len(await shelf.events.after(run, 0)) for run in ("first", "long", "working")]
        assert counts == [0, 0, 1]
        assert shelf.run("long")["status"] == "success"


async def test_before_that_they_stay(tmp_path: Path) -> None:
    async with open_shelf_with_sweeper(tmp_path) as (shelf, clock):
        alarm = await clock.next_alarm()
        assert alarm == pytest.approx(KEPT.total_seconds(), abs=5)
        clock.move(alarm - 1)
        assert len(await shelf.events.after("first", 0)) == 2


async def test_the_oldest_is_found_by_its_index(tmp_path: Path) -> None:
    async with open_shelf_with_sweeper(tmp_path) as (shelf, _):
        (step,) = shelf.database.all(f"EXPLAIN QUERY PLAN {OLDEST}")
        assert step["detail"].startswith("SCAN runs USING INDEX runs_with_events")
