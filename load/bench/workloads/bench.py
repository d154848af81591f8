"""What a workload is given, and what workloads have in common."""

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from load.bench.api import TIMEOUT, Api, good, said
from load.bench.marks import Marks
from load.bench.pace import Pace
from load.bench.server import Server
from load.wire import Answer, Connection

SAMPLE = 5  # errors that are kept word by word
ERROR = 150  # characters of one
LOOK = 0.005  # seconds between two looks at the marks

Measures = dict[str, float]


@dataclass(slots=True)
class Bench:
    """One measurement of one server, which runs.

    ``errors`` counts what did not go as it should, ``samples`` has the first of them; ``others``
    is how many processors neither the server nor the generator kept busy, at most.
    """

    server: Server
    marks: Marks
    api: Api
    pace: Pace
    errors: int = 0
    samples: list[str] = field(default_factory=list)
    others: float = 0.0

    def fail(self, what: object) -> None:
        """Count an error."""
        self.errors += 1
        if len(self.samples) < SAMPLE:
            self.samples.append(str(what)[:ERROR])

    async def warm_up(self, graph: str = "noop") -> None:
        """Have the server do a first few runs, so that nothing it does once is measured."""
        await closed_loop(self, graph, at_once=10, seconds=self.pace.warm_up)


Measure = Callable[[Bench], Awaitable[Measures]]


@contextmanager
def undisturbed() -> Iterator[None]:
    """Collect the generator's garbage before, not while, something is measured."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def closed_loop(
    bench: Bench,
    graph: str,
    *,
    at_once: int,
    seconds: float,
    warm: float = 0.0,
    most: int | None = None,
    stateless: bool | None = None,
) -> list[float]:
    """Have so many clients each run a graph, wait for it, and begin anew.

    Returns how long each run took that ended in the ``seconds`` after the first ``warm`` ones; it
    ends early with ``most`` of them. A run that gives nothing is an error and not among them.
    """
    connections = [await bench.api.connect() for _ in range(at_once)]
    took: list[float] = []

    async def client(connection: Connection) -> None:
        while time.perf_counter() < end and (most is None or len(took) < most):
            request = bench.api.wait_request(graph, {"i": -1}, stateless=stateless)
            answer, connection = await answered(bench, connection, request)
            if answer is not None and counted <= answer.ended <= end:
                took.append(answer.seconds)
        connection.close()

    with undisturbed():
        counted = time.perf_counter() + warm
        end = counted + seconds
        await asyncio.gather(*map(client, connections))
    return took


async def answered(
    bench: Bench, connection: Connection, request: bytes
) -> tuple[Answer | None, Connection]:
    """Send what waits for a run; return its good answer, or None, and an open connection."""
    answer, connection = await exchanged(bench, connection, request)
    if answer is not None and not good(answer):
        bench.fail(said(answer))
        answer = None
    return answer, connection


async def exchanged(
    bench: Bench, connection: Connection, request: bytes
) -> tuple[Answer | None, Connection]:
    """Send a request; return its answer, or None, and an open connection."""
    answer = None
    try:
        async with asyncio.timeout(TIMEOUT):
            answer = await connection.exchange(request)
    except OSError as error:
        bench.fail(repr(error))
    if answer is None or not connection.reusable:
        connection.close()
        connection = await bench.api.connect()
    return answer, connection


async def until(condition: Callable[[], bool], limit: float, every: float = LOOK) -> bool:
    """Return once a condition holds, or say that it did not within ``limit`` seconds."""
    end = time.perf_counter() + limit
    while not condition():
        if time.perf_counter() > end:
            return False
        await asyncio.sleep(every)
    return True
