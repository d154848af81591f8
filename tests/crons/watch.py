"""A timekeeper on a real database, with time in the test's hands."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

from operations.background import in_background
from operations.database import Database, open_database
from operations.migrations import load_migrations
from orchestration.crons.schedule import parse_schedule
from orchestration.crons.timekeeper import Timekeeper
from orchestration.loop.errors import ThreadNotFound
from orchestration.loop.run import Firing, Run
from orchestration.store import migrations
from orchestration.store.crons import Cron, CronStore, as_text
from orchestration.store.runs import RunStore
from tests.operations.clock import Clock

_numbers = count()


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def new_cron(schedule: str, at: datetime, **given: Any) -> Cron:
    """Return a cron that is made at ``at``."""
    zone = given.get("timezone")
    due = parse_schedule(schedule, zone).after(at)
    fields: dict[str, Any] = {
        "thread_id": None,
        "timezone": zone,
        "end_time": None,
        "enabled": True,
        "on_run_completed": "keep",
        "user_id": None,
        "maker": {},
        "next_run_date": None if due is None else as_text(due),
        "metadata": {},
        "payload": {},
        **given,
    }
    return Cron(
        cron_id=f"cron-{next(_numbers)}",
        assistant_id="assistant",
        schedule=schedule,
        created_at=as_text(at),
        updated_at=as_text(at),
        **fields,
    )


@dataclass
class Watch:
    """The parts of a service that crons pass through."""

    database: Database
    crons: CronStore
    runs: RunStore
    clock: Clock
    refusals: list[Exception] = field(default_factory=list)
    tried: list[str] = field(default_factory=list)
    timekeeper: Timekeeper = field(init=False)

    async def submit(self, cron: Cron, firing: Firing) -> None:
        """Do as the loop does, but start nothing."""
        self.tried.append(f"{self.clock():%m-%d %H:%M:%S}")
        if self.refusals:
            raise self.refusals.pop(0)
        number = next(_numbers)
        run = Run(
            run_id=f"run-{number:06}",
            thread_id=cron.thread_id or f"thread-{number}",
            assistant_id=cron.assistant_id,
            graph_id="graph",
            kwargs={},
            metadata={"cron_id": cron.cron_id},
            created_at=as_text(self.clock()),
            create_thread=True,
            firing=firing,
        )
        if not await self.runs.accept(run):
            raise ThreadNotFound(run.thread_id)

    async def add(self, schedule: str, **given: Any) -> Cron:
        cron = new_cron(schedule, self.clock(), **given)
        assert await self.crons.create(cron)
        self.timekeeper.changed(cron.cron_id)
        await self.noticed()
        return cron

    def ran(self, cron: Cron) -> list[str]:
        """Return when the runs of a cron were submitted."""
        sql = "SELECT created_at FROM runs WHERE metadata ->> 'cron_id' = ? ORDER BY run_id"
        rows = self.database.all(sql, (cron.cron_id,))
        return [f"{datetime.fromisoformat(row[0]):%m-%d %H:%M:%S}" for row in rows]

    def next_of(self, cron: Cron) -> str | None:
        found = self.crons.get(cron.cron_id)
        assert found is not None
        return found.next_run_date

    async def quiet(self) -> float:
        """Wait until the timekeeper rests; return for how long, in seconds."""
        return await self.clock.next_alarm()

    async def pass_until(self, time: str) -> None:
        """Let time pass, from one alarm to the next."""
        while (left := (utc(time) - self.clock()).total_seconds()) > 0:
            self.clock.move(min(await self.quiet(), left))
        await self.quiet()

    async def noticed(self) -> None:
        """Let a timekeeper that was told of a change get up."""
        for _ in range(10):
            await asyncio.sleep(0)


@asynccontextmanager
async def open_watch(folder: Path, start: str, *crons: Cron) -> AsyncGenerator[Watch]:
    """Open a timekeeper in a folder at a time; leaving stops it as the service does."""
    steps = load_migrations(migrations.__name__)
    async with open_database(folder / "data.db", steps, busy_timeout=0.05) as database:
        watch = Watch(database, CronStore(database), RunStore(database), Clock(utc(start)))
        watch.timekeeper = Timekeeper(
            watch.crons,
            watch.submit,
            rng=Random(1),
            clock=watch.clock,
            sleep=watch.clock.sleep,
        )
        for cron in crons:
            assert await watch.crons.create(cron)
        async with in_background(watch.timekeeper, "crons"):
            yield watch
