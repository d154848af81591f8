"""Whose turn it is to change a thread from outside of its runs."""

import asyncio
from weakref import WeakValueDictionary


class Turns:
    """Has requests that change the same thread wait for one another; no run takes part."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def of(self, thread_id: str) -> asyncio.Lock:
        """Return the lock of a thread, which is there as long as anybody has it or waits for it."""
        return self._locks.setdefault(thread_id, asyncio.Lock())
