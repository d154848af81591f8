"""The store that graphs and clients share: LangGraph's interface over the service's database."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from time import time
from typing import Any, TypeAlias, cast

import orjson
from langgraph.store.base import (
    GetOp,
    Item,
    ListNamespacesOp,
    Op,
    PutOp,
    Result,
    SearchItem,
    SearchOp,
    TTLConfig,
    validate_op_namespace,
)

from operations.clock import iso_now
from operations.database import Database
from orchestration.store import item_rows as rows
from orchestration.store.item_namespaces import as_text, from_text, list_namespaces
from orchestration.store.item_vectors import MeaningIndex
from orchestration.store.loop_bound import LoopBoundStore

_Found: TypeAlias = tuple[Sequence[sqlite3.Row], list[SearchItem]]
_SWEPT_AT_ONCE = 500  # items; other writes come between
_STALE = 0.01  # of the time to live may pass before a read prolongs it


class ItemStore(LoopBoundStore):
    """Items under namespaces. It belongs to the event loop that makes it.

    Without an ``index`` a search ignores its query, as LangGraph's stores do. ``clock`` gives
    seconds since 1970.
    """

    supports_ttl = True

    def __init__(
        self,
        database: Database,
        *,
        index: MeaningIndex | None = None,
        ttl: TTLConfig | None = None,
        clock: Callable[[], float] = time,
    ) -> None:
        super().__init__()
        self._database = database
        self._index = index
        self._clock = clock
        self._ranking = asyncio.Semaphore(1)  # other searches are not to wait for long ones
        self._listing = asyncio.Semaphore(1)  # which is Python's work: no faster side by side
        self.ttl_config = ttl

    @property
    def searches_by_meaning(self) -> bool:
        """Whether a search can have a query."""
        return self._index is not None

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """Do all of ``ops``: the reads first, then the puts together, of which the last counts.

        Raises:
            InvalidNamespaceError: a label cannot be one. Nothing was done.
            FilterRefused: a filter says what none can. Nothing was put.
            SearchTooWide: a search or list took too long. Nothing was put.
            TooMuchFound: what a search found is too large for one page. Nothing was put.
            EmbeddingFailed: the user's embedding function did. Nothing was put.
        """
        ops = list(ops)
        for op in ops:
            validate_op_namespace(op)
        results: list[Result] = []
        puts: dict[tuple[str, str], PutOp] = {}
        for op in ops:
            if isinstance(op, PutOp):
                puts[as_text(op.namespace), op.key] = op
                results.append(None)
            elif isinstance(op, GetOp):
                results.append(self._get(op))
            elif isinstance(op, SearchOp):
                results.append(await self._search(op))
            else:
                results.append(await self._list_namespaces(op))
        if puts:
            await self._put(puts)
        return results

    async def sweep(self) -> int:
        """Delete some of what has expired; return how much, 0 when there is no more."""
        return await self._database.write(partial(rows.sweep, self._clock(), _SWEPT_AT_ONCE))

    def next_sweep(self) -> float:
        """Return 0: whatever there is now, the next item that is put may expire at once."""
        return 0.0

    def _get(self, op: GetOp) -> Item | None:
        row = self._database.get(rows.GET, (as_text(op.namespace), op.key, self._clock()))
        if row is None:
            return None
        if op.refresh_ttl:
            self._refresh([row])
        return Item(**_fields(row))

    async def _search(self, op: SearchOp) -> list[SearchItem]:
        search = rows.Search(op.namespace_prefix, op.filter or {}, self._clock())
        if op.query and self._index is not None:
            vector = await self._index.of_query(op.query)
            async with self._ranking:
                ranking = partial(_nearest, search, op, self._index, vector)
                found, items = await self._database.read(ranking, wide=True)
        else:
            found, items = await self._database.read(partial(_page, search, op), wide=True)
        if op.refresh_ttl:
            self._refresh(found)
        return items

    async def _list_namespaces(self, op: ListNamespacesOp) -> list[tuple[str, ...]]:
        async with self._listing:
            return await self._database.read(partial(list_namespaces, op, self._clock()), wide=True)

    async def _put(self, puts: Mapping[tuple[str, str], PutOp]) -> None:
        kept = {name: op for name, op in puts.items() if op.value is not None}
        forgotten = [name for name in puts if name not in kept]
        # Made before the write, which nobody else's embedding is to hold up.
        vectors = {} if self._index is None else await self._index.of_items(kept)
        items = [
            rows.Put(
                *name, orjson.dumps(dict(op.value or {})).decode(), op.ttl, vectors.get(name, {})
            )
            for name, op in kept.items()
        ]
        await self._database.write(partial(rows.put, items, forgotten, iso_now(), self._clock()))

    def _refresh(self, found: Iterable[sqlite3.Row]) -> None:
        """Have what was read live on; the reader does not wait for that."""
        at = self._clock()
        stale = [
            (row["namespace"], row["key"], row["item_id"])
            for row in found
            if row["ttl"] is not None and row["expires_at"] - at < (1 - _STALE) * row["ttl"] * 60
        ]
        if stale:
            self._database.write(partial(rows.refresh, stale, at))


# Many values may be large: they are parsed where they are read, not on the event loop.


def _page(search: rows.Search, op: SearchOp, connection: sqlite3.Connection) -> _Found:
    found = search.page(op.limit, op.offset, connection)
    return found, [SearchItem(**_fields(row)) for row in found]


def _nearest(
    search: rows.Search,
    op: SearchOp,
    index: MeaningIndex,
    vector: bytes,
    connection: sqlite3.Connection,
) -> _Found:
    found, scores = index.nearest(search, vector, op.limit, op.offset, connection)
    return found, [SearchItem(**_fields(row), score=scores[row["item_id"]]) for row in found]


def _fields(row: sqlite3.Row) -> dict[str, Any]:
    return {
        "namespace": from_text(row["namespace"]),
        "key": row["key"],
        "value": cast("dict[str, Any]", orjson.loads(row["value"])),
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
    }
