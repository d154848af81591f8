"""Deletes what is old, some in each write, whenever there is something that old."""

from typing import Protocol

import anyio
import structlog

from operations.alarm import Alarm, Sleep
from operations.errors import StorageUnavailable

SHORTEST_REST = 60.0  # seconds between two sweeps, if nobody says otherwise
LONGEST_REST = 3_600.0  # seconds until the wall clock is looked at again, in case it was set

_log = structlog.get_logger("masterloop")


class Ageing(Protocol):
    """Things that are deleted once they are old."""

    async def sweep(self) -> int:
        """Delete some that are too old; return how many, 0 when there are no more."""
        ...

    def next_sweep(self) -> float:
        """Return in how many seconds there is something to sweep, at the earliest."""
        ...


class Sweeper:
    """Sweeps one kind of things, named by ``what`` in the log; rests ``rest`` seconds at least."""

    def __init__(
        self,
        things: Ageing,
        what: str,
        *,
        rest: float = SHORTEST_REST,
        sleep: Sleep = anyio.sleep,
    ) -> None:
        self._things = things
        self._what = what
        self._rest = rest
        self._alarm = Alarm(sleep)
        self._closed = False

    def close(self) -> None:
        """Begin nothing more; ``run`` returns once what is under way has ended."""
        self._closed = True
        self._alarm.ring()

    async def run(self) -> None:
        """Sweep until closed."""
        while not self._closed:
            try:
                while await self._sweep_some():
                    pass
                pause = self._things.next_sweep()
            except StorageUnavailable as error:
                _log.warning("sweeping failed; trying again", what=self._what, error=str(error))
                pause = self._rest
            await self._alarm.rest(max(self._rest, min(pause, LONGEST_REST)))

    async def _sweep_some(self) -> bool:
        return not self._closed and await self._things.sweep() > 0
