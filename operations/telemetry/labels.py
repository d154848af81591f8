"""How many values a label may have: what grows without bound would take the scraper down too."""

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

OTHER = "other"
T = TypeVar("T", bound=Hashable)


class Guard(Generic[T]):
    """Lets so many values of one label, or of some together, through.

    A value keeps its place while it is seen again within ``ttl`` seconds. After that its place is
    for the next new one: ``forget`` is told, so that its series can go. Of one thread only.
    """

    def __init__(
        self,
        most: int,
        ttl: float,
        clock: Callable[[], float],
        forget: Callable[[T], None],
    ) -> None:
        self._most = most
        self._ttl = ttl
        self._clock = clock
        self._forget = forget
        self._seen: dict[T, float] = {}  # the least recently seen first

    def __call__(self, value: T) -> T | None:
        """Return ``value`` if it is let through."""
        now = self._clock()
        if self._seen.pop(value, None) is None and not self._place(now):
            return None
        self._seen[value] = now
        return value

    def _place(self, now: float) -> bool:
        if len(self._seen) < self._most:
            return True
        oldest = next(iter(self._seen))
        if now - self._seen[oldest] < self._ttl:
            return False
        del self._seen[oldest]
        self._forget(oldest)
        return True
