"""Reads that are given up: there is too much to look through, or too much of what they find."""

import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from functools import partial
from typing import Any, TypeAlias

from operations.database import Database
from orchestration.store.contains import add_json_contains

PATIENCE = 5.0  # seconds
STEPS = 2_000  # of SQLite's machine between two looks at the clock: some 0.1 ms

MOST = 64 * 1024**2  # characters of what is found at once

Parameters: TypeAlias = Mapping[str, Any] | Sequence[Any]


class SearchTooWide(Exception):
    """A search was given up, as no index answers it and there is too much to look through."""

    def __init__(self) -> None:
        super().__init__(
            f"the search was given up after {PATIENCE:g} s, as no index answers it: ask also for "
            "values of metadata, a status or ids that fewer have, or below a longer namespace"
        )


class TooMuchFound(ValueError):
    """What was found is larger than one answer may be."""

    def __init__(self) -> None:
        super().__init__(f"what was found has more than {MOST} characters: ask for fewer at once")


async def fetch_widely(database: Database, sql: str, parameters: Parameters) -> list[sqlite3.Row]:
    """As `fetch`, among the reads that may look through very much."""
    return await database.read(partial(fetch, sql=sql, parameters=parameters), wide=True)


def fetch(connection: sqlite3.Connection, sql: str, parameters: Parameters) -> list[sqlite3.Row]:
    """Return the rows of a query.

    It may call ``json_contains(column, :part)`` and ``casefold(column)``.

    Raises:
        SearchTooWide: it took too long.
        TooMuchFound: the rows are too large together.
    """
    deadline = time.monotonic() + PATIENCE
    if "json_contains(" in sql:
        add_json_contains(connection, deadline)
    if "casefold(" in sql:
        connection.create_function("casefold", 1, str.casefold, deterministic=True)
    connection.set_progress_handler(lambda: time.monotonic() > deadline, STEPS)
    try:
        with closing(connection.execute(sql, parameters)) as rows:
            return gathered(rows)
    except sqlite3.OperationalError as error:
        if time.monotonic() > deadline:
            raise SearchTooWide from error
        raise
    finally:
        connection.set_progress_handler(None, 0)


def gathered(rows: Iterable[sqlite3.Row]) -> list[sqlite3.Row]:
    """Return rows, the first of them however large it is.

    Raises:
        TooMuchFound: there are several, and they are too large together.
    """
    found: list[sqlite3.Row] = []
    characters = 0
    for row in rows:
        characters += sum(len(value) for value in row if isinstance(value, str | bytes))
        if found and characters > MOST:
            raise TooMuchFound
        found.append(row)
    return found
