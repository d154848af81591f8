"""Those who rest until a time comes: one timer for all of them, and none for nobody."""

import asyncio
import contextvars
import heapq
from collections.abc import Callable
from itertools import count
from typing import Generic, TypeVar

T = TypeVar("T")


class Resting(Generic[T]):
    """Wakes each at its time, by calling ``wake``; the last time that was named for one counts."""

    def __init__(self, wake: Callable[[T], None]) -> None:
        self._wake = wake
        self._loop = asyncio.get_running_loop()
        self._numbers = count()
        self._heap: list[tuple[float, int, T]] = []
        self._current: dict[T, int] = {}
        self._timer: asyncio.Handle | None = None
        self._rings_at = 0.0  # uvloop's handle of a timer that is due at once does not tell

    def put(self, one: T, seconds: float) -> None:
        """Let ``one`` rest for so many seconds."""
        number = next(self._numbers)
        self._current[one] = number
        heapq.heappush(self._heap, (self._loop.time() + seconds, number, one))
        self._set()

    def discard(self, one: T) -> None:
        """Do not wake ``one``."""
        if self._current.pop(one, None) is not None:
            self._set()

    def clear(self) -> None:
        """Wake nobody any more."""
        self._current.clear()
        self._set()

    def _set(self) -> None:
        heap = self._heap
        while heap and self._current.get(heap[0][2]) != heap[0][1]:
            heapq.heappop(heap)
        if self._timer is not None and not (heap and self._rings_at == heap[0][0]):
            self._timer.cancel()
            self._timer = None
        if heap and self._timer is None:
            # In a context of its own: not that of whoever happened to come first.
            self._rings_at = heap[0][0]
            self._timer = self._loop.call_at(heap[0][0], self._ring, context=contextvars.Context())

    def _ring(self) -> None:
        self._timer = None
        now = self._loop.time()
        while self._heap and self._heap[0][0] <= now:
            _, number, one = heapq.heappop(self._heap)
            if self._current.get(one) == number:
                del self._current[one]
                self._wake(one)
        self._set()
