"""What has no end of its own ends once whoever it is for is not known any more."""

import asyncio
from collections.abc import Callable


class Revalidation:
    """Asks every so many seconds if they are ``known``, and calls ``end`` once they are not."""

    def __init__(self, known: Callable[[], bool], seconds: float, end: Callable[[], None]) -> None:
        self._known = known
        self._seconds = seconds
        self._end = end
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(seconds, self._look)

    def stop(self) -> None:
        """Ask no more."""
        self._timer.cancel()

    def _look(self) -> None:
        if self._known():
            self._timer = self._loop.call_later(self._seconds, self._look)
        else:
            self._end()
