"""When an agent that ended is started again."""

from collections import deque
from random import Random

from agents.configuration import Restarts

_JITTER = 0.25  # of a wait, taken off at most


class Backoff:
    """The waits of one seat; forgotten with it."""

    def __init__(self, policy: Restarts, rng: Random) -> None:
        self._policy = policy
        self._rng = rng
        self.failures = 0  # since it was last in health for long enough

    def next(self, healthy: float) -> float:
        """Return the seconds until the next start, after so many seconds of health.

        ``first``, doubled for every failure, ``most`` at most; up to a quarter shorter by chance,
        so that agents that ended together are not started together.
        """
        if healthy >= self._policy.reset:
            self.failures = 0
        wait = min(self._policy.most, self._policy.first * 2.0 ** min(self.failures, 32))
        self.failures += 1
        return wait * self._rng.uniform(1 - _JITTER, 1)


class Intensity:
    """The restarts of one pool: never more than ``intensity`` within ``within`` seconds."""

    def __init__(self, policy: Restarts) -> None:
        self._within = policy.within
        self._restarts: deque[float] = deque(maxlen=policy.intensity)

    def plan(self, at: float) -> float:
        """Return the first moment from ``at`` on when one more restart is allowed, and count it."""
        if len(self._restarts) == self._restarts.maxlen:
            at = max(at, self._restarts[0] + self._within)
        self._restarts.append(at)
        return at

    def clear(self) -> None:
        """Forget the past: somebody has mended it."""
        self._restarts.clear()
