"""The stores of runs, threads, assistants and events over one real database."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from operations.clock import iso_now
from operations.database import Database, open_database
from operations.migrations import load_migrations
from orchestration.loop.run import Run
from orchestration.store.assistants import AssistantStore
from orchestration.store.checkpoints import CheckpointSaver
from orchestration.store.events import EventStore
from orchestration.store.runs import RunStore
from orchestration.store.threads import ThreadStore
from orchestration.store.unwritten import HOLD
from orchestration.store.unwritten_threads import UnwrittenThreads
from tests.store.checkpointing import at, put

_CHECKPOINT = """
INSERT INTO checkpoints (thread_id, checkpoint_ns, checkpoint_id, type, checkpoint, metadata)
VALUES (?, '', ?, 'json', '{}', '{}')
"""


@dataclass(frozen=True)
class Shelf:
    database: Database
    runs: RunStore
    threads: ThreadStore
    assistants: AssistantStore
    events: EventStore
    saver: CheckpointSaver

    async def accept(self, run_id: str, thread_id: str = "thread", **given: Any) -> Run:
        run = new_run(run_id, thread_id, **given)
        assert await self.runs.accept(run)
        return run

    async def claim(self, run: Run) -> Run:
        run.token = "token"
        assert await self.runs.claim(run, run.token)
        return run

    async def checkpoint(self, run: Run) -> None:
        await put(self.saver, at(run.thread_id, run.run_id), run_id=run.run_id)

    async def checkpoints_at(self, thread_id: str, number: int) -> None:
        """Have so many checkpoints on a thread, in which there is nothing."""
        rows = [(thread_id, f"{count:08}") for count in range(number)]
        await self.database.write(lambda c: c.executemany(_CHECKPOINT, rows).rowcount)

    async def checkpoints(self, thread_id: str = "thread") -> int:
        return len([found async for found in self.saver.alist(at(thread_id))])

    def run(self, run_id: str) -> dict[str, Any]:
        row = self.runs.get(run_id)
        return {} if row is None else dict(row)

    def thread(self, thread_id: str = "thread") -> dict[str, Any]:
        row = self.threads.get(thread_id)
        return {} if row is None else dict(row)


def new_run(run_id: str, thread_id: str = "thread", **given: Any) -> Run:
    kwargs: dict[str, Any] = {
        "assistant_id": "assistant",
        "graph_id": "graph",
        "kwargs": {"input": {"a": None}},
        "metadata": {"m": 1},
        "created_at": iso_now(),
        "create_thread": True,
        **given,
    }
    return Run(run_id=run_id, thread_id=thread_id, **kwargs)


async def crash(folder: Path) -> None:
    """Have the stores found as a server leaves them that dies."""
    with suppress(ConnectionAbortedError):
        async with open_shelf(folder):
            raise ConnectionAbortedError


@asynccontextmanager
async def open_shelf(folder: Path, hold: float = HOLD) -> AsyncGenerator[Shelf]:
    migrations = load_migrations("orchestration.store.migrations")
    async with open_database(folder / "test.db", migrations) as database:
        unwritten = UnwrittenThreads(database, hold)
        saver = CheckpointSaver(database, unwritten)
        yield Shelf(
            database,
            RunStore(database, made=saver.rows.begin, hold=hold, threads=unwritten),
            ThreadStore(database),
            AssistantStore(database),
            EventStore(database),
            saver,
        )
