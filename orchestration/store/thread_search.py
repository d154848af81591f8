"""Searches of threads whose cost does not grow with the number of threads.

A search begins at that condition which the fewest threads meet: ids, unfinished runs, a term of
the metadata or (where those are indexed) of the values, a status. If those are few they are
sorted. Otherwise it walks an index in the order that was asked for until the page is full, looking
at the other conditions on the way.
"""

import sqlite3
from collections.abc import Sequence
from typing import Any

import orjson

from orchestration.store.bounded import fetch
from orchestration.store.thread_conditions import (
    BUSY,
    BUSY_THREADS,
    SHOWN,
    STORED,
    Condition,
    Sort,
    Source,
    ThreadQuery,
    conditions,
)

FEW = 1_000  # threads that are sorted rather than walked past
_ALL = Source("threads")
_COLUMNS = """
thread_id, created_at, updated_at, state_updated_at, status, metadata, config, interrupts, error
"""

__all__ = ["ThreadQuery", "ThreadSearch"]


class ThreadSearch:
    """A query as SQL, in which what the caller sent is nothing but parameters."""

    def __init__(self, query: ThreadQuery) -> None:
        self.parameters: dict[str, Any] = {"limit": query.limit, "offset": query.offset}
        self._conditions = list(conditions(query, self.parameters))
        self._sort: Sort = query.sort_by
        if query.status is not None and query.sort_by == "status":
            self._sort = "created_at"  # they all have the same status
        self._direction = "DESC" if query.descending else "ASC"
        self._values = "state_values" if query.with_values else "NULL AS state_values"

    def narrow(self, connection: sqlite3.Connection) -> bool:
        """Return whether there are few threads to look through."""
        sources = [one.source for one in self._conditions if one.source is not None]
        return any(one.small or self._number(connection, one) < FEW for one in sources)

    def page(self, connection: sqlite3.Connection) -> list[sqlite3.Row]:
        """Return the rows of the page, each with ``shown_status``."""
        ids = [row["thread_id"] for row in self._fetch(connection, self.page_sql(connection))]
        sql = f"""
            SELECT {_COLUMNS}, {self._values}, {SHOWN} AS shown_status
            FROM threads WHERE thread_id IN (SELECT value FROM json_each(?))
        """  # noqa: S608 - constants
        rows = fetch(connection, sql, (orjson.dumps(ids).decode(),))
        by_id = {row["thread_id"]: row for row in rows}  # one may just have been deleted
        return [by_id[thread_id] for thread_id in ids if thread_id in by_id]

    def count(self, connection: sqlite3.Connection) -> int:
        """Return how many threads match, in a time that grows with that number."""
        parts = self.count_sql(connection)
        return sum(sign * self._fetch(connection, sql)[0][0] for sign, sql in parts)

    def page_sql(self, connection: sqlite3.Connection) -> str:
        """Return what selects the ids of the page."""
        start = self._start(connection)
        if start is None:
            return self._walk()
        source, rest = start.source or _ALL, self._rest(start)
        if source.joined and self._sort == "created_at" in source.orders:
            # A term's rows have all that is needed, unless something is asked of the threads.
            source = source if rest else Source(source.table, source.where)
            order = self._ordered("source.created_at", "source.thread_id")
            return f"{_select('source.thread_id', source, rest)} {order}"
        keys = (
            [SHOWN, "threads.created_at"] if self._sort == "status" else [f"threads.{self._sort}"]
        )
        order = self._ordered(*keys, "threads.thread_id")
        return f"{_select('threads.thread_id', source, rest)} {order}"

    def count_sql(self, connection: sqlite3.Connection) -> list[tuple[int, str]]:
        """Return what counts, each with the sign that it has in the sum.

        Those that are busy are few: subtracted, they need not be looked for among all others.
        """
        start = self._start(connection) or Condition("TRUE", _ALL)
        source, rest = (
            start.source or _ALL,
            [one.sql for one in self._conditions if one is not start],
        )
        if not rest and not source.small:
            source = Source(source.table, source.where)
        counts = [(1, _select("count(*)", source, rest))]
        if any(one.unless_busy for one in self._conditions):
            every = [one.sql for one in self._conditions]
            counts.append((-1, _select("count(*)", BUSY_THREADS, every)))
        return counts

    def _start(self, connection: sqlite3.Connection) -> Condition | None:
        """Return the condition to begin at; None if it is best to walk all threads.

        That is the one which the fewest meet; if many meet each, one that is walked in order.
        """
        sourced = [(one, one.source) for one in self._conditions if one.source is not None]
        ordered = [one for one, source in sourced if source.small or self._sort in source.orders]
        if len(sourced) == 1 and ordered:
            return ordered[0]
        fewest, start = FEW, next(iter(ordered), None)
        for one, source in sourced:
            if source.small:
                return one
            number = self._number(connection, source)
            if number < fewest:
                fewest, start = number, one
        return start

    def _number(self, connection: sqlite3.Connection, source: Source) -> int:
        """Return how many threads a source names, up to ``FEW``."""
        some = f"SELECT 1 FROM {source.table} WHERE {source.where} LIMIT {FEW}"  # noqa: S608 - constants
        counting = connection.execute(f"SELECT count(*) FROM ({some})", self.parameters)  # noqa: S608 - constants
        number: int = counting.fetchone()[0]
        return number

    def _rest(self, start: Condition | None) -> list[str]:
        rest = [one.sql for one in self._conditions if one is not start]
        if any(one.unless_busy for one in self._conditions):
            rest.append(f"NOT {BUSY}")
        return rest

    def _walk(self) -> str:
        """Return what walks all threads in the order that was asked for."""
        rest = self._rest(None)
        if self._sort == "thread_id":
            order = self._ordered("threads.thread_id")
            return f"{_select('threads.thread_id', _ALL, rest)} {order}"
        # An index begins with the status that is stored: one walk for each, merged.
        if self._sort == "status":
            found = "{status} AS rank, threads.created_at AS key, threads.thread_id AS thread_id"
            walks = [_select(found.format(status="'busy'"), BUSY_THREADS, rest)]
            rest, keys = [*rest, f"NOT {BUSY}"], ["rank", "key"]
            columns = found.format(status="threads.status")
        else:
            columns = f"threads.{self._sort} AS key, threads.thread_id AS thread_id"
            walks, keys = [], ["key"]
        for status in STORED:
            walks.append(_select(columns, Source("threads", f"threads.status = '{status}'"), rest))
        return f"{' UNION ALL '.join(walks)} {self._ordered(*keys, 'thread_id')}"

    def _ordered(self, *keys: str) -> str:
        order = ", ".join(f"{key} {self._direction}" for key in keys)
        return f"ORDER BY {order} LIMIT :limit OFFSET :offset"

    def _fetch(self, connection: sqlite3.Connection, sql: str) -> list[sqlite3.Row]:
        return fetch(connection, sql, self.parameters)


def _select(columns: str, source: Source, rest: Sequence[str]) -> str:
    where = " AND ".join([source.where, *rest])
    return f"SELECT {columns} FROM {source.table} {source.joined} WHERE {where}"  # noqa: S608 - made of constants
