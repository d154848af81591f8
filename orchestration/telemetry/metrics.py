"""Metrics for Prometheus: a sink that counts what happens."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from time import monotonic
from typing import Any

from prometheus_client import CollectorRegistry, Metric, ProcessCollector, generate_latest
from prometheus_client.registry import Collector

from agents import events as agents
from coordinator.events import ToolLeft
from coordinator.step_events import GraphLeft
from operations.telemetry import events as process
from operations.telemetry.labels import OTHER, Guard
from operations.telemetry.record import Record
from orchestration.api import events as api
from orchestration.graphs.steps import NodeEnded
from orchestration.loop import events as loop
from orchestration.telemetry import instruments as names
from orchestration.telemetry.instruments import Instrument
from orchestration.telemetry.series import Count, Family, Spread

# Labels whose values others make up, and how many of them have series of their own. The rest have
# as many values as there are words in our code.
_BOUNDS: Mapping[str, int] = {
    "assistant": 200, "pool": 100, "mailbox": 100, "reason": 50, "route": 200,
}  # fmt: skip
_NODES = 500  # of all graphs together, that have series of their own
_TTL = 3_600.0  # seconds without being seen, after which a value gives up its series
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_Letter = agents.MessageDelivered | agents.MessageRetried | agents.MessageDead


class Metrics(Collector):
    """Counts events, and shows what it counted beside what is read: that is in its ``registry``."""

    name = "metrics"

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self.registry)
        self._families = {one.name: Family(one) for one in names.ALL if not one.read}
        self._guards = {
            label: Guard[str](most, _TTL, clock, partial(self._forget_value, label))
            for label, most in _BOUNDS.items()
        }
        self._passed: dict[tuple[str, str], str] = {}  # what the guards said in this batch
        self._looked_up: dict[tuple[Any, ...], Sequence[Count | Spread]] = {}  # in this batch, too
        self._nodes = Guard[tuple[str, str]](_NODES, _TTL, clock, self._forget_node)
        self._assistant = partial(self._guarded, "assistant")
        self._reason = partial(self._guarded, "reason")
        self._pool = partial(self._guarded, "pool")
        # What is called for each type of event; of the others nothing is counted.
        self._counted: Mapping[type, Callable[[Any], None]] = {
            loop.RunAccepted: self._run_accepted,
            loop.RunRejected: self._run_rejected,
            loop.RunStarted: self._run_started,
            loop.RunEnded: self._run_ended,
            loop.RunRequeued: self._run_requeued,
            loop.StopRequested: self._stop_requested,
            loop.ZombieLeft: self._zombie_left,
            ToolLeft: self._zombie_left,
            GraphLeft: self._zombie_left,
            loop.RunsRecovered: self._runs_recovered,
            loop.RunCrashed: self._run_crashed,
            loop.LeaseLost: self._lease_lost,
            loop.WriteFailed: self._write_failed,
            NodeEnded: self._node_ended,
            api.RequestsAnswered: self._requests_answered,
            agents.SeatReady: self._seat_ready,
            agents.StartMissed: self._start_missed,
            agents.SeatLost: self._seat_lost,
            agents.ProbeDone: self._probe_done,
            agents.LeaseGranted: self._lease_granted,
            agents.LeaseRefused: self._lease_refused,
            agents.TaskEnded: self._task_ended,
            agents.MessageDelivered: partial(self._message, "delivered"),
            agents.MessageRetried: partial(self._message, "retried"),
            agents.MessageDead: partial(self._message, "dead"),
            process.LoopTurned: self._loop_turned,
            process.LoopBlocked: self._loop_blocked,
        }

    @property
    def kinds(self) -> Collection[type]:
        """The events that are counted."""
        return self._counted.keys()

    def take(self, batch: Sequence[Record]) -> None:
        """Count what happened."""
        self._passed.clear()
        self._looked_up.clear()
        counted = self._counted
        for _, _, _, event, _ in batch:
            counted[type(event)](event)

    def close(self, grace: float) -> None:
        """Do nothing: nothing is held."""

    def text(self) -> bytes:
        """Return all metrics as Prometheus reads them; for whatever thread has time for it."""
        lines = [line for family in self._families.values() for line in family.lines()]
        return "".join(lines).encode() + generate_latest(self.registry)

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics as Prometheus's client has them."""
        for family in self._families.values():
            yield family.metric()
        yield from self.registry.collect()

    def _series(self, instrument: Instrument, *values: str) -> Count | Spread:
        return self._families[instrument.name].series(values)

    def _count(self, instrument: Instrument, *values: str) -> None:
        self._series(instrument, *values).add(1)

    def _observe(self, instrument: Instrument, value: float, *values: str) -> None:
        self._series(instrument, *values).add(value)

    def _guarded(self, label: str, value: str) -> str:
        key = label, value
        passed = self._passed.get(key)
        if passed is None:
            passed = self._passed[key] = self._guards[label](value) or OTHER
        return passed

    def _forget_value(self, label: str, value: str) -> None:
        for family in self._families.values():
            family.forget({label: value})

    def _forget_node(self, labels: tuple[str, str]) -> None:
        wanted = dict(zip(names.NODE_DURATION.labels, labels, strict=True))
        self._families[names.NODE_DURATION.name].forget(wanted)

    # Of these three there is one of each for every run: their series are looked up once a batch.

    def _run_accepted(self, event: loop.RunAccepted) -> None:
        key = loop.RunAccepted, event.graph_id, event.priority, event.source
        found = self._looked_up.get(key)
        if found is None:
            labels = self._assistant(event.graph_id), str(event.priority), event.source
            found = self._looked_up[key] = (self._series(names.RUNS_CREATED, *labels),)
        found[0].add(1)

    def _run_started(self, event: loop.RunStarted) -> None:
        key = loop.RunStarted, event.attempt == 1, event.priority
        found = self._looked_up.get(key)
        if found is None:
            which = "first" if event.attempt == 1 else "resumed"
            found = self._looked_up[key] = (
                self._series(names.RUN_ATTEMPTS, which),
                self._series(names.RUN_QUEUE_WAIT, str(event.priority)),
            )
        found[0].add(1)
        found[1].add(event.waited)

    def _run_ended(self, event: loop.RunEnded) -> None:
        if not event.attempt:  # it never began
            self._count(names.RUNS_FINISHED, self._assistant(event.graph_id), event.status)
            return
        key = loop.RunEnded, event.graph_id, event.status
        found = self._looked_up.get(key)
        if found is None:
            labels = self._assistant(event.graph_id), event.status
            found = self._looked_up[key] = (
                self._series(names.RUNS_FINISHED, *labels),
                self._series(names.RUN_DURATION, *labels),
            )
        found[0].add(1)
        found[1].add(event.took)

    def _requests_answered(self, event: api.RequestsAnswered) -> None:
        route = self._guarded("route", event.route)
        method = event.method if event.method in _METHODS else OTHER
        requests = self._series(names.HTTP_REQUESTS, route, method, str(event.status))
        requests.add(len(event.took))
        duration = self._series(names.HTTP_DURATION, route, method)
        for took in event.took:
            duration.add(took)

    def _run_rejected(self, event: loop.RunRejected) -> None:
        self._count(names.QUEUE_REJECTED, self._reason(event.reason))

    def _run_requeued(self, _: loop.RunRequeued) -> None:
        self._count(names.RUNS_REQUEUED)

    def _stop_requested(self, event: loop.StopRequested) -> None:
        self._count(names.RUNS_STOPPED, event.ending.value)

    def _zombie_left(self, _: object) -> None:
        self._count(names.ZOMBIES_LEFT)

    def _runs_recovered(self, event: loop.RunsRecovered) -> None:
        found = {"waiting": event.waiting, "crash" if event.crashed else "stop": event.working}
        for cause, runs in found.items():
            self._families[names.RUNS_RECOVERED.name].series((cause,)).add(runs)

    def _run_crashed(self, _: loop.RunCrashed) -> None:
        self._count(names.RUNS_RECOVERED, "worker")

    def _lease_lost(self, _: loop.LeaseLost) -> None:
        self._count(names.LEASE_LOST)

    def _node_ended(self, event: NodeEnded) -> None:
        node = self._assistant(event.graph_id), event.node
        self._observe(names.NODE_DURATION, event.took, *(self._nodes(node) or (node[0], OTHER)))

    def _write_failed(self, event: loop.WriteFailed) -> None:
        self._count(names.WRITE_FAILURES, self._reason(event.reason))

    def _seat_ready(self, event: agents.SeatReady) -> None:
        self._observe(names.AGENT_START, event.took, self._pool(event.pool))

    def _start_missed(self, event: agents.StartMissed) -> None:
        self._count(names.AGENT_START_FAILURES, self._pool(event.pool))

    def _seat_lost(self, event: agents.SeatLost) -> None:
        self._count(names.AGENT_RESTARTS, self._pool(event.pool))

    def _probe_done(self, event: agents.ProbeDone) -> None:
        pool = self._pool(event.pool)
        self._observe(names.AGENT_PROBE, event.took, pool)
        if event.error is not None:
            self._count(names.AGENT_PROBE_FAILURES, pool)

    def _lease_granted(self, event: agents.LeaseGranted) -> None:
        self._observe(names.AGENT_LEASE_WAIT, event.waited, self._pool(event.pool))

    def _lease_refused(self, event: agents.LeaseRefused) -> None:
        labels = self._pool(event.pool), self._reason(event.reason)
        self._count(names.AGENT_LEASES_REFUSED, *labels)

    def _task_ended(self, event: agents.TaskEnded) -> None:
        result = "success" if event.error is None else "error"
        self._observe(names.AGENT_TASK, event.took, self._pool(event.pool), result)

    def _message(self, result: str, event: _Letter) -> None:
        self._count(names.MESSAGES, self._guarded("mailbox", event.mailbox), result)

    def _loop_turned(self, event: process.LoopTurned) -> None:
        for late in event.late:
            self._observe(names.LOOP_LAG, late)

    def _loop_blocked(self, _: process.LoopBlocked) -> None:
        self._count(names.LOOP_BLOCKED)
