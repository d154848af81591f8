"""A thread's metadata and the terms that it is found by: always written together."""

import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from orchestration.store.terms import terms
from orchestration.store.ttl import Ttl

_INSERT = """
INSERT INTO threads
    (thread_id, created_at, updated_at, metadata, ttl_minutes, ttl_strategy, expires_at)
VALUES (?, ?, ?, ?, ?, ?, ?)
"""
_READ = "SELECT metadata, created_at FROM threads WHERE thread_id = ?"
_WRITE = "UPDATE threads SET metadata = ? WHERE thread_id = ?"
_ADD_TERM = "INSERT OR IGNORE INTO thread_terms (term, created_at, thread_id) VALUES (?, ?, ?)"
_DROP_TERM = "DELETE FROM thread_terms WHERE term = ? AND created_at = ? AND thread_id = ?"


def insert_thread(
    connection: sqlite3.Connection,
    thread_id: str,
    at: str,
    metadata: Mapping[str, Any],
    ttl: Ttl | None = None,
    *,
    found: Iterable[bytes] | None = None,
) -> None:
    """Insert a thread that does not exist; it lives for ``ttl``, or for ever.

    ``found`` are the terms of its metadata, where they are known already.
    """
    life = (None, None, None) if ttl is None else (ttl.minutes, ttl.strategy, ttl.after(at))
    connection.execute(_INSERT, (thread_id, at, at, orjson.dumps(metadata).decode(), *life))
    _execute(connection, _ADD_TERM, terms(metadata) if found is None else found, at, thread_id)


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
    _execute(connection, _DROP_TERM, before - after, created_at, thread_id)
    _execute(connection, _ADD_TERM, after - before, created_at, thread_id)


def _execute(
    connection: sqlite3.Connection,
    sql: str,
    found: Iterable[bytes],
    created_at: str,
    thread_id: str,
) -> None:
    connection.executemany(sql, [(term, created_at, thread_id) for term in found])
