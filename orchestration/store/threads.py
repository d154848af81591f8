"""Threads in SQLite."""

import asyncio
import sqlite3
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import orjson

from operations.clock import iso_now
from operations.database import Database, DatabaseError
from operations.errors import StorageUnavailable
from orchestration.loop.errors import ThreadNotFound
from orchestration.loop.run import ThreadState
from orchestration.store.bounded import fetch
from orchestration.store.gone_threads import delete_part, set_gone
from orchestration.store.idempotency import Receipt, with_receipt
from orchestration.store.terms import TooMuchMetadata, check_size, plain_terms, terms
from orchestration.store.thread_copies import ThreadCopies
from orchestration.store.thread_metadata import insert_thread, read_metadata, write_metadata
from orchestration.store.thread_rows import THREAD, delete_thread, read_thread
from orchestration.store.thread_search import ThreadQuery, ThreadSearch
from orchestration.store.ttl import Change, Ttl, give_ttl
from orchestration.store.value_index import ValueIndex
from orchestration.store.visibility import Visible, seen, sees

_AMONG = """
SELECT thread_id FROM threads
WHERE thread_id IN (SELECT value FROM json_each(?)) AND json_contains(metadata, ?)
"""


class ThreadExists(Exception):
    """There is a thread with that id already."""

    def __init__(self, thread_id: str) -> None:
        super().__init__(f"Thread {thread_id} already exists")
        self.thread_id = thread_id


class ThreadStore:
    """The threads, their metadata, and what they show between runs.

    ``ttl`` is how long a new one lives that is not given a time of its own. ``unfinished`` has the
    ids of those that are not whole yet: the sweeper is to spare them.
    """

    def __init__(self, database: Database, ttl: Ttl | None = None) -> None:
        self._database = database
        self._ttl = ttl
        self._values = ValueIndex(database)
        self.unfinished: set[str] = set()
        self._copies = ThreadCopies(database, self.unfinished)
        self._deleting = asyncio.Lock()

    def get(self, thread_id: str, visible: Visible = None) -> sqlite3.Row | None:
        """Return a thread's row; ``shown_status`` is what clients see as its status."""
        return seen(visible, self._database.get(THREAD, (thread_id,)))

    async def among(self, thread_ids: Collection[str], visible: Visible) -> frozenset[str]:
        """Return which of these threads there are for the caller."""
        if visible is None:
            return frozenset(thread_ids)
        parameters = (orjson.dumps(list(thread_ids)).decode(), orjson.dumps(visible))
        rows = await self._database.read(lambda connection: fetch(connection, _AMONG, parameters))
        return frozenset(row[0] for row in rows)

    async def create(
        self,
        thread_id: str,
        metadata: Mapping[str, Any],
        receipt: Receipt | None = None,
        ttl: Ttl | None = None,
        *,
        whole: bool = True,
    ) -> None:
        """Create a thread; keep ``receipt`` of its row.

        One that is not ``whole`` is deleted by the next start, unless it is finished before.

        Raises:
            ThreadExists: there is one with that id.
            TooMuchMetadata: they hold too many values to look up.
        """
        check_size(metadata)
        create = partial(_create, thread_id, metadata, ttl or self._ttl, whole)
        row = partial(read_thread, thread_id)
        spared = not whole and thread_id not in self.unfinished  # or another request makes it
        if spared:
            self.unfinished.add(thread_id)
        created = False
        try:
            created = await self._database.write(with_receipt(create, receipt, row))
        finally:
            if spared and not created:
                self.unfinished.discard(thread_id)
        if not created:
            raise ThreadExists(thread_id)

    async def finish(self, thread_id: str, receipt: Receipt | None) -> None:
        """Have a thread that was not created whole stay; keep ``receipt`` of its row.

        Raises:
            ThreadNotFound: it was deleted meanwhile.
        """
        finish, row = partial(_finish, thread_id), partial(read_thread, thread_id)
        if not await self._database.write(with_receipt(finish, receipt, row)):
            raise ThreadNotFound(thread_id)
        self.unfinished.discard(thread_id)

    async def patch(
        self,
        thread_id: str,
        metadata: Mapping[str, Any],
        visible: Visible = None,
        ttl: Change = "same",
    ) -> bool:
        """Merge ``metadata`` into the thread's, key by key, and let it expire after ``ttl``.

        False if there is no such thread.

        Raises:
            TooMuchMetadata: together they hold too many values to look up.
        """
        patched = await self._database.write(partial(_patch, thread_id, metadata, visible, ttl))
        if isinstance(patched, TooMuchMetadata):
            raise patched
        return patched

    async def show(self, thread_id: str, state: ThreadState) -> None:
        """Let the thread show ``state``, after an update of it from outside."""
        await self._database.write(partial(_show, thread_id, state))

    async def delete(self, thread_id: str, visible: Visible = None) -> bool:
        """Delete a thread with its runs and checkpoints; False if there is none.

        It is gone at once. What of it cannot be deleted at the moment is left to the sweeper.
        """
        if not await self._database.write(partial(_delete, thread_id, visible)):
            return False
        self.unfinished.discard(thread_id)
        await self._delete_rest(thread_id)
        return True

    async def copy(
        self,
        source: str,
        target: str,
        visible: Visible = None,
        stamp: Mapping[str, Any] | None = None,
        receipt: Receipt | None = None,
    ) -> bool:
        """Copy a thread with its checkpoints, without its runs; put ``stamp`` into its metadata.

        It is made in small parts, and there once it is whole: as the thread is then. ``receipt`` is
        kept of its row. False if a run was under way: as after `create`, what its checkpoints have
        is to be shown, and the copy finished, with the receipt.

        Raises:
            ThreadNotFound: there is no such thread.
        """
        try:
            whole = await self._copies.copy(source, target, visible, stamp or {}, receipt)
        except BaseException:
            self.unfinished.discard(target)
            await asyncio.shield(self._delete_rest(target))
            raise
        if not whole and self.get(target) is not None:
            return False
        self.unfinished.discard(target)
        if not whole:
            await self._delete_rest(target)
            raise ThreadNotFound(source)
        return True

    async def of_assistant(self, assistant_id: str) -> list[str]:
        """Return the ids of the threads that ran this assistant last."""
        sql = "SELECT thread_id FROM thread_terms WHERE term = ?"
        parameters = tuple(terms({"assistant_id": assistant_id}))
        rows = await self._database.read(lambda c: c.execute(sql, parameters).fetchall())
        return [row[0] for row in rows]

    async def search(self, query: ThreadQuery) -> list[sqlite3.Row]:
        """Return the threads that match.

        Raises:
            SearchTooWide: it took too long.
        """
        return await self._database.read((await self._search(query)).page, wide=True)

    async def count(self, query: ThreadQuery) -> int:
        """Return how many threads match.

        Raises:
            SearchTooWide: it took too long.
        """
        return await self._database.read((await self._search(query)).count, wide=True)

    async def _delete_rest(self, thread_id: str) -> None:
        """Delete what is left of a thread that is gone, as far as that can be done now."""
        with suppress(StorageUnavailable):
            while await self._delete_part(thread_id):
                pass

    async def _delete_part(self, thread_id: str) -> bool:
        async with self._deleting:  # parts that wait together would make one long transaction
            return await self._database.write(partial(delete_part, thread_id), synced=False)

    async def _search(self, query: ThreadQuery) -> ThreadSearch:
        """Return the search for ``query``, by the index of values if nothing else narrows it."""
        search = ThreadSearch(query)
        if not any(plain_terms(query.values or {})) or await self._database.read(search.narrow):
            return search
        with suppress(DatabaseError):  # nothing can be written: then without the index
            if await self._values.catch_up():
                return ThreadSearch(replace(query, values_indexed=True))
        return search


# A refusal is returned, not raised: an operation that raises undoes its whole transaction.


def _create(
    thread_id: str,
    metadata: Mapping[str, Any],
    ttl: Ttl | None,
    whole: bool,  # noqa: FBT001 - an operation's arguments are given once, by position
    connection: sqlite3.Connection,
) -> bool:
    created = insert_thread(connection, thread_id, iso_now(), metadata, ttl)
    if created and not whole:
        set_gone(thread_id, connection)
    return created


def _finish(thread_id: str, connection: sqlite3.Connection) -> bool:
    if read_metadata(connection, thread_id) is None:
        return False
    set_gone(thread_id, connection, gone=False)
    return True


def _patch(
    thread_id: str,
    metadata: Mapping[str, Any],
    visible: Visible,
    ttl: Change,
    connection: sqlite3.Connection,
) -> bool | TooMuchMetadata:
    before = read_metadata(connection, thread_id)
    if before is None or not sees(visible, before):
        return False
    after = {**before, **metadata}
    try:
        check_size(after)
    except TooMuchMetadata as error:
        return error
    write_metadata(connection, thread_id, after)
    at = iso_now()
    connection.execute("UPDATE threads SET updated_at = ? WHERE thread_id = ?", (at, thread_id))
    if ttl != "same":
        give_ttl(connection, thread_id, None if ttl == "never" else ttl, at)
    return True


def _show(thread_id: str, state: ThreadState, connection: sqlite3.Connection) -> None:
    at = iso_now()
    status = "interrupted" if state.interrupted else "idle"
    values = state.values.decode() if state.values is not None else None
    connection.execute(
        """
        UPDATE threads SET status = ?, error = NULL, updated_at = ?, state_updated_at = ?,
            state_values = ?, interrupts = ?
        WHERE thread_id = ?
        """,
        (status, at, at, values, state.interrupts.decode(), thread_id),
    )


def _delete(thread_id: str, visible: Visible, connection: sqlite3.Connection) -> bool:
    metadata = read_metadata(connection, thread_id)
    if metadata is None or not sees(visible, metadata):
        return False
    delete_thread(connection, thread_id)
    return True
