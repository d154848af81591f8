"""LangGraph's checkpoints as rows, in the format of the library's own saver, wherever they are."""

import asyncio
import inspect
import random
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Coroutine,
    Iterator,
    Sequence,
)
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, Self, TypeVar, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    get_checkpoint_id,
)
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.serde.types import ERROR

from operations.failpoints import failpoint
from orchestration.store.checkpoint_rows import checkpoint_tuple, metadata_text
from orchestration.store.checkpoint_search import PAGE, Found, Row, Search, search

P = ParamSpec("P")
T = TypeVar("T")


class CheckpointRows(Protocol):
    """Where checkpoints are kept. ``run_id`` is the run that puts, None if it is none."""

    def get(
        self, thread_id: str, checkpoint_ns: str, checkpoint_id: str | None
    ) -> Awaitable[Found | None]:
        """Return a checkpoint, the latest if no id is given; None if there is none."""
        ...

    def page(
        self, wanted: Search, limit: int, make: Callable[[Row, Sequence[Row]], T]
    ) -> Awaitable[list[T]]:
        """Return what ``make`` makes, in whatever thread, of the first checkpoints found."""
        ...

    def put(self, row: Row, run_id: str | None) -> Awaitable[object]:
        """Keep a checkpoint; it is durable when this is done, unless nobody knows of its thread.

        Raises:
            Fenced: the run has ended.
        """
        ...

    def put_writes(
        self, key: Row, writes: Sequence[Row], run_id: str | None, *, again: bool
    ) -> Awaitable[object]:
        """Keep what a task wrote: rows that begin with ``key``, ``again`` what it wrote before.

        Raises:
            Fenced: the run has ended.
        """
        ...


class _Method(Generic[P, T]):
    """A method whose signature is made once.

    LangGraph looks at that of ``aput_writes`` at every call of a graph, and Python makes that of a
    bound method anew each time.
    """

    def __init__(self, function: "Callable[Concatenate[Any, P], T]") -> None:
        self._function = function
        _, *others = inspect.signature(function).parameters.values()
        self._signature = inspect.Signature(others)

    def __get__(self, saver: object, owner: type | None = None) -> "Callable[P, T]":
        return _Bound(self._function, saver, self._signature)


class _Bound(Generic[P, T]):
    __slots__ = ("__signature__", "_function", "_saver")

    def __init__(
        self,
        function: "Callable[Concatenate[Any, P], T]",
        saver: object,
        signature: inspect.Signature,
    ) -> None:
        self._function = function
        self._saver = saver
        self.__signature__ = signature

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._function(self._saver, *args, **kwargs)


class RowSaver(BaseCheckpointSaver[str]):
    """Puts and finds checkpoints as rows.

    It belongs to the event loop that makes it; the sync methods are for other threads, where sync
    nodes run. ``on_subgraph`` is called, in the context of who asks, whenever a checkpoint within
    another graph is asked for, as each subgraph does that begins.
    """

    def __init__(
        self,
        rows: CheckpointRows,
        *,
        serde: SerializerProtocol,
        on_subgraph: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(serde=serde)
        self._on_subgraph = on_subgraph
        self._allowed: Collection[tuple[str, ...]] | None = None
        self._rows = rows
        self._loop = asyncio.get_running_loop()

    def with_allowlist(self, extra_allowlist: Collection[tuple[str, ...]]) -> Self:
        """Return a copy that may read these types, too; the same one for what it was made for.

        A graph asks for it at every call, with the same list.
        """
        if extra_allowlist is self._allowed:
            return self
        saver = cast("Self", super().with_allowlist(extra_allowlist))
        saver._allowed = extra_allowlist  # noqa: SLF001 - one of ours
        return saver

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return the checkpoint that ``config`` names, or the latest; None if there is none."""
        configurable = config.get("configurable", {})
        place = (str(configurable["thread_id"]), configurable.get("checkpoint_ns", ""))
        if place[1] and self._on_subgraph is not None:
            self._on_subgraph()
        checkpoint_id = get_checkpoint_id(config)
        row = await self._rows.get(*place, checkpoint_id or None)
        if row is None:
            return None
        found = checkpoint_tuple(*row, self.serde)
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
            UnsafeFilter: a key or value of ``filter`` may not be used; see `Search`.
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
        await self._rows.put(row, _run_id(config))
        failpoint("checkpoint.after_commit")
        return {
            "configurable": {
                "thread_id": thread_id,
                "checkpoint_ns": checkpoint_ns,
                "checkpoint_id": checkpoint["id"],
            }
        }

    @_Method
    async def aput_writes(  # pyright: ignore[reportIncompatibleMethodOverride] - called as it is
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """Store what a task wrote at a checkpoint; return once it is durable.

        Of one that was cancelled nothing is stored, as if the process had died.

        Raises:
            Fenced: its run has ended.
        """
        # Its answers would be there twice: stored with it, and given anew to its question, which
        # is still there. The second of them goes to the next question, which nobody has seen.
        if any(_is_cancellation(*write) for write in writes):
            return
        configurable = config.get("configurable", {})
        key = (
            str(configurable["thread_id"]),
            configurable.get("checkpoint_ns", ""),
            configurable["checkpoint_id"],
            task_id,
            task_path,
        )
        rows = [
            (WRITES_IDX_MAP.get(channel, index), channel, *self.serde.dumps_typed(value))
            for index, (channel, value) in enumerate(writes)
        ]
        # A task's ordinary writes are stored once; its error, interrupt or resume value may change.
        again = all(channel in WRITES_IDX_MAP for channel, _ in writes)
        await self._rows.put_writes(key, rows, _run_id(config), again=again)

    def get_next_version(self, current: str | int | None, channel: None) -> str:  # noqa: ARG002 - the base's
        """Return a version after ``current``: a counter, and a fraction that tells forks apart."""
        if isinstance(current, str):
            current = int(current.split(".")[0])
        return f"{(current or 0) + 1:032}.{random.getrandbits(53):016}"

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

    async def _page(
        self, wanted: Search, limit: int | None
    ) -> tuple[Sequence[CheckpointTuple], Search | None, int | None]:
        """Return the first page, the search for the rest (None: there is none), and its limit."""
        size = PAGE if limit is None else min(limit, PAGE)
        page = await self._rows.page(
            wanted, size, lambda row, writes: checkpoint_tuple(row, writes, self.serde)
        )
        left = None if limit is None else limit - len(page)
        following = wanted.after(page[-1]) if len(page) == PAGE and left != 0 else None
        return page, following, left

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


def strict_serializer(
    allowed_types: Collection[tuple[str, ...]] | None = None,
) -> SerializerProtocol:
    """Return LangGraph's serializer without pickles, and with no other types than those named."""
    return JsonPlusSerializer(pickle_fallback=False, allowed_msgpack_modules=allowed_types)


def _is_cancellation(channel: str, value: Any) -> bool:
    return channel == ERROR and isinstance(value, asyncio.CancelledError)


def _run_id(config: RunnableConfig) -> str | None:
    """Return the run that works under ``config``, as `get_checkpoint_metadata` finds it."""
    run_id = config.get("metadata", {}).get("run_id") or config.get("configurable", {}).get(
        "run_id"
    )
    return run_id if isinstance(run_id, str) else None
