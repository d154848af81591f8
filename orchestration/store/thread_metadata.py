"""A thread's metadata and the terms that it is found by: always written together."""

import sqlite3
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

import orjson

from orchestration.store.gone_threads import delete_rest
from orchestration.store.terms import terms
from orchestration.store.ttl import Ttl

_INSERT = """
INSERT INTO threads
    (thread_id, created_at, updated_at, metadata, ttl_minutes, ttl_strategy, expires_at)
VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO NOTHING
"""
_READ = "SELECT metadata, created_at FROM threads WHERE thread_id = ?"
_WRITE = "UPDATE threads SET metadata = ? WHERE thread_id = ?"
_ADD_TERMS = "INSERT OR IGNORE INTO thread_terms (term, created_at, thread_id) VALUES {rows}"
_MANY = 8  # terms that are added at once: each number of them is another statement to prepare
_DROP_TERM = "DELETE FROM thread_terms WHERE term = ? AND created_at = ? AND thread_id = ?"


def insert_thread(
    connection: sqlite3.Connection,
    thread_id: str,
    at: str,
    metadata: Mapping[str, Any],
    ttl: Ttl | None = None,
    *,
    found: Iterable[bytes] | None = None,
) -> bool:
    """Insert a thread, to live for ``ttl`` or for ever; False if there is one with that id.

    ``found`` are the terms of its metadata, where they are known already.
    """
    life = (None, None, None) if ttl is None else (ttl.minutes, ttl.strategy, ttl.after(at))
    row = (thread_id, at, at, orjson.dumps(metadata).decode(), *life)
    if connection.execute(_INSERT, row).rowcount == 0:
        return False
    delete_rest(connection, thread_id)  # of one that had that id
    _add(connection, terms(metadata) if found is None else found, at, thread_id)
    return True


def read_metadata(connection: sqlite3.Connection, thread_id: str) -> dict[str, Any] | None:
    """Return a thread's metadata; None if there is no such thread."""
    row = connection.execute(_READ, (thread_id,)).fetchone()
    return None if row is None else orjson.loads(row[0])


def write_metadata(
    connection: sqlite3.Connection, thread_id: str, metadata: Mapping[str, Any]
) -> None:
    """Replace the metadata of a thread that exists."""
    text, created_at = connection.execute(_READ, (thread_id,)).fetchone()
    connection.execute(_WRITE, (orjson.dumps(metadata).decode(), thread_id))
    before, after = terms(orjson.loads(text)), terms(metadata)
    gone = [(term, created_at, thread_id) for term in before - after]
    connection.executemany(_DROP_TERM, gone)
    _add(connection, after - before, created_at, thread_id)


def name_thread(
    connection: sqlite3.Connection,
    thread_id: str,
    names: Mapping[str, Any],
    metadata: Mapping[str, Any],
) -> None:
    """Have a thread with these metadata be named after a graph and an assistant."""
    if not names.items() <= metadata.items():
        write_metadata(connection, thread_id, {**metadata, **names})


def _add(
    connection: sqlite3.Connection, found: Iterable[bytes], created_at: str, thread_id: str
) -> None:
    left = iter(found)
    while some := tuple(islice(left, _MANY)):
        rows = ", ".join(["(?, ?, ?)"] * len(some))
        values = [value for term in some for value in (term, created_at, thread_id)]
        connection.execute(_ADD_TERMS.format(rows=rows), values)
