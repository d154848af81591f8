"""Reads that may have to go through many rows, and are given up when they take too long."""

import sqlite3
import time
from collections.abc import Mapping, Sequence
from typing import Any

from orchestration.store.contains import add_json_contains

PATIENCE = 5.0  # seconds
STEPS = 2_000  # of SQLite's machine between two looks at the clock: some 0.1 ms


class SearchTooWide(Exception):
    """A search was given up, as no index answers it and there is too much to look through."""

    def __init__(self) -> None:
        super().__init__(
            f"the search was given up after {PATIENCE:g} s, as no index answers it: ask also for "
            "values of metadata, a status or ids that fewer have, or below a longer namespace"
        )


def fetch(
    connection: sqlite3.Connection, sql: str, parameters: Mapping[str, Any] | Sequence[Any]
) -> list[sqlite3.Row]:
    """Return the rows of a query.

    It may call ``json_contains(column, :part)`` and ``casefold(column)``.

    Raises:
        SearchTooWide: it took too long.
    """
    deadline = time.monotonic() + PATIENCE
    if "json_contains(" in sql:
        add_json_contains(connection, deadline)
    if "casefold(" in sql:
        connection.create_function("casefold", 1, str.casefold, deterministic=True)
    connection.set_progress_handler(lambda: time.monotonic() > deadline, STEPS)
    try:
        return connection.execute(sql, parameters).fetchall()
    except sqlite3.OperationalError as error:
        if time.monotonic() > deadline:
            raise SearchTooWide from error
        raise
    finally:
        connection.set_progress_handler(None, 0)
