"""The deliveries of webhooks that were over long ago, on virtual time."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from operations.background import in_background
from operations.database import Database
from orchestration.loop.run import Outcome, RunStatus
from orchestration.retention.sweeper import Sweeper
from orchestration.store import deliveries
from orchestration.store.deliveries import FORGET, KEPT, OLDEST, Attempt, DeliveryStore
from orchestration.store.runs import RunStore
from tests.operations.clock import Clock
from tests.webhooks.post_office import new_run, open_database_of


@dataclass
class Archive:
    database: Database
    store: DeliveryStore
    clock: Clock

    async def add(self, status: str, *, due_at: datetime | None = None) -> str:
        """Let a run end, and its webhook be tried once; return the id of the delivery."""
        runs = RunStore(self.database, lambda _: None)
        run = new_run("https://hooks.example.com/")
        await runs.accept(run)
        await runs.finish(run, Outcome(RunStatus.SUCCESS), None)
        (row,) = await self.store.page(run.run_id, 1, 0)
        await self.store.record(row["delivery_id"], Attempt(status, self.clock(), due_at))
        return str(row["delivery_id"])

    async def pass_time(self, time: timedelta) -> None:
        """Let time pass, from one alarm to the next."""
        end = self.clock() + time
        while (left := (end - self.clock()).total_seconds()) > 0:
            self.clock.move(min(await self.clock.next_alarm(), left))
        await self.clock.next_alarm()

    async def left(self) -> set[str]:
        return {row["delivery_id"] for row in await self.store.page(None, 100, 0)}


@asynccontextmanager
async def open_archive(folder: Path) -> AsyncGenerator[Archive]:
    async with open_database_of(folder) as database:
        clock = Clock(datetime.now(UTC))
        store = DeliveryStore(database, clock)
        sweeper = Sweeper(store, "deliveries", sleep=clock.sleep)
        async with in_background(sweeper, "sweeper of deliveries"):
            await clock.next_alarm()
            yield Archive(database, store, clock)


async def test_what_is_over_is_forgotten_after_a_week_though_nothing_else_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "AT_ONCE", 2)
    async with open_archive(tmp_path) as archive:
        over = {await archive.add(status) for status in ("failed", "gone", "delivered")}
        waiting = await archive.add("pending", due_at=archive.clock())
        await archive.pass_time(KEPT - timedelta(hours=2))
        assert await archive.left() == {*over, waiting}
        await archive.pass_time(timedelta(hours=3))
        assert await archive.left() == {waiting}


async def test_what_is_over_is_found_by_its_index(tmp_path: Path) -> None:
    async with open_archive(tmp_path) as archive:
        for sql in (FORGET, OLDEST):
            plan = archive.database.all(f"EXPLAIN QUERY PLAN {sql}", (1,) * sql.count("?"))
            steps = [step["detail"] for step in plan]
            assert any("INDEX webhook_deliveries_over" in step for step in steps)
            assert not any("TEMP B-TREE" in step for step in steps)
