"""Deleting what has expired, from time to time. Nothing depends on when: it is hidden before."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog

from operations.errors import StorageUnavailable

_log = structlog.get_logger(__name__)


class Sweeper:
    """Calls ``sweep`` every ``period`` seconds."""

    def __init__(self, sweep: Callable[[], Awaitable[int]], period: float) -> None:
        self._sweep = sweep
        self._period = period
        self._closed = asyncio.Event()

    async def run(self) -> None:
        """Sweep until closed; what could not be swept is tried again the next time."""
        while not self._closed.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closed.wait(), self._period)
                return
            try:
                await self._sweep()
            except StorageUnavailable as error:
                _log.warning("sweeping failed", error=str(error), again_in=self._period)

    def close(self) -> None:
        """Begin no more sweeps."""
        self._closed.set()
