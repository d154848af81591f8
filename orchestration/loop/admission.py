"""Who may submit, and how much of a caller's work may run at once."""

from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

from orchestration.loop.errors import QueueFull, RateLimited, Restricted
from orchestration.loop.rate import Allowance, Bucket
from orchestration.loop.run import NORMAL_PRIORITY, Run

SUSPECT = "suspect"
_CALLERS = 1_000  # rates kept, those of the most recent callers
_ANONYMOUS = "the anonymous tenant"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The bounds of the loop. Times in seconds."""

    concurrent_runs: int = 100
    queue_capacity: int = 10_000  # runs
    ageing: float = 60.0
    cancel_grace: float = 10.0
    drain_grace: float = 10.0  # of runs of normal priority
    drain_grace_critical: float = 15.0
    crash_limit: int = 3  # runs found running after that many crashes are poison
    run_timeout: float | None = None
    submit_rate: float | None = None  # runs a second and tenant
    runs_per_assistant: int | None = None
    runs_per_tenant: int | None = None
    assistant_runs: Mapping[str, int] = field(default_factory=dict[str, int])  # by graph
    assistant_timeouts: Mapping[str, float] = field(default_factory=dict[str, float])  # by graph

    def keys(self, run: Run) -> tuple[str, ...]:
        """Return the names of the limits that ``run`` counts against.

        A run that was found running after all crashes but one of the limit is a suspect; suspects
        run one at a time, so that the next crash tells which of them is the poison.
        """
        keys: list[str] = []
        if run.graph_id in self.assistant_runs or self.runs_per_assistant is not None:
            keys.append(f"assistant:{run.graph_id}")
        if run.tenant is not None and self.runs_per_tenant is not None:
            keys.append(f"tenant:{run.tenant}")
        if self.suspects(run):
            keys.append(SUSPECT)
        return tuple(keys)

    def suspects(self, run: Run) -> bool:
        """Return whether one more crash would make ``run`` a dead letter."""
        return run.crashes > 0 and run.crashes >= self.crash_limit - 1

    def limit(self, key: str) -> int:
        """Return how many runs may work at once under the limit named ``key``."""
        kind, _, name = key.partition(":")
        if kind == "assistant":
            limit = self.assistant_runs.get(name, self.runs_per_assistant)
        else:
            limit = self.runs_per_tenant if kind == "tenant" else 1
        return limit if limit is not None else self.concurrent_runs

    def timeout(self, run: Run) -> float | None:
        """Return the deadline of one attempt: the run's own, its assistant's, the default."""
        if run.timeout is not None:
            return run.timeout
        return self.assistant_timeouts.get(run.graph_id, self.run_timeout)


class Admission:
    """Refuses what the queue has no room for, and callers above their rate."""

    def __init__(self, limits: Limits, rng: Random, clock: Callable[[], float]) -> None:
        self._limits = limits
        self._rng = rng
        self._clock = clock
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()
        self._rate = 0.0  # runs finished a second, averaged over about a minute
        self._last = clock()
        self.restricted: str | None = None  # why no runs of low priority are taken

    def admit(self, runs: Sequence[Run], waiting: int) -> None:
        """Let ``runs`` in, all or none, where ``waiting`` others wait already.

        Raises:
            QueueFull: there is no room.
            Restricted: one is of low priority, and such are not taken now.
            RateLimited: their tenant submits too fast.
        """
        if waiting + len(runs) > self._limits.queue_capacity:
            raise self.queue_full()
        if self.restricted and any(run.priority > NORMAL_PRIORITY for run in runs):
            raise Restricted(self.restricted, self.retry_after())
        rate = self._limits.submit_rate
        if rate is None:
            return
        counts = Counter(run.tenant or _ANONYMOUS for run in runs)
        now = self._clock()
        for key, count in counts.items():
            bucket = self._bucket(key, rate, now)
            wait = bucket.wait(count, now)
            if wait > 0:
                raise RateLimited(key, rate, self._jittered(wait), bucket.allowance(now))
        for key, count in counts.items():
            self._bucket(key, rate, now).take(count)

    def queue_full(self) -> QueueFull:
        """Return the refusal of what the queue has no room for."""
        return QueueFull(self._limits.queue_capacity, self.retry_after())

    def allowance(self, tenant: str | None) -> Allowance | None:
        """Return what a tenant may still submit; None if there is no limit."""
        rate = self._limits.submit_rate
        if rate is None:
            return None
        now = self._clock()
        return self._bucket(tenant or _ANONYMOUS, rate, now).allowance(now)

    def _bucket(self, key: str, rate: float, now: float) -> Bucket:
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = Bucket(rate, now)
            if len(self._buckets) > _CALLERS:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(key)
        return bucket

    def finished(self) -> None:
        """Count a run that left, for the estimate of when there is room again."""
        now = self._clock()
        weight = 0.5 ** ((now - self._last) / 30.0)
        self._rate = self._rate * weight + (1 - 0.5 ** (1 / 30.0))
        self._last = now

    def retry_after(self) -> float:
        """Return when a tenth of the queue will have drained, in seconds, jittered by half."""
        tenth = max(1.0, self._limits.queue_capacity / 10)
        return self._jittered(min(60.0, tenth / self._rate if self._rate > 0 else 5.0))

    def _jittered(self, seconds: float) -> float:
        return max(1.0, seconds * self._rng.uniform(0.75, 1.25) + self._rng.uniform(0.0, 1.0))
