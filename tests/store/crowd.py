"""A database with many threads in it, made at once."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import orjson

from operations.database_file import open_to_write
from operations.migrations import load_migrations
from orchestration.store import migrations
from orchestration.store.contains import add_json_contains
from orchestration.store.thread_metadata import insert_thread

BUSY = 10  # threads, however many there are

_SHOW = """
UPDATE threads SET status = ?, updated_at = ?, state_updated_at = ?, state_values = ?
WHERE thread_id = ?
"""
_RUN = """
INSERT INTO runs (run_id, thread_id, assistant_id, graph_id, status, created_at, updated_at,
    priority, ephemeral, resumable, multitask_strategy, metadata, kwargs)
VALUES (?, ?, 'a', 'g', ?, ?, '', 5, FALSE, FALSE, 'enqueue', '{}', '{}')
"""


@contextmanager
def crowd(folder: Path, number: int) -> Iterator[sqlite3.Connection]:
    """Open a database of so many threads, whose columns are in no order of each other's."""
    rng = Random(5)
    path = folder / f"{number}.db"
    with open_to_write(path, load_migrations(migrations.__name__), 5) as connection:
        connection.row_factory = sqlite3.Row
        add_json_contains(connection)
        connection.execute("BEGIN")
        for place in range(number):
            _add_thread(connection, rng, place, number)
        connection.execute("COMMIT")
        yield connection


def add_run(connection: sqlite3.Connection, thread_id: str, place: int, status: str) -> None:
    """Add a run to a thread."""
    row = (f"{thread_id}-{place}", thread_id, status, f"2026-01-01T{place:06}")
    connection.execute(_RUN, row)


def _add_thread(connection: sqlite3.Connection, rng: Random, place: int, number: int) -> None:
    thread_id = f"id{place}"
    metadata: dict[str, Any] = {
        "graph_id": f"g{place % 2}",
        "kind": place % 5,
        "tag": f"t{place}",
        "tags": [f"t{place}", "all"],
        "deep": {"tag": f"t{place}"},
        "owner": f"u{rng.randrange(max(1, number // 50))}",
    }
    insert_thread(connection, thread_id, _date(rng), metadata)
    status = rng.choices(("idle", "interrupted", "error"), (97, 2, 1))[0]
    shown = {
        "text": f"x{place % 7}",
        "half": place % 2,
        "list": [{"n": place}],
        "deep": {"own": place},
    }
    values = orjson.dumps(shown).decode()
    state_updated_at = _date(rng) if place % 3 else None
    row = (status, _date(rng), state_updated_at, values if place % 3 else None, thread_id)
    connection.execute(_SHOW, row)
    if place % (number // BUSY) == 0:
        add_run(connection, thread_id, 0, "pending")


def _date(rng: Random) -> str:
    return f"2026-01-{rng.randrange(1, 29):02}T{rng.randrange(1000):03}"
