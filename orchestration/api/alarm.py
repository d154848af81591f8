"""A timer for waits that follow closely upon one another and nearly all end in time."""

import asyncio
import math
from collections.abc import Callable


class Alarm:
    """Calls ``ring`` once nothing has set it anew for the seconds it was last set to.

    To set it later costs no timer: the one that is running looks again when it is due.
    """

    __slots__ = ("_due", "_loop", "_ring", "_timer", "_when")

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._when = math.inf  # of that timer
        self._due = math.inf

    def set(self, seconds: float) -> None:
        """Ring after so many seconds instead."""
        self._due = self._loop.time() + seconds
        if self._due < self._when:
            self._start()

    def stop(self) -> None:
        """Never ring, unless it is set again."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._when = None, math.inf

    def _start(self) -> None:
        self.stop()
        self._when = self._due
        self._timer = self._loop.call_at(self._due, self._look)

    def _look(self) -> None:
        early = self._loop.time() < self._due
        self._timer, self._when = None, math.inf
        if early:
            self._start()
        else:
            self._ring()
