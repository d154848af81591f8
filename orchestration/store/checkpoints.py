"""LangGraph's checkpoints over the service's database, in the format of the library's own saver."""

import asyncio
import random
import sqlite3
from collections.abc import (
    AsyncIterator,
    Callable,
    Collection,
    Coroutine,
    Iterator,
    Mapping,
    Sequence,
)
from functools import partial
from typing import Any, TypeVar

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    DeltaChannelHistory,
    get_checkpoint_id,
)
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from operations.database import Database
from operations.failpoints import failpoint
from orchestration.store.checkpoint_rows import (
    WRITES,
    checkpoint_tuple,
    copy_thread_checkpoints,
    delete_run_checkpoints,
    delete_thread_checkpoints,
    delta_history,
    metadata_text,
    prune_thread_checkpoints,
    threads_of_runs,
)
from orchestration.store.checkpoint_search import PAGE, Search, search
from orchestration.store.resumptions import Resumption, keep_writes

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
# A task's ordinary writes are stored once; its error, interrupt or resume value may change.
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
PUTTING = 4_096  # namespaces whose last run is remembered
_ALL_WRITES = 1_000_000  # a super-step's writes are read whole


class Fenced(RuntimeError):
    """What puts a checkpoint belongs to a run that has ended. Nothing was written."""


class CheckpointSaver(BaseCheckpointSaver[str]):
    """Saves checkpoints with group commit, and reads them at once.

    A put returns when it is durable, and raises `DiskFull` or another `DatabaseError` when it
    could not be made. Types that are not LangGraph's own are read back as plain data, unless
    ``allowed_types`` names them as ``(module, class)``. The sync methods are for other threads
    than the event loop's, where sync nodes run.
    """

    def __init__(
        self, database: Database, *, allowed_types: Collection[tuple[str, ...]] | None = None
    ) -> None:
        super().__init__(
            serde=JsonPlusSerializer(pickle_fallback=False, allowed_msgpack_modules=allowed_types)
        )
        self._database = database
        self._loop = asyncio.get_running_loop()
        self._fenced: set[str] = set()
        self._putting: dict[tuple[str, str], str] = {}  # the run that put last, by namespace

    def fence(self, run_id: str) -> Callable[[], None]:
        """Refuse what a run puts from now on; return what lifts the fence."""
        self._fenced.add(run_id)
        return lambda: self._fenced.discard(run_id)

    def _refuse_fenced(self, config: RunnableConfig) -> None:
        if self._fenced and config.get("configurable", {}).get("run_id") in self._fenced:
            raise Fenced("the run has ended; what is left of its code puts no more checkpoints")

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return the checkpoint that ``config`` names, or the latest; None if there is none."""
        configurable = config.get("configurable", {})
        place = (str(configurable["thread_id"]), configurable.get("checkpoint_ns", ""))
        checkpoint_id = get_checkpoint_id(config)
        if checkpoint_id:
            row = self._database.get(_GET, (*place, checkpoint_id))
        else:
            row = self._database.get(_GET_LATEST, place)
        if row is None:
            return None
        writes = self._database.all(WRITES, row[:3], limit=_ALL_WRITES)
        found = checkpoint_tuple(row, writes, self.serde)
        return found._replace(config=config) if checkpoint_id else found

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002 - the base's word
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """Yield checkpoints, newest first, 32 of them in memory at a time.

        Raises:
            UnsafeFilter: a key or value of ``filter`` may not be used; see `search`.
        """
        following: Search | None = search(config, filter, before)
        while following is not None:
            page, following, limit = await self._page(following, limit)
            for found in page:
                yield found

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,  # noqa: ARG002 - the base's
    ) -> RunnableConfig:
        """Store a checkpoint; return its config once it is durable.

        Raises:
            Fenced: its run has ended.
        """
        self._refuse_fenced(config)
        configurable = config.get("configurable", {})
        thread_id, checkpoint_ns = configurable["thread_id"], configurable.get("checkpoint_ns", "")
        row = (
            str(thread_id),
            checkpoint_ns,
            checkpoint["id"],
            configurable.get("checkpoint_id"),
            *self.serde.dumps_typed(checkpoint),
            metadata_text(config, metadata),
        )
        self._note_put((str(thread_id), checkpoint_ns), _run_id(config))
        await self._database.write(partial(_put, row))
        failpoint("checkpoint.after_commit")
        return {
            "configurable": {
                "thread_id": thread_id,
                "checkpoint_ns": checkpoint_ns,
                "checkpoint_id": checkpoint["id"],
            }
        }

    async def aput_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """Store what a task wrote at a checkpoint; return once it is durable.

        Raises:
            Fenced: its run has ended.
        """
        self._refuse_fenced(config)
        configurable = config.get("configurable", {})
        key = (
            str(configurable["thread_id"]),
            configurable.get("checkpoint_ns", ""),
            configurable["checkpoint_id"],
            task_id,
            task_path,
        )
        rows = [
            (*key, WRITES_IDX_MAP.get(channel, index), channel, *self.serde.dumps_typed(value))
            for index, (channel, value) in enumerate(writes)
        ]
        special = all(channel in WRITES_IDX_MAP for channel, _ in writes)
        sql = _PUT_AGAIN if special else _PUT_ONCE
        run_id = _run_id(config)
        if run_id is None or self._putting.get(key[:2]) == run_id:
            await self._database.write(partial(_execute_many, sql, rows))
        else:
            resumption = Resumption(key[0], run_id, *key[1:3])
            await self._database.write(partial(_resume, resumption, sql, rows))

    async def adelete_thread(self, thread_id: str) -> None:
        """Delete what the thread has of checkpoints and writes."""
        await self._database.write(lambda c: delete_thread_checkpoints(c, str(thread_id)))

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Delete the checkpoints of these runs; reads through all checkpoints to find them.

        A later checkpoint whose `DeltaChannel` stands on a deleted one loses that channel's
        history.
        """
        found = await self._database.read(lambda c: threads_of_runs(c, run_ids))
        for thread_id, run_id in found:
            await self._database.write(
                partial(delete_run_checkpoints, thread_id=thread_id, run_id=run_id)
            )

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy all checkpoints and writes of one thread to another."""
        await self._database.write(
            lambda c: copy_thread_checkpoints(c, source_thread_id, target_thread_id)
        )

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Delete checkpoints: all of them (``delete``), or all that the latest does not need.

        ``keep_latest`` keeps the latest of each namespace, and what its `DeltaChannel` values
        stand on.

        Raises:
            ValueError: there is no such strategy.
        """
        if strategy not in {"keep_latest", "delete"}:
            raise ValueError(f"there is no strategy {strategy!r}: use keep_latest or delete")
        for thread_id in thread_ids:
            if strategy == "delete":
                await self.adelete_thread(thread_id)
            else:
                prune = partial(prune_thread_checkpoints, thread_id=thread_id, serde=self.serde)
                await self._database.write(prune)

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
        """Return once every write queued so far is durable, or has failed."""
        await self._database.settled()

    def get_next_version(self, current: str | int | None, channel: None) -> str:  # noqa: ARG002 - the base's
        """Return a version after ``current``: a counter, and a fraction that tells forks apart."""
        if isinstance(current, str):
            current = int(current.split(".")[0])
        return f"{(current or 0) + 1:032}.{random.random():016}"

    def _note_put(self, place: tuple[str, str], run_id: str | None) -> None:
        """Remember that a run has checkpoints of its own at ``place``, and resumes no more."""
        self._putting.pop(place, None)
        if run_id is not None:
            self._putting[place] = run_id
            if len(self._putting) > PUTTING:  # forgetting one costs its run a look-up
                del self._putting[next(iter(self._putting))]

    async def _page(
        self, wanted: Search, limit: int | None
    ) -> tuple[Sequence[CheckpointTuple], Search | None, int | None]:
        """Return the first page, the search for the rest (None: there is none), and its limit."""
        size = PAGE if limit is None else min(limit, PAGE)
        page = await self._database.read(lambda c: wanted.page(c, size, self.serde))
        left = None if limit is None else limit - len(page)
        following = wanted.after(page[-1]) if len(page) == PAGE and left != 0 else None
        return page, following, left

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """As `aget_tuple`, from another thread."""
        return self._from_thread(self.aget_tuple(config))

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002 - the base's word
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """As `alist`, from another thread."""
        following: Search | None = search(config, filter, before)
        while following is not None:
            page, following, limit = self._from_thread(self._page(following, limit))
            yield from page

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """As `aput`, from another thread."""
        return self._from_thread(self.aput(config, checkpoint, metadata, new_versions))

    def put_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """As `aput_writes`, from another thread."""
        self._from_thread(self.aput_writes(config, writes, task_id, task_path))

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

    def _from_thread(self, call: Coroutine[Any, Any, T]) -> T:
        try:
            here: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        if here is self._loop:
            call.close()
            raise asyncio.InvalidStateError(
                "a sync call to the checkpointer on the event loop would wait for itself: "
                "use the async one (aget_state, aget_tuple, ainvoke, ...)"
            )
        return asyncio.run_coroutine_threadsafe(call, self._loop).result()


def _put(row: Sequence[Any], connection: sqlite3.Connection) -> None:
    connection.execute(_PUT, row)
    failpoint("checkpoint.before_commit")


def _execute_many(sql: str, rows: Sequence[Sequence[Any]], connection: sqlite3.Connection) -> None:
    connection.executemany(sql, rows)


def _run_id(config: RunnableConfig) -> str | None:
    """Return the run that works under ``config``, as `get_checkpoint_metadata` finds it."""
    run_id = config.get("metadata", {}).get("run_id") or config.get("configurable", {}).get(
        "run_id"
    )
    return run_id if isinstance(run_id, str) else None


def _resume(
    resumption: Resumption,
    sql: str,
    rows: Sequence[Sequence[Any]],
    connection: sqlite3.Connection,
) -> None:
    keep_writes(connection, resumption)
    connection.executemany(sql, rows)
