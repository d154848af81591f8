"""The index of what threads show, for searches that nothing else narrows.

To keep it would cost each run of a server on which nobody may ever search by values. So it is
brought up to date by those who do: by what has changed since the last, which triggers have noted.
"""

import asyncio
import sqlite3
import time
from collections.abc import Iterable
from contextlib import closing
from itertools import islice
from typing import TypeAlias

import orjson

from operations.database import Database
from orchestration.store.terms import plain_terms

PATIENCE = 1.0  # seconds that a search spends on the index before it does without
MOST = 64  # values of a thread that are indexed; one that shows more may hold anything
ANYTHING = b""  # the term of such a thread
_SOME = 32  # threads of one transaction, for which the writes of others wait
_ROOM = 1024**2  # characters of their values, and those of one more

_CHANGED = """
SELECT changed.thread_id, threads.state_values
FROM (SELECT thread_id FROM values_changed LIMIT ?) AS changed
JOIN threads ON threads.thread_id = changed.thread_id
"""
_NEXT = """
SELECT thread_id, state_values FROM threads WHERE thread_id > ? ORDER BY thread_id LIMIT ?
"""

_Shown: TypeAlias = tuple[str, str | None]  # the id of a thread, and its values


class ValueIndex:
    """Makes the terms of threads' values those that the threads show."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._advancing = asyncio.Lock()  # or all who search would share one long transaction

    async def catch_up(self) -> bool:
        """Look through what has changed; False if that is more than there is patience for.

        The next who searches goes on from there.

        Raises:
            DatabaseError: nothing can be written.
        """
        deadline = time.monotonic() + PATIENCE
        async with self._advancing:
            while not await self._database.write(advance, synced=False):
                if time.monotonic() > deadline:
                    return False
        return True


def advance(connection: sqlite3.Connection) -> bool:
    """Look through some threads; return whether those were the last."""
    kept = connection.execute("SELECT place FROM value_index").fetchone()
    if kept is None:
        connection.execute("INSERT INTO value_index VALUES ('')")
    changed, all_of_them = _some(connection.execute(_CHANGED, (_SOME,)))
    _index(connection, changed)
    looked_at = [(thread_id,) for thread_id, _ in changed]
    connection.executemany("DELETE FROM values_changed WHERE thread_id = ?", looked_at)
    place = "" if kept is None else kept[0]
    if not all_of_them or place is None:
        return all_of_them
    walked, all_of_them = _some(connection.execute(_NEXT, (place, _SOME)))
    _index(connection, walked)
    place = None if all_of_them else walked[-1][0]
    connection.execute("UPDATE value_index SET place = ?", (place,))
    return all_of_them


def _some(rows: sqlite3.Cursor) -> tuple[list[_Shown], bool]:
    """Return the threads that there is room for in a transaction, and whether they were all."""
    taken: list[_Shown] = []
    size = 0
    with closing(rows):
        for thread_id, values in rows:
            taken.append((thread_id, values))
            size += len(values or "")
            if size > _ROOM:
                return taken, False
    return taken, len(taken) < _SOME


def _index(connection: sqlite3.Connection, threads: Iterable[_Shown]) -> None:
    for thread_id, values in threads:
        connection.execute("DELETE FROM value_terms WHERE thread_id = ?", (thread_id,))
        rows = [(term, thread_id) for term in _terms_of(values)]
        connection.executemany("INSERT INTO value_terms VALUES (?, ?)", rows)


def _terms_of(text: str | None) -> set[bytes]:
    values = None if text is None else orjson.loads(text)
    if not isinstance(values, dict):
        return set()
    found = set(islice(plain_terms(values), MOST + 1))
    return found if len(found) <= MOST else {ANYTHING}
