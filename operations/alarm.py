"""Rest until a time comes, or until somebody rings."""

import asyncio
import math
from collections.abc import Awaitable, Callable

import anyio

Sleep = Callable[[float], Awaitable[None]]


class Alarm:
    """What one worker rests by. A ring while it does not rest ends its next rest at once."""

    def __init__(self, sleep: Sleep = anyio.sleep) -> None:
        self._sleep = sleep
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """End the rest."""
        self._rung.set()

    async def rest(self, seconds: float) -> None:
        """Return after so many seconds (``math.inf``: never), or once rung."""
        async with anyio.create_task_group() as waking:
            if seconds < math.inf:
                waking.start_soon(self._ring_after, seconds)
            await self._rung.wait()
            waking.cancel_scope.cancel()
        self._rung.clear()

    async def _ring_after(self, seconds: float) -> None:
        await self._sleep(seconds)
        self.ring()
