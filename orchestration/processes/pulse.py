"""How long a worker process takes to answer."""

from math import exp

FLOOR = 0.003  # seconds; less is as good as nothing
_MEMORY = 2.0  # seconds in which a peak fades to a third


class Pulse:
    """The delay of a process, told by its answers to pings: a peak counts at once, and fades.

    Times are seconds of the event loop's clock.

    Source: the load metric of "Peak EWMA" in Twitter's Finagle (a moving average, weighted
    exponentially, that follows a rise without delay).
    """

    def __init__(self) -> None:
        self._peak = 0.0
        self._at = 0.0
        self._asked_at: float | None = None

    @property
    def asked(self) -> bool:
        """Whether an answer is due."""
        return self._asked_at is not None

    def ask(self, now: float) -> None:
        """Note that a ping was sent."""
        self._asked_at = now

    def answer(self, now: float) -> None:
        """Note that the answer has come."""
        if self._asked_at is not None:
            self._peak, self._at = max(self.silence(now), self._faded(now)), now
            self._asked_at = None

    def silence(self, now: float) -> float:
        """Return for how long an answer has been due."""
        return 0.0 if self._asked_at is None else now - self._asked_at

    def held_up(self, now: float) -> bool:
        """Whether an answer is late."""
        return self.silence(now) > FLOOR

    def delay(self, now: float) -> float:
        """Return how long an answer takes by now if it is late, else how long one is likely to."""
        return self.silence(now) if self.held_up(now) else max(FLOOR, self._faded(now))

    def _faded(self, now: float) -> float:
        return self._peak * exp((self._at - now) / _MEMORY)
