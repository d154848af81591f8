"""A deliverer on a real database, with time in the test's hands."""

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

from operations.background import in_background
from operations.clock import iso_now
from operations.database import Database, open_database
from operations.egress import UrlPolicy
from operations.migrations import load_migrations
from operations.outbound import Outbound
from orchestration.loop.run import Outcome, Run, RunStatus, ThreadState
from orchestration.store import migrations
from orchestration.store.deliveries import DeliveryStore
from orchestration.store.runs import RunStore
from orchestration.webhooks.deliverer import Deliverer
from orchestration.webhooks.signature import Signer
from tests.operations.clock import Clock

LOCAL = UrlPolicy(require_https=False, disable_loopback=False)
_numbers = count()


def new_run(webhook: str | None, **fields: Any) -> Run:
    """Return a run that has not been accepted yet."""
    number = next(_numbers)
    kwargs = {"input": {"text": "x"}} | ({} if webhook is None else {"webhook": webhook})
    return Run(
        run_id=f"run-{number}",
        thread_id=f"thread-{number}",
        assistant_id="assistant",
        graph_id="echo",
        kwargs=kwargs,
        metadata={"m": 1},
        created_at=iso_now(),
        create_thread=True,
        **fields,
    )


@dataclass
class Office:
    """The parts of a service that webhooks pass through."""

    database: Database
    runs: RunStore
    clock: Clock
    expect: Callable[[str], None]

    async def begin(self, run: Run) -> None:
        await self.runs.accept(run)
        await self.runs.claim(run, "token")
        run.token, run.status, run.attempt = "token", RunStatus.RUNNING, 1

    async def end(self, webhook: str | None, **fields: Any) -> Run:
        """Let a run begin and succeed."""
        run = new_run(webhook, **fields)
        await self.begin(run)
        await self.runs.finish(run, Outcome(RunStatus.SUCCESS), ThreadState(b'{"reply":"y"}'))
        return run

    def rows(self) -> list[sqlite3.Row]:
        return self.database.all("SELECT * FROM webhook_deliveries ORDER BY rowid")

    async def recorded(self, attempts: int) -> sqlite3.Row:
        """Wait until the only delivery has been tried so often."""
        while (row := self.rows()[0])["attempts"] < attempts:
            await self.database.settled()
            await asyncio.sleep(0)
        return row


@asynccontextmanager
async def open_database_of(folder: Path) -> AsyncGenerator[Database]:
    steps = load_migrations(migrations.__name__)
    async with open_database(folder / "data.db", steps, busy_timeout=0.05) as database:
        yield database


@asynccontextmanager
async def open_office(
    folder: Path, *, signer: Signer | None = None, store: type[DeliveryStore] = DeliveryStore
) -> AsyncGenerator[Office]:
    """Open the office in a folder; leaving stops it as the service does."""
    async with (
        open_database_of(folder) as database,
        aclosing(Outbound(LOCAL)) as outbound,
    ):
        clock = Clock()
        deliverer = Deliverer(
            store(database),
            outbound,
            headers={"x-token": "abc"},
            signer=signer,
            rng=Random(1),
            clock=clock,
            sleep=clock.sleep,
        )
        async with in_background(deliverer, "webhooks"):
            yield Office(database, RunStore(database, deliverer.expect), clock, deliverer.expect)
