"""How long things took, counted in buckets: what is too frequent to be told one by one."""

from bisect import bisect_left
from collections.abc import Sequence
from threading import Lock
from typing import NamedTuple

BOUNDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)


class Counted(NamedTuple):
    """How many took so many ``seconds`` at most, for each bound, and all of them together."""

    upto: Sequence[tuple[float, int]]  # seconds; the last bound is infinite
    seconds: float


class Durations:
    """Counts durations; any thread may add, at the cost of half a microsecond."""

    def __init__(self, bounds: Sequence[float] = BOUNDS) -> None:
        self._bounds = (*bounds, float("inf"))
        self._counts = [0] * len(self._bounds)
        self._seconds = 0.0
        self._lock = Lock()

    def add(self, seconds: float) -> None:
        """Count one."""
        place = bisect_left(self._bounds, seconds)
        with self._lock:
            self._counts[place] += 1
            self._seconds += seconds

    def counted(self) -> Counted:
        """Return what was counted until now."""
        with self._lock:
            counts, seconds = list(self._counts), self._seconds
        total, upto = 0, list[tuple[float, int]]()
        for bound, count in zip(self._bounds, counts, strict=True):
            total += count
            upto.append((bound, total))
        return Counted(upto, seconds)
