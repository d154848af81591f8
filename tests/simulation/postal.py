"""A network on virtual time: the real SQL at once on a database in memory, receivers by chance."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar, cast

from agents.events import Event
from agents.network.configuration import NetworkSection
from agents.network.message import Draft, Message, Origin, Receipt
from agents.network.network import AgentNetwork
from operations.database import Database
from operations.migrations import load_migrations
from orchestration.store.messages import MessageStore
from tests.simulation.simloop import SimLoop

T = TypeVar("T")
START = datetime(2026, 1, 1, tzinfo=UTC)
Handler = Callable[[Message], Awaitable[None]]


class Memory:
    """What the stores need of a database. A write is made at once, and told of a little later."""

    def __init__(self, sim: SimLoop) -> None:
        self._sim = sim
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        self.connection.row_factory = sqlite3.Row
        for migration in load_migrations("orchestration.store.migrations"):
            if "messages" in migration.name:
                self.connection.executescript(migration.sql)

    def write(self, operation: Callable[[sqlite3.Connection], T]) -> "asyncio.Future[T]":
        future: asyncio.Future[T] = self._sim.create_future()
        self.connection.execute("BEGIN")
        try:
            result = operation(self.connection)
        except Exception as error:  # noqa: BLE001 - the waiter's
            self.connection.execute("ROLLBACK")
            future.set_exception(error)
        else:
            self.connection.execute("COMMIT")
            self._sim.call_later(self._sim.rng.random() * 0.01, self._tell, future, result)
        return future

    def get(self, sql: str, parameters: Sequence[Any] = ()) -> Any:
        return self.connection.execute(sql, parameters).fetchone()

    def value(self, sql: str) -> Any:
        return self.connection.execute(sql).fetchone()[0]

    async def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        return query(self.connection)

    @staticmethod
    def _tell(future: "asyncio.Future[T]", result: T) -> None:
        if not future.done():
            future.set_result(result)


class Slow(MessageStore):
    """Answers a little later, as one does that is not in this process."""

    def __init__(self, sim: SimLoop, *given: Any) -> None:
        super().__init__(*given)
        self._sim = sim

    async def head(self, mailbox: str, sender: str) -> Message | None:
        found = await super().head(mailbox, sender)
        await asyncio.sleep(self._sim.rng.random() * 0.01)
        return found


class Postal:
    """A network whose messages one handler receives, and what came of them."""

    def __init__(self, sim: SimLoop, handle: Handler, **section: Any) -> None:
        self.sim = sim
        self.handle = handle
        self.section = NetworkSection.model_validate(
            {"mailboxes": {"box": {}}, **section}, strict=False
        )
        self.memory = Memory(sim)
        self.ahead = timedelta()  # by how much its clock is wrong
        self.events: list[Event] = []
        self.begun: list[Message] = []
        self.taken: list[Message] = []  # whose handler returned
        self.network = self._network()

    @property
    def store(self) -> MessageStore:
        return Slow(self.sim, cast("Database", self.memory), self.section, self.clock)

    def clock(self) -> datetime:
        return START + timedelta(seconds=self.sim.time()) + self.ahead

    async def send(self, content: Any = None, sender: str = "a", **draft: Any) -> Receipt:
        if "topic" not in draft:
            draft = {"to": "box", **draft}
        return await self.network.send(Draft(content=content, **draft), Origin(sender=sender))

    async def crash(self) -> None:
        """End the network wherever it is, and begin another on what was stored."""
        for delivery in self.network:
            await delivery.aclose(0)
        self.network = self._network()
        await self.network.recover()

    def statuses(self, mailbox: str = "box") -> list[str]:
        sql = "SELECT status FROM messages WHERE mailbox = ? ORDER BY number"
        return [row[0] for row in self.memory.connection.execute(sql, (mailbox,))]

    async def settled(self, seconds: float = 3_600.0) -> list[str]:
        """Let time pass until nothing waits, and return what became of the messages."""
        end = self.sim.time() + seconds
        while "pending" in self.statuses() and self.sim.time() < end:  # noqa: ASYNC110 - virtual time
            await asyncio.sleep(0.1)
        return self.statuses()

    def _network(self) -> AgentNetwork:
        return AgentNetwork(
            self.section,
            self.store,
            self._receive,
            emit=self.events.append,
            rng=self.sim.rng,
            clock=self.clock,
        )

    async def _receive(self, _: str, message: Message) -> None:
        self.begun.append(message)
        await self.handle(message)
        self.taken.append(message)
