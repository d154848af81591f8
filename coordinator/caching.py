"""What steps have given, for a while: a step with the same key need not work again."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

MOST_ENTRIES = 1_024


class ResultCache:
    """The latest results by key; of too many, the one that was used longest ago goes."""

    def __init__(self, clock: Callable[[], float], most: int = MOST_ENTRIES) -> None:
        self._clock = clock
        self._most = most
        self._entries: OrderedDict[str, tuple[float, Any]] = OrderedDict()

    def get(self, key: str) -> tuple[Any] | None:
        """Return what is kept, in a tuple; None if there is nothing, or its time is over."""
        found = self._entries.get(key)
        if found is None:
            return None
        ends, value = found
        if self._clock() >= ends:
            del self._entries[key]
            return None
        self._entries.move_to_end(key)
        return (value,)

    def put(self, key: str, value: Any, ttl: float) -> None:
        """Keep a value for ``ttl`` seconds."""
        self._entries[key] = (self._clock() + ttl, value)
        self._entries.move_to_end(key)
        while len(self._entries) > self._most:
            self._entries.popitem(last=False)
