"""Checkpoint savers in turn, in one process: a graph of five steps, 50 runs at once.

    .venv/bin/python -m load.bench.savers FOLDER WINDOWS

Prints the runs per second of each window as JSON: with LangGraph's saver in memory, with ours, and
with the library's for SQLite; both files with ``synchronous=FULL``.
"""

import asyncio
import gc
import json
import random
import sys
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import uvloop
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from load.bench.project.bench_graphs import five_steps
from operations.database import open_database
from operations.migrations import load_migrations
from orchestration.store import migrations
from orchestration.store.checkpoints import CheckpointSaver

AT_ONCE = 50
WINDOW = 1.0  # seconds


async def window(graph: Any, seconds: float) -> float:
    """Return the runs per second of a window."""
    began = time.perf_counter()
    done = 0

    async def runs() -> None:
        nonlocal done
        while time.perf_counter() < began + seconds:
            config = {"configurable": {"thread_id": str(uuid4())}}
            await graph.ainvoke({"i": -1}, config)
            done += 1

    await asyncio.gather(*(runs() for _ in range(AT_ONCE)))
    return done / (time.perf_counter() - began)


async def measure(folder: Path, windows: int) -> dict[str, list[float]]:
    """Measure the savers in turn, so many windows each, in random order."""
    async with (
        open_database(folder / "ours.db", load_migrations(migrations.__name__)) as database,
        AsyncSqliteSaver.from_conn_string(str(folder / "library.db")) as library,
    ):
        await library.setup()
        await library.conn.execute("PRAGMA synchronous=FULL")
        savers = {"memory": InMemorySaver(), "ours": CheckpointSaver(database), "library": library}
        graphs = {name: five_steps.compile(checkpointer=saver) for name, saver in savers.items()}
        found: dict[str, list[float]] = {name: [] for name in graphs}
        for graph in graphs.values():
            await window(graph, WINDOW / 2)
        gc.collect()
        gc.freeze()
        for _ in range(windows):
            for name in random.sample(sorted(graphs), len(graphs)):
                found[name].append(await window(graphs[name], WINDOW))
        return found


if __name__ == "__main__":
    print(json.dumps(uvloop.run(measure(Path(sys.argv[1]), int(sys.argv[2])))))
