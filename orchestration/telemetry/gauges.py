"""What has a value at any time: read at a scrape, from what is at hand anyway."""

import asyncio
import math
import platform
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version

from prometheus_client import Metric
from prometheus_client.registry import Collector

from agents.pools import AgentPools
from coordinator.zombies import Zombies
from operations.database import Database
from operations.durations import Counted
from operations.errors import StorageUnavailable
from operations.logs import lines_lost
from operations.shutdown import Shutdown
from operations.telemetry.aggregator import Aggregator
from operations.telemetry.trail import Trail
from orchestration.api.meta import VERSION
from orchestration.api.sse import Streams
from orchestration.graphs.node_threads import NodeThreads
from orchestration.loop.master import MasterLoop
from orchestration.loop.run import Place
from orchestration.processes.crew import Crew
from orchestration.store.message_log import MessageLog
from orchestration.store.run_lists import count_dead
from orchestration.telemetry import instruments as names
from orchestration.telemetry.instruments import Instrument

_PATIENCE = 1.0  # seconds that a scrape waits for a turn of the event loop

_BUILD = (VERSION, platform.python_version(), version("langgraph"))

Reading = tuple[Instrument, tuple[str, ...], float | Counted]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The parts of the service that have figures to show."""

    loop: MasterLoop
    step_zombies: Zombies
    threads: NodeThreads
    agents: AgentPools
    crew: Crew | None
    telemetry: Aggregator
    trail: Trail
    database: Database
    messages: MessageLog
    streams: Streams
    shutdown: Shutdown

    @property
    def abandoned(self) -> int:
        """How many threads work for runs that are over, here and in worker processes."""
        return self.threads.abandoned + (0 if self.crew is None else self.crew.abandoned)

    def read(self) -> list[Reading]:
        """Return the figures; to be called on the event loop."""
        return [
            *self._queue(),
            (names.QUEUE_CAPACITY, (), self.loop.limits.queue_capacity),
            (names.WORKERS_BUSY, (), self.loop.working),
            (names.WORKERS_LIMIT, (), self.loop.limits.concurrent_runs),
            (names.ZOMBIE_RUNS, (), self.loop.zombies),
            (names.ZOMBIE_TOOLS, (), len(self.step_zombies)),
            (names.ABANDONED_THREADS, (), self.abandoned),
            *self._workers(),
            *self._pools(),
            *_sinks(self.telemetry),
            (names.LOG_LINES_LOST, (), lines_lost()),
            (names.AUDIT_EVENTS, (), self.trail.written),
            (names.AUDIT_FAILING, (), self.trail.failing),
            (names.TELEMETRY_SPILL, (), self.trail.held),
            *self._storage(),
            (names.EXECUTOR_QUEUE, (), self.threads.waiting),
            (names.STREAMS_OPEN, (), self.streams.open),
            (names.STREAMS_SLOW, (), self.streams.slow_closed),
            (names.STREAMS_REPLAYED, (), self.streams.replayed),
            (names.BUILD_INFO, _BUILD, 1),
            (names.SHUTDOWN_PHASE, (), self._phase),
        ]

    @property
    def _phase(self) -> int:
        phase = self.shutdown.phase
        return 0 if phase is None else phase + 1

    def _storage(self) -> Iterator[Reading]:
        for operation, durations in self.database.durations.items():
            yield names.DB_OPERATION, (operation,), durations.counted()
        yield names.DB_BUSY, (), self.database.busy
        with suppress(StorageUnavailable):  # what can be read is shown all the same
            yield names.DEAD_LETTERS, ("poison",), count_dead(self.database)
            yield names.MAILBOX_DEPTH, (), self.messages.deepest

    def _queue(self) -> Iterator[Reading]:
        now = asyncio.get_running_loop().time()
        depths: Counter[int] = Counter()
        oldest: dict[int, float] = {}
        for run in self.loop.all_live():
            if run.place is Place.WORKING:
                continue
            depths[run.priority] += 1
            if run.place is not Place.DELAYED:
                oldest[run.priority] = min(run.arrived, oldest.get(run.priority, now))
        for priority, depth in sorted(depths.items()):
            yield names.QUEUE_DEPTH, (str(priority),), depth
        for priority, arrived in sorted(oldest.items()):
            yield names.QUEUE_OLDEST_AGE, (str(priority),), now - arrived

    def _workers(self) -> Iterator[Reading]:
        if self.crew is not None:
            yield names.WORKER_PROCESSES, (), len(self.crew.ready)
            yield names.WORKER_RESTARTS, (), self.crew.restarts

    def _pools(self) -> Iterator[Reading]:
        for pool in self.agents:
            shown = pool.snapshot()
            yield names.AGENT_LEASES_WAITING, (pool.name,), shown.waiting
            for state, seats in Counter(seat.state.value for seat in shown.seats).items():
                yield names.AGENTS, (pool.name, state), seats


class Gauges(Collector):
    """Asks the event loop for figures, from the thread of a scrape.

    A loop that is blocked has none to give; what was counted is shown all the same.
    """

    def __init__(self, read: Callable[[], list[Reading]], loop: asyncio.AbstractEventLoop) -> None:
        self._read = read
        self._loop = loop

    def collect(self) -> Iterable[Metric]:
        """Yield what there is."""
        asked: Future[list[Reading]] = Future()
        self._loop.call_soon_threadsafe(self._answer, asked)
        try:
            readings = asked.result(_PATIENCE)
        except TimeoutError:
            return
        found: dict[str, Metric] = {}
        for one, labels, value in readings:
            name = one.name.removesuffix("_total")
            metric = found.setdefault(one.name, Metric(name, one.says, one.kind))
            _add(metric, one, dict(zip(one.labels, labels, strict=True)), value)
        yield from found.values()

    def _answer(self, asked: "Future[list[Reading]]") -> None:
        if asked.set_running_or_notify_cancel():
            try:
                asked.set_result(self._read())
            except Exception as error:  # noqa: BLE001 - it is for the scrape to fail, not the loop
                asked.set_exception(error)


def _add(metric: Metric, one: Instrument, labels: dict[str, str], value: float | Counted) -> None:
    if not isinstance(value, Counted):
        metric.add_sample(one.name, labels, value)
        return
    for bound, count in value.upto:
        le = "+Inf" if math.isinf(bound) else str(bound)
        metric.add_sample(f"{one.name}_bucket", {**labels, "le": le}, count)
    metric.add_sample(f"{one.name}_count", labels, value.upto[-1][1])
    metric.add_sample(f"{one.name}_sum", labels, value.seconds)


def _sinks(telemetry: Aggregator) -> Iterator[Reading]:
    yield names.TELEMETRY_RESTARTS, (), telemetry.restarts
    for importance, dropped in telemetry.dropped.items():
        yield names.TELEMETRY_DROPPED, ("all", importance.name.lower()), dropped
    for sink in telemetry.sinks:
        yield names.TELEMETRY_WAITING, (sink.name,), sink.waiting
        yield names.TELEMETRY_BUSY, (sink.name,), sink.busy
        yield names.TELEMETRY_FAILURES, (sink.name,), sink.failures
        if sink.name == Trail.name:
            lag = 0.0 if sink.oldest_at is None else time.time() - sink.oldest_at
            yield names.AUDIT_LAG, (), lag
        if sink.delivered_at is not None:
            yield names.TELEMETRY_DELIVERED, (sink.name,), sink.delivered_at
        for importance, dropped in sink.dropped.items():
            yield names.TELEMETRY_DROPPED, (sink.name, importance.name.lower()), dropped
