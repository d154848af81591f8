"""A seeded event loop on virtual time: the same seed gives the same interleaving, sleeping is free.

It leans on two private parts of asyncio, `_run_once` and `_scheduled`, as CPython 3.11 to 3.14 have
them; `test_simloop.py` is the canary.
"""

import asyncio
import heapq
import selectors
import sys
from collections.abc import Callable, Coroutine, Iterator
from random import Random
from typing import Any, NoReturn, TypeVar

T = TypeVar("T")


_MEASURED = 100  # seeds: they cover what the others do, which then take a third of the time


class _NoIO(selectors.SelectSelector):
    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return super().select(0)


class SimLoop(asyncio.SelectorEventLoop):
    """Runs what is ready in an order drawn from ``seed``; jumps to the next timer when idle."""

    _ready: Any
    _scheduled: list[asyncio.TimerHandle]

    def __init__(self, seed: int) -> None:
        super().__init__(_NoIO())
        self.rng = Random(seed)
        self.after_step: Callable[[], None] = lambda: None
        self._now = 0.0

    def time(self) -> float:
        return self._now

    def run_in_executor(self, *_: Any) -> NoReturn:  # type: ignore[override]
        raise RuntimeError("there are no threads in a simulation")

    def _run_once(self) -> None:
        timers = self._scheduled
        while timers and timers[0].cancelled():
            heapq.heappop(timers)._scheduled = False  # type: ignore[attr-defined]  # noqa: SLF001 - as asyncio does
        if not self._ready and timers:
            self._now = max(self._now, timers[0].when())
        ready = list(self._ready)
        self.rng.shuffle(ready)
        self._ready.clear()
        self._ready.extend(ready)
        super()._run_once()  # type: ignore[misc]
        self.after_step()


def simulate(seed: int, main: Callable[[SimLoop], Coroutine[Any, Any, T]]) -> T:
    """Run ``main`` to its end under ``seed``; nothing may be raised meanwhile that nobody sees."""
    loop = SimLoop(seed)
    unseen: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: unseen.append(context))
    try:
        result = loop.run_until_complete(main(loop))
        assert not unseen, unseen
        return result
    finally:
        loop.after_step = lambda: None
        while left := asyncio.all_tasks(loop):  # one that ends may let another begin
            for task in left:
                task.cancel()
            loop.run_until_complete(asyncio.wait(left))
        loop.close()


def seeds(*bounds: int) -> Iterator[int]:
    """Yield the numbers of a range; of the first hundred alone it is measured what they cover."""
    trace = sys.gettrace()
    try:
        for count, seed in enumerate(range(*bounds)):
            if count == _MEASURED:
                sys.settrace(None)
            yield seed
    finally:
        sys.settrace(trace)
