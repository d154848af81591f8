"""What the server lends to the graphs of a worker process, by its asking."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import orjson
from langgraph.store.base import BaseStore

from agents.client import AgentClient
from agents.lease import Lease
from operations.wire import Wire
from orchestration.loop.run import Run
from orchestration.processes.errors import packed
from orchestration.processes.operations import packed_results, unpacked_operations
from orchestration.store.checkpoint_saver import CheckpointRows
from orchestration.store.checkpoint_search import Row, Search

ClientOf = Callable[[Run], AgentClient]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stock:
    """What there is to lend; ``agents`` makes what the nodes of a run get, None if none are."""

    checkpoints: CheckpointRows
    items: BaseStore
    agents: ClientOf | None


class Lender:
    """Answers the questions of one worker process, in the name of its ``runs``."""

    def __init__(self, stock: Stock, wire: Wire, run: Callable[[str], Run]) -> None:
        self._stock = stock
        self._wire = wire
        self._run = run
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._leases: dict[int, _Lent] = {}
        self._answers: Mapping[str, Callable[..., Awaitable[Any]]] = {
            "checkpoint": self._checkpoint,
            "checkpoints": self._checkpoints,
            "put": stock.checkpoints.put,
            "put_writes": self._put_writes,
            "store": self._store,
            "send": self._send,
        }

    def ask(self, number: int, what: str, *about: Any) -> None:
        """Take a question, and answer it when that can be done."""
        try:
            match what:
                case "lease":
                    answer: Awaitable[Any] = self._lease(number, *about)
                case "invoke":
                    answer = self._invoke(number, *about)
                case _:
                    answer = self._answers[what](*about)
        except Exception as error:  # noqa: BLE001 - it is the answer
            self._refuse(number, error)
            return
        asked = self._asked[number] = asyncio.ensure_future(answer)
        asked.add_done_callback(partial(self._answer, number))

    def withdraw(self, number: int) -> None:
        """Take back a question, and what was lent for it."""
        if (asked := self._asked.get(number)) is not None:
            asked.cancel()
        if (lent := self._leases.pop(number, None)) is not None:
            lent.end()

    def close(self) -> None:
        """Take back everything."""
        for number in (*self._asked, *self._leases):
            self.withdraw(number)

    def _answer(self, number: int, asked: "asyncio.Future[Any]") -> None:
        del self._asked[number]
        if asked.cancelled():
            return
        error = asked.exception()
        if error is None:
            try:
                self._wire.send("answer", number, asked.result())
            except (TypeError, ValueError) as cannot:  # too long, or nothing that can be sent
                error = cannot
        if error is not None:
            self._refuse(number, error)

    def _refuse(self, number: int, error: BaseException) -> None:
        """Answer with an error, whatever is in it: without an answer, a node waits for ever."""
        try:
            self._wire.send("refuse", number, *packed(error))
        except Exception:  # noqa: BLE001 - it may be user code that says what is in it
            kind = type(error).__name__
            self._wire.send("refuse", number, kind, "the error cannot be sent", {})

    async def _checkpoint(self, *place: Any) -> Any:
        found = await self._stock.checkpoints.get(*place)
        return None if found is None else _plain(*found)

    async def _checkpoints(self, fields: Sequence[Any], limit: int) -> Any:
        return await self._stock.checkpoints.page(Search(*fields), limit, _plain)

    def _put_writes(
        self,
        key: Row,
        writes: Sequence[Row],
        run_id: str | None,
        again: bool,  # noqa: FBT001 - as it comes
    ) -> Awaitable[Any]:
        return self._stock.checkpoints.put_writes(key, writes, run_id, again=again)

    async def _store(self, operations: bytes) -> bytes:
        return packed_results(await self._stock.items.abatch(unpacked_operations(operations)))

    async def _send(self, run_id: str, content: bytes, how: Mapping[str, Any]) -> Any:
        return asdict(await self._client(run_id).send(orjson.loads(content), **how))

    async def _lease(
        self, number: int, run_id: str, capability: str, how: Mapping[str, Any]
    ) -> Any:
        lending = self._client(run_id).lease(capability, **how)
        lent = self._leases[number] = _Lent(lending)
        try:
            # Shielded: cancelled with the question, it would look as if it was already lent.
            lease = await asyncio.shield(lent.lease)
        except BaseException:
            self._leases.pop(number, None)
            lent.end()
            raise
        return lease.pool, lease.capability

    async def _invoke(
        self,
        number: int,
        lease: int,
        given: bytes,
        idempotent: bool,  # noqa: FBT001 - as it comes
        heard: bool,  # noqa: FBT001 - as it comes
    ) -> bytes:
        lent = self._leases[lease]
        on_event = partial(self._hear, number) if heard else None
        agent = await asyncio.shield(lent.lease)
        return orjson.dumps(
            await agent.invoke(orjson.loads(given), idempotent=idempotent, on_event=on_event)
        )

    def _hear(self, number: int, event: Any) -> None:
        self._wire.send("heard", number, orjson.dumps(event))

    def _client(self, run_id: str) -> AgentClient:
        if self._stock.agents is None:
            raise LookupError("the service has no agents and no mailboxes")
        return self._stock.agents(self._run(run_id))


class _Lent:
    """A lease that is held until its end, in a task of its own."""

    def __init__(self, lending: AbstractAsyncContextManager[Lease]) -> None:
        self.lease: asyncio.Future[Lease] = asyncio.get_running_loop().create_future()
        self._over = asyncio.Event()
        self._holding = asyncio.create_task(self._hold(lending))

    def end(self) -> None:
        """Give the agent back, or wait for one no longer."""
        self._over.set()
        if not self.lease.done():
            self._holding.cancel()

    async def _hold(self, lending: AbstractAsyncContextManager[Lease]) -> None:
        try:
            async with lending as lease:
                self.lease.set_result(lease)
                await self._over.wait()
        except Exception as error:
            if self.lease.done():
                raise
            self.lease.set_exception(error)


def _plain(row: Row, writes: Sequence[Row]) -> tuple[Any, ...]:
    return tuple(row), [tuple(write) for write in writes]
