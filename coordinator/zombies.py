"""Functions and graphs that do not stop: they are waited for no longer, and counted."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from coordinator.errors import CancelledItself


class Zombies:
    """What has ignored its cancellation for ``grace`` seconds, as long as it goes on."""

    def __init__(self, grace: float) -> None:
        self._grace = grace
        self._tasks: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    async def outcome(self, work: Coroutine[Any, Any, Any], left: Callable[[], None]) -> Any:
        """Return what comes of ``work``, which has a task of its own.

        If we are cancelled, so is that, once; what comes of it then is nobody's. ``left`` is called
        if it does not stop.

        Raises:
            CancelledItself: it has cancelled itself.
        """
        task = asyncio.create_task(work)
        try:
            await asyncio.wait({task})
            if task.cancelled():
                raise CancelledItself
            return task.result()
        except asyncio.CancelledError:
            task.add_done_callback(self._ended)
            task.cancel()
            if not await self._stops(task):
                self._tasks.add(task)
                left()
            raise
        finally:
            del task  # its error's traceback has this frame: a circle, left to the collector

    async def _stops(self, task: asyncio.Task[Any]) -> bool:
        loop = asyncio.get_running_loop()
        end = loop.time() + self._grace
        while not task.done() and (rest := end - loop.time()) > 0:
            # Several deadlines around it may be due: each cancels us, and means the same.
            with suppress(asyncio.CancelledError):
                await asyncio.wait({task}, timeout=rest)
        return task.done()

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # seen: nobody asks for it
