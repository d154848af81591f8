"""A store that belongs to an event loop, for the threads of sync nodes too."""

import asyncio
from collections.abc import Iterable

from langgraph.store.base import BaseStore, Op, Result


class LoopBoundStore(BaseStore):
    """A store of the event loop that makes it, with `abatch` to be written.

    Threads of sync nodes use the sync methods, which wait for that loop.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Do what `abatch` does, for a thread other than the event loop's.

        Raises:
            asyncio.InvalidStateError: this is the event loop's thread, which would wait for itself.
        """
        try:
            here: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        if here is self._loop:
            raise asyncio.InvalidStateError(
                "the store was called synchronously in an async node, which would hold up every "
                "run: use the method that begins with 'a', such as `await store.aput(...)`"
            )
        return asyncio.run_coroutine_threadsafe(self.abatch(list(ops)), self._loop).result()
