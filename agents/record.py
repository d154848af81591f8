"""What is known of how an agent has done so far."""

import math
from collections import deque
from dataclasses import dataclass

_WEIGHT = 0.2  # of the newest task in an average
_PROBES = 20  # kept


@dataclass(frozen=True, slots=True)
class Probe:
    """One probe: when it began in seconds of the event loop, how long it took, what was wrong."""

    at: float
    took: float
    error: str | None


class Record:
    """Figures of one seat, over all agents that sat on it."""

    def __init__(self) -> None:
        self.tasks = 0
        self.failures = 0
        self.restarts = 0
        self.busy = 0.0  # seconds of work
        self.latency: float | None = None  # seconds of a task that succeeded, moving average
        self.error_rate = 0.0  # moving average, 0 to 1
        self.probes: deque[Probe] = deque(maxlen=_PROBES)

    @property
    def expected(self) -> float:
        """Seconds of work until a task succeeds; 0 when nothing is known yet."""
        if self.latency is None:
            return math.inf if self.failures else 0.0
        return self.latency / max(0.01, 1 - self.error_rate)

    def worked(self, took: float, *, failed: bool) -> None:
        """Count a task."""
        self.tasks += 1
        self.failures += failed
        self.busy += took
        if not failed:
            before = took if self.latency is None else self.latency
            self.latency = before + _WEIGHT * (took - before)
        self.error_rate += _WEIGHT * (failed - self.error_rate)
