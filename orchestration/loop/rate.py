"""A caller's rate: so many at once, refilled steadily."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a caller may still do: ``quota`` in ``window`` seconds, ``remaining`` of it now.

    ``reset`` is in how many seconds all of it is there again.
    """

    quota: int
    window: float
    remaining: int
    reset: float


class Bucket:
    """Holds what was taken, and leaks ``rate`` of it a second; full, it takes no more."""

    def __init__(self, rate: float, now: float) -> None:
        self._rate = rate
        self._capacity = max(1.0, rate)
        self._level = 0.0
        self._at = now

    def wait(self, count: int, now: float) -> float:
        """Return the seconds until there is room for ``count``; until it is empty, for too many."""
        self._leak(now)
        missing = self._level + min(count, self._capacity) - self._capacity
        return max(0.0, missing / self._rate)

    def take(self, count: int) -> None:
        """Take ``count``; what exceeds the capacity has to leak out before the next."""
        self._level += count

    def allowance(self, now: float) -> Allowance:
        """Return what can still be taken."""
        self._leak(now)
        return Allowance(
            quota=int(self._capacity),
            window=self._capacity / self._rate,
            remaining=max(0, int(self._capacity - self._level)),
            reset=self._level / self._rate,
        )

    def _leak(self, now: float) -> None:
        # Rounded: one refused over the last bit of a float would have to wait for nothing.
        self._level = round(max(0.0, self._level - (now - self._at) * self._rate), 9)
        self._at = now
