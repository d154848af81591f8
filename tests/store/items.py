"""An item store over a real database, on a clock that a test sets."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from langchain_core.embeddings import Embeddings
from langgraph.store.base import TTLConfig

from operations.database import Database, open_database
from operations.migrations import load_migrations
from orchestration.store.item_vectors import MeaningIndex
from orchestration.store.items import ItemStore


@dataclass
class Clock:
    """Seconds since 1970."""

    at: float = 1_000_000.0

    def __call__(self) -> float:
        return self.at


@dataclass
class Shop:
    store: ItemStore
    clock: Clock
    database: Database

    async def rows(self, table: str) -> int:
        sql = f"SELECT count(*) FROM {table}"  # noqa: S608 - a test names it
        found = await self.database.read(lambda c: c.execute(sql).fetchone())
        return int(found[0])


@asynccontextmanager
async def open_items(
    folder: Path,
    *,
    embeddings: Embeddings | None = None,
    dims: int = 2,
    fields: tuple[str, ...] = ("$",),
    ttl: TTLConfig | None = None,
) -> AsyncGenerator[Shop]:
    clock = Clock()
    index = None if embeddings is None else MeaningIndex(embeddings, dims=dims, fields=fields)
    migrations = load_migrations("orchestration.store.migrations")
    async with open_database(folder / "test.db", migrations) as database:
        store = ItemStore(database, index=index, ttl=ttl, clock=clock)
        yield Shop(store, clock, database)
