"""LangGraph's checkpoints over the service's database: with group commit, and read at once."""

import asyncio
import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import DeltaChannelHistory

from operations.database import Database
from operations.failpoints import failpoint
from operations.writer import Operation
from orchestration.store.checkpoint_rows import (
    WRITES,
    copy_thread_checkpoints,
    delete_checkpoints,
    delete_run_checkpoints,
    delete_thread_checkpoints,
    delta_history,
    superfluous_checkpoints,
    threads_of_runs,
)
from orchestration.store.checkpoint_saver import RowSaver, strict_serializer
from orchestration.store.checkpoint_search import Found, Row, Search
from orchestration.store.gone_threads import PART
from orchestration.store.resumptions import Resumption, keep_writes
from orchestration.store.unwritten_threads import UnwrittenThreads

T = TypeVar("T")

_COLUMNS = """
thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata
"""
_PUT = f"INSERT OR REPLACE INTO checkpoints ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - constants
_PUT_WRITE = """
INSERT OR {conflict} INTO writes
    (thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, value)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_PUT_ONCE = _PUT_WRITE.format(conflict="IGNORE")
_PUT_AGAIN = _PUT_WRITE.format(conflict="REPLACE")
_GET = f"""
SELECT {_COLUMNS} FROM checkpoints
WHERE thread_id = ? AND checkpoint_ns = ? AND checkpoint_id = ?
"""  # noqa: S608 - constants
_GET_LATEST = f"""
SELECT {_COLUMNS} FROM checkpoints WHERE thread_id = ? AND checkpoint_ns = ?
ORDER BY checkpoint_id DESC LIMIT 1
"""  # noqa: S608 - constants
PUTTING = 4_096  # namespaces of which it is remembered who has put last
_ALL_WRITES = 1_000_000  # a super-step's writes are read whole
_LARGE = 1024**2  # bytes of a put that is not held back
_FENCED = 10_000  # runs that are fenced, of those that were told to end


class Fenced(RuntimeError):
    """What puts a checkpoint belongs to a run that has ended. Nothing was written."""


class SqliteCheckpoints:
    """Keeps checkpoints in the database; see the port, `CheckpointRows`.

    A put raises `DiskFull` or another `DatabaseError` when it could not be made.
    """

    def __init__(self, database: Database, threads: UnwrittenThreads) -> None:
        self._database = database
        self._threads = threads
        self._fenced: dict[str, None] = {}  # in the order in which they were
        # The run that put last, by thread and namespace; None if nothing was ever put there.
        self._putting: dict[tuple[str, str], str | None] = {}
        self._held: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._held.set_result(None)

    def fence(self, run_id: str) -> Callable[[], None]:
        """Refuse what a run puts from now on; return what lifts the fence."""
        self._fenced[run_id] = None
        if len(self._fenced) > _FENCED:
            del self._fenced[next(iter(self._fenced))]
        return lambda: self._fenced.pop(run_id, None)

    async def get(
        self, thread_id: str, checkpoint_ns: str, checkpoint_id: str | None
    ) -> Found | None:
        """Return a checkpoint; see the port."""
        if checkpoint_id is None:
            place = (thread_id, checkpoint_ns)
            if place in self._putting and self._putting[place] is None:
                return None
            if self._threads.nothing_in(thread_id, checkpoint_ns):
                return None
            await self._threads.show(thread_id)
            row = self._database.get(_GET_LATEST, place)
        else:
            await self._threads.show(thread_id)
            row = self._database.get(_GET, (thread_id, checkpoint_ns, checkpoint_id))
        if row is None:
            return None
        return row, self._database.all(WRITES, row[:3], limit=_ALL_WRITES)

    async def page(
        self, wanted: Search, limit: int, make: Callable[[Row, Sequence[Row]], T]
    ) -> list[T]:
        """Return what a search finds; see the port."""
        if wanted.thread_id is None:
            await self._threads.show_all()
        else:
            await self._threads.show(wanted.thread_id)
        return await self._database.read(
            lambda connection: [make(*found) for found in wanted.page(connection, limit)]
        )

    def put(self, row: Row, run_id: str | None) -> "asyncio.Future[None]":
        """Keep a checkpoint; see the port."""
        self._refuse_fenced(run_id)
        self._note_put((row[0], row[1]), run_id)
        return self._write(row[:2], partial(_put, row), [row])

    def put_writes(
        self, key: Row, writes: Sequence[Row], run_id: str | None, *, again: bool
    ) -> "asyncio.Future[None]":
        """Keep what a task wrote; see the port."""
        self._refuse_fenced(run_id)
        rows = [(*key, *write) for write in writes]
        sql = _PUT_AGAIN if again else _PUT_ONCE
        thread_id, checkpoint_ns, checkpoint_id = key[:3]
        if run_id is None or self._putting.get((thread_id, checkpoint_ns)) == run_id:
            put: Operation[None] = partial(_execute_many, sql, rows)
        else:
            resumption = Resumption(thread_id, run_id, checkpoint_ns, checkpoint_id)
            put = partial(_resume, resumption, sql, rows)
        return self._write(key[:2], put, rows)

    def begin(self, thread_id: str) -> None:
        """Know that a thread was made just now: nothing is there, so nobody has to look."""
        self._remember((thread_id, ""), None)

    def forget(self, thread_id: str) -> None:
        """Know nothing of a thread any more: its run ends, or its checkpoints came another way."""
        self._putting.pop((thread_id, ""), None)

    def _write(
        self, place: Row, operation: Operation[None], rows: Sequence[Row]
    ) -> "asyncio.Future[None]":
        """Write, or hold back, what puts ``rows`` at a thread and namespace."""
        thread_id, checkpoint_ns = place
        # What is refused for what it is, has to be refused to whoever puts it.
        if thread_id in self._threads and _harmless(rows):
            self._threads.keep(thread_id, operation, checkpoint_ns, synced=True)
            return self._held
        return self._threads.write(thread_id, operation)

    def _refuse_fenced(self, run_id: str | None) -> None:
        if run_id in self._fenced:
            raise Fenced("the run has ended; what is left of its code puts no more checkpoints")

    def _note_put(self, place: tuple[str, str], run_id: str | None) -> None:
        """Remember that a run has checkpoints of its own at ``place``, and resumes no more."""
        self._putting.pop(place, None)
        if run_id is not None:
            self._remember(place, run_id)

    def _remember(self, place: tuple[str, str], run_id: str | None) -> None:
        self._putting[place] = run_id
        if len(self._putting) > PUTTING:  # forgetting one costs its run a look-up
            del self._putting[next(iter(self._putting))]


class CheckpointSaver(RowSaver):
    """The saver of the service.

    A put returns when it is durable, or held back by ``threads``. Types that are not LangGraph's
    own are read back as plain data, unless ``allowed_types`` names them as ``(module, class)``.
    """

    def __init__(
        self,
        database: Database,
        threads: UnwrittenThreads | None = None,
        *,
        allowed_types: Collection[tuple[str, ...]] | None = None,
        on_subgraph: Callable[[], None] | None = None,
    ) -> None:
        self._threads = UnwrittenThreads(database) if threads is None else threads
        self.rows = SqliteCheckpoints(database, self._threads)
        serde = strict_serializer(allowed_types)
        super().__init__(self.rows, serde=serde, on_subgraph=on_subgraph)
        self._database = database
        self._pruning = asyncio.Lock()

    def fence(self, run_id: str) -> Callable[[], None]:
        """Refuse what a run puts from now on; return what lifts the fence."""
        return self.rows.fence(run_id)

    async def adelete_thread(self, thread_id: str) -> None:
        """Delete what the thread has of checkpoints and writes."""
        await self._threads.show(str(thread_id))
        await self._database.write(lambda c: delete_thread_checkpoints(c, str(thread_id)))

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Delete the checkpoints of these runs; reads through all checkpoints to find them.

        A later checkpoint whose `DeltaChannel` stands on a deleted one loses that channel's
        history.
        """
        await self._threads.show(*run_ids)
        found = await self._database.read(lambda c: threads_of_runs(c, run_ids))
        for thread_id, run_id in found:
            await self._database.write(
                partial(delete_run_checkpoints, thread_id=thread_id, run_id=run_id)
            )

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy all checkpoints and writes of one thread to another."""
        self.rows.forget(target_thread_id)
        await self._threads.show(source_thread_id, target_thread_id)
        await self._database.write(
            lambda c: copy_thread_checkpoints(c, source_thread_id, target_thread_id)
        )

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Delete checkpoints: all of them (``delete``), or all that the latest does not need.

        ``keep_latest`` keeps the latest of each namespace, and what its `DeltaChannel` values
        stand on. The others go in small parts, the oldest first.

        Raises:
            ValueError: there is no such strategy.
        """
        if strategy not in {"keep_latest", "delete"}:
            raise ValueError(f"there is no strategy {strategy!r}: use keep_latest or delete")
        await self._threads.show(*thread_ids)
        for thread_id in thread_ids:
            if strategy == "delete":
                await self.adelete_thread(thread_id)
            else:
                await self._keep_latest(thread_id)

    async def _keep_latest(self, thread_id: str) -> None:
        async with self._pruning:  # parts that wait together would make one long transaction
            await self._database.settled()
            left = await self._database.read(
                partial(superfluous_checkpoints, thread_id=thread_id, serde=self.serde)
            )
            for start in range(0, len(left), PART):
                part = partial(
                    delete_checkpoints, thread_id=thread_id, places=left[start : start + PART]
                )
                await self._database.write(part, synced=start + PART >= len(left))

    async def aget_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """Return what each `DeltaChannel` was written before the checkpoint of ``config``."""
        found = await self.aget_tuple(config) if channels else None
        if found is None:
            return {channel: {"writes": []} for channel in channels}
        place = found.config.get("configurable", {})
        key = (str(place["thread_id"]), place.get("checkpoint_ns", ""), place["checkpoint_id"])
        return await self._database.read(
            lambda connection: delta_history(connection, key, channels, self.serde)
        )

    async def settled(self) -> None:
        """Return once every write queued so far is durable, held back, or has failed."""
        await self._database.settled()

    def delete_thread(self, thread_id: str) -> None:
        """As `adelete_thread`, from another thread."""
        self._from_thread(self.adelete_thread(thread_id))

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """As `adelete_for_runs`, from another thread."""
        self._from_thread(self.adelete_for_runs(run_ids))

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """As `acopy_thread`, from another thread."""
        self._from_thread(self.acopy_thread(source_thread_id, target_thread_id))

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """As `aprune`, from another thread."""
        self._from_thread(self.aprune(thread_ids, strategy=strategy))

    def get_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """As `aget_delta_channel_history`, from another thread."""
        return self._from_thread(self.aget_delta_channel_history(config=config, channels=channels))


def _harmless(rows: Sequence[Row]) -> bool:
    """Return whether no row can be refused for what it holds, nor takes much memory."""
    size = 0
    for row in rows:
        for value in row:
            if isinstance(value, bytes):
                size += len(value)
            elif isinstance(value, str):
                if not value.isascii() and value.encode(errors="ignore").decode() != value:
                    return False
                size += len(value)
            elif type(value) is not int and value is not None:
                return False
    return size <= _LARGE


def _put(row: Sequence[Any], connection: sqlite3.Connection) -> None:
    connection.execute(_PUT, row)
    failpoint("checkpoint.before_commit")


def _execute_many(sql: str, rows: Sequence[Sequence[Any]], connection: sqlite3.Connection) -> None:
    connection.executemany(sql, rows)


def _resume(
    resumption: Resumption,
    sql: str,
    rows: Sequence[Sequence[Any]],
    connection: sqlite3.Connection,
) -> None:
    keep_writes(connection, resumption)
    connection.executemany(sql, rows)
