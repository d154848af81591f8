"""What looks through very much waits for others that do, and leaves a reader to everybody else."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from operations.database import READERS
from orchestration.store.assistants import AssistantQuery
from orchestration.store.thread_search import ThreadQuery
from tests.store.shelf import Shelf, open_shelf

SEARCHES: dict[str, Callable[[Shelf], Awaitable[Any]]] = {
    "threads": lambda shelf: shelf.threads.search(ThreadQuery()),
    "threads counted": lambda shelf: shelf.threads.count(ThreadQuery()),
    "runs": lambda shelf: shelf.runs.of_all(None, None, 10, 0),
    "dead letters": lambda shelf: shelf.runs.dead_letters(10, 0),
    "assistants": lambda shelf: shelf.assistants.search(AssistantQuery()),
    "assistants counted": lambda shelf: shelf.assistants.count(AssistantQuery()),
}


@asynccontextmanager
async def many_searches(shelf: Shelf) -> AsyncGenerator[None]:
    """Have as many wide reads go on as may."""
    gate = threading.Event()
    wide = partial(shelf.database.read, lambda _: gate.wait(), wide=True)
    reads = [asyncio.ensure_future(wide()) for _ in range(READERS - 1)]
    try:
        yield
    finally:
        gate.set()
        await asyncio.gather(*reads)


@pytest.mark.parametrize("search", SEARCHES.values(), ids=SEARCHES)
async def test_the_runs_of_a_thread_are_read_while_many_search(
    tmp_path: Path, search: Callable[[Shelf], Awaitable[Any]]
) -> None:
    async with open_shelf(tmp_path) as shelf:
        async with many_searches(shelf):
            searching = asyncio.ensure_future(search(shelf))
            for _ in range(2):  # the search begins during the first
                assert await shelf.runs.of_thread("thread", None, 10, 0) == []
            assert not searching.done()
        await searching
