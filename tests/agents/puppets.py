"""Agents that do as the test says, in a pool on virtual time."""

import asyncio
import functools
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from random import Random
from typing import Any, TypeVar

from agents.agent import Context, Lost, Task
from agents.configuration import GraphPool, Limits
from agents.errors import AgentLost, StartFailed, TaskFailed
from agents.events import Event
from agents.pool import AgentPool
from tests.simulation.simloop import SimLoop, simulate

T = TypeVar("T")
Test = Callable[[], Coroutine[Any, Any, None]]


class Puppet:
    """An agent whose strings the test pulls: ``task.input`` is how many seconds it works."""

    def __init__(self, stage: "Stage", number: int) -> None:
        self.number = number
        self.capabilities = stage.capabilities
        self.limits: Limits = stage.limits
        self.stage = stage
        self.lost: Lost = lambda _: None
        self.well = True
        self.starts_work = True  # whether it gets to start a task before it is lost
        self.deaf = False
        self.fails = False
        self.ends_in = 0.0  # seconds
        self.done: list[Any] = []
        self.closed = False

    async def start(self, lost: Lost) -> None:
        self.stage.starting.append(asyncio.get_running_loop().time())
        await asyncio.sleep(self.stage.starts_in)
        if self.stage.cannot_start:
            raise StartFailed("there is no model")
        self.lost = lost

    async def invoke(self, task: Task, context: Context) -> Any:
        context.started = self.starts_work
        if self.fails:
            raise TaskFailed("no")
        if not self.starts_work:
            self.die()
            raise AgentLost("it died")
        seconds = task.input if isinstance(task.input, int | float) else 0.0
        while True:
            try:
                await asyncio.sleep(seconds)
            except asyncio.CancelledError:
                if not self.deaf:
                    raise
            else:
                self.done.append(task.input)
                return self.number

    async def probe(self) -> None:
        if not self.well:
            raise AgentLost("no pulse")

    async def aclose(self) -> None:
        await asyncio.sleep(self.ends_in)
        self.closed = True

    def die(self) -> None:
        self.lost(AgentLost("it died"))


class Stage:
    """A pool of puppets, in the order in which they were made."""

    def __init__(self, **section: Any) -> None:
        self.capabilities = frozenset({"play"})
        self.starts_in = 0.0
        self.cannot_start = False
        self.puppets: list[Puppet] = []
        self.starting: list[float] = []
        self.events: list[Event] = []
        self.section = GraphPool.model_validate({"kind": "graph", "graph": "puppet", **section})
        self.limits = self.section.limits
        self.pool = AgentPool("play", self.section, self.make, self.events.append, Random(1))

    def make(self) -> Puppet:
        self.puppets.append(Puppet(self, len(self.puppets)))
        return self.puppets[-1]

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[AgentPool]:
        async with self.pool.running():
            await asyncio.sleep(self.starts_in + 0.001)
            yield self.pool

    async def work(self, given: Any = 0, **how: Any) -> Any:
        """Lease an agent for one task; return which one it was."""
        idempotent = how.pop("idempotent", False)
        async with self.pool.lease("play", **how) as lease:
            return await lease.invoke(given, idempotent=idempotent)

    def told(self, kind: type[T]) -> list[T]:
        return [event for event in self.events if isinstance(event, kind)]


def on_virtual_time(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run ``main``; what is ready runs in asyncio's own order."""

    async def in_order(sim: SimLoop) -> T:
        sim.rng.shuffle = lambda x: None  # type: ignore[method-assign]
        return await main()

    return simulate(1, in_order)


def virtual(test: Test) -> Callable[[], None]:
    """Run a test on virtual time."""

    @functools.wraps(test)
    def run() -> None:
        on_virtual_time(test)

    del run.__wrapped__
    return run


def now() -> float:
    return asyncio.get_running_loop().time()


async def probes(pool: AgentPool, count: int) -> None:
    """Return once the first seat was probed so often."""
    while len(pool.snapshot().seats[0].probes) < count:  # noqa: ASYNC110 - virtual time
        await asyncio.sleep(0.1)
