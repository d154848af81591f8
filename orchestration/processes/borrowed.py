"""What a graph in a worker process borrows from the server: checkpoints, the store, agents."""

from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from contextvars import copy_context
from typing import Any, NoReturn, TypeVar

import httpx
import orjson
from langgraph.store.base import Op, Result, TTLConfig

from agents.errors import TaskRejected
from agents.network.message import DEFAULT_PRIORITY as MESSAGE_PRIORITY
from agents.network.message import Receipt
from orchestration.processes.errors import NotInWorker
from orchestration.processes.operations import packed_operations, unpacked_results
from orchestration.processes.server import Server
from orchestration.store.checkpoint_saver import RowSaver, strict_serializer
from orchestration.store.checkpoint_search import Found, Row, Search
from orchestration.store.loop_bound import LoopBoundStore

T = TypeVar("T")
OnEvent = Callable[[Any], None]


class BorrowedRows:
    """Checkpoints that the server keeps; see the port, `CheckpointRows`."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def get(
        self, thread_id: str, checkpoint_ns: str, checkpoint_id: str | None
    ) -> Found | None:
        """Return a checkpoint; see the port."""
        found: Found | None = await self._server.ask(
            "checkpoint", thread_id, checkpoint_ns, checkpoint_id
        )
        return found

    async def page(
        self, wanted: Search, limit: int, make: Callable[[Row, Sequence[Row]], T]
    ) -> list[T]:
        """Return what a search finds; see the port."""
        fields = [getattr(wanted, name) for name in Search.__slots__]
        return [make(*found) for found in await self._server.ask("checkpoints", fields, limit)]

    async def put(self, row: Row, run_id: str | None) -> None:
        """Keep a checkpoint; see the port."""
        await self._server.ask("put", row, run_id)

    async def put_writes(
        self, key: Row, writes: Sequence[Row], run_id: str | None, *, again: bool
    ) -> None:
        """Keep what a task wrote; see the port."""
        await self._server.ask("put_writes", key, writes, run_id, again)


class BorrowedSaver(RowSaver):
    """The checkpointer of graphs in a worker process. It deletes nothing and copies nothing."""

    def __init__(
        self,
        server: Server,
        *,
        allowed_types: Collection[tuple[str, ...]] | None = None,
        on_subgraph: Callable[[], None] | None = None,
    ) -> None:
        serde = strict_serializer(allowed_types)
        super().__init__(BorrowedRows(server), serde=serde, on_subgraph=on_subgraph)

    async def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise NotInWorker("deleting or copying checkpoints")

    def _refuse_now(self, *_: Any, **__: Any) -> NoReturn:
        raise NotInWorker("deleting or copying checkpoints")

    adelete_thread = adelete_for_runs = acopy_thread = aprune = _refuse
    delete_thread = delete_for_runs = copy_thread = prune = _refuse_now


class BorrowedStore(LoopBoundStore):
    """The server's store. It belongs to the event loop that makes it, as that does."""

    def __init__(self, server: Server, *, supports_ttl: bool, ttl: TTLConfig | None) -> None:
        super().__init__()
        self._server = server
        self.supports_ttl = supports_ttl
        self.ttl_config = ttl

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """Have the server do all of ``ops``; errors are those of its store.

        Raises:
            TypeError: a value is of a type that cannot be sent.
        """
        return unpacked_results(await self._server.ask("store", packed_operations(ops)))


class BorrowedAgents:
    """What a node finds under ``configurable.masterloop``; as `AgentClient`, but for ``able``."""

    def __init__(self, server: Server, run_id: str, priority: int) -> None:
        self._server = server
        self._run_id = run_id
        self.priority = priority  # of the run

    @asynccontextmanager
    async def lease(
        self,
        capability: str,
        *,
        priority: int | None = None,
        wait: float | None = None,
        pool: str | None = None,
    ) -> AsyncGenerator["BorrowedLease"]:
        """Have an agent for the block; see `AgentClient.lease`."""
        how = {"priority": priority, "wait": wait, "pool": pool}
        number, (of, what) = await self._server.asking("lease", self._run_id, capability, how)
        try:
            yield BorrowedLease(self._server, number, of, what)
        finally:
            self._server.tell("withdraw", number)

    def able(self, capability: str) -> NoReturn:
        """Refuse to."""
        raise NotInWorker(f"knowing who can do {capability!r} before leasing an agent")

    async def send(
        self,
        content: Any,
        *,
        to: str | None = None,
        topic: str | None = None,
        message_id: str | None = None,
        priority: int = MESSAGE_PRIORITY,
        ttl: float | None = None,
        correlation_id: str | None = None,
    ) -> Receipt:
        """Send a message; see `AgentClient.send`."""
        how = {
            "to": to,
            "topic": topic,
            "message_id": message_id,
            "priority": priority,
            "ttl": ttl,
            "correlation_id": correlation_id,
        }
        receipt = await self._server.ask("send", self._run_id, _json(content), how)
        return Receipt(**receipt)


class BorrowedLease:
    """One agent, lent; as `Lease`."""

    def __init__(self, server: Server, number: int, pool: str, capability: str) -> None:
        self._server = server
        self._number = number
        self.pool = pool
        self.capability = capability

    async def invoke(
        self, given: Any, *, idempotent: bool = False, on_event: OnEvent | None = None
    ) -> Any:
        """Have the agent do one task; see `Lease.invoke`."""
        variables = copy_context()

        def heard(event: bytes) -> None:
            # As part of whoever asks: a stream writer of LangGraph's finds its run in a variable.
            if on_event is not None:
                variables.run(on_event, orjson.loads(event))

        listens = on_event is not None
        done = await self._server.ask(
            "invoke", self._number, _json(given), idempotent, listens, on_news=heard
        )
        return orjson.loads(done)


def _json(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError as error:
        raise TaskRejected(f"it cannot be put into JSON: {error}") from error


class NoService:
    """What clients without a url find in a worker process."""

    async def answer(self, request: httpx.Request) -> NoReturn:
        """Refuse a request; see the port."""
        del request
        raise NotInWorker("get_client() without a url")
