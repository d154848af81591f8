"""A sweeper on a real database, with time in the test's hands."""

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from operations.background import in_background
from orchestration.loop.errors import ThreadBusy
from orchestration.retention.threads import ThreadSweeper
from orchestration.store.expiry import ExpiryStore
from orchestration.store.ttl import Ttl
from tests.operations.clock import Clock
from tests.store.shelf import Shelf, open_shelf

INTERVAL = 300.0  # seconds


@dataclass
class Broom:
    """The parts of a service that threads expire in."""

    shelf: Shelf
    clock: Clock
    sweeper: ThreadSweeper
    occupied: set[str]

    async def add(self, thread_id: str, minutes: float | None, strategy: str = "delete") -> None:
        """Make a thread that lives for so long from now on, by the clock."""
        ttl = None if minutes is None else Ttl(minutes, strategy)
        await self.shelf.threads.create(thread_id, {"m": thread_id}, ttl=ttl)
        await self.touch(thread_id)
        if ttl is not None:
            expires_at = ttl.after(self.clock().isoformat())
            sql = "UPDATE threads SET expires_at = ? WHERE thread_id = ?"
            await self.shelf.database.write(lambda c: c.execute(sql, (expires_at, thread_id)))
            await self.expect(ttl)

    async def touch(self, thread_id: str) -> None:
        """Let the thread have been updated now, by the clock."""
        at = self.clock().isoformat(timespec="microseconds")
        sql = "UPDATE threads SET updated_at = ? WHERE thread_id = ?"
        await self.shelf.database.write(lambda c: c.execute(sql, (at, thread_id)))

    async def expect(self, ttl: Ttl) -> None:
        """Let the sweeper hear of a time to live, and get up if it has to."""
        self.sweeper.expect(ttl)
        for _ in range(10):
            await asyncio.sleep(0)

    async def pass_minutes(self, minutes: float) -> None:
        """Let time pass, from one alarm to the next."""
        end = self.clock() + timedelta(minutes=minutes)
        while (left := (end - self.clock()).total_seconds()) > 0:
            self.clock.move(min(await self.clock.next_alarm(), left))
        await self.clock.next_alarm()

    @property
    def threads(self) -> set[str]:
        """Which threads there are."""
        return {row[0] for row in self.shelf.database.all("SELECT thread_id FROM threads")}

    def count(self, table: str) -> int:
        """Return how many rows a table has."""
        (row,) = self.shelf.database.all(f"SELECT count(*) FROM {table}")  # noqa: S608 - a test's
        return int(row[0])


@asynccontextmanager
async def open_broom(
    folder: Path,
    *,
    default: Ttl | None = None,
    limit: int = 1_000,
    store: type[ExpiryStore] = ExpiryStore,
) -> AsyncGenerator[Broom]:
    """Open a sweeper in a folder; a thread that lives for a year lets it never sleep for ever."""
    async with open_shelf(folder) as shelf:
        clock, occupied = Clock(datetime.now(UTC)), set[str]()

        @contextmanager
        def hold(thread_id: str) -> Generator[None]:
            if thread_id in occupied:
                raise ThreadBusy(thread_id)
            yield

        sweeper = ThreadSweeper(
            store(shelf.database),
            shelf.saver,
            hold,
            lambda _: None,
            interval=INTERVAL,
            limit=limit,
            default=default,
            clock=clock,
            sleep=clock.sleep,
        )
        broom = Broom(shelf, clock, sweeper, occupied)
        async with in_background(sweeper, "sweeper"):
            await broom.add("for a year", 525_600)
            yield broom
