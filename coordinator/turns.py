"""Whose turn it is among the steps of a run that are under way at the same time."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

from langgraph.errors import GraphDrained, GraphInterrupt

Width = Callable[[Sequence[str], int], int]


class Turns:
    """Lets steps work once what they need is there, no more at a time than ``width`` says.

    ``width`` is asked with the steps that could begin and how many work, and must not wait.
    A step whose turn cannot come ends with what LangGraph does not take for a failure: an interrupt
    that asks nothing, if what it needs waits for an answer; a drain, if the run is to stop.
    """

    def __init__(
        self, needs: Mapping[str, frozenset[str]], rank: Mapping[str, tuple[int, int]], width: Width
    ) -> None:
        self._needs = needs
        self._rank = rank
        self._width = width
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._working: set[str] = set()
        self._done: set[str] = set()
        self._stopped: set[str] = set()
        self._planned = False
        self.draining: Callable[[], bool] = lambda: False

    @property
    def able(self) -> int:
        """How many steps work, or have all that they need."""
        ready = sum(self._needs[step] <= self._done for step in self._waiting)
        return len(self._working.difference(self._waiting)) + ready

    async def wait(self, step: str) -> None:
        """Return when it is the turn of ``step``; `give_back` is to follow.

        Raises:
            GraphInterrupt: it cannot come before somebody has answered a question.
            GraphDrained: the run is to stop.
        """
        turn = self._waiting[step] = self._loop.create_future()
        self._plan()
        try:
            await turn
        finally:
            del self._waiting[step]

    def give_back(self, step: str) -> None:
        """Let another one work instead of ``step``, which has not ended."""
        self._working.discard(step)
        self._plan()

    def end(self, *steps: str) -> None:
        """Note that these have ended, and what they gave is there."""
        if steps:
            self._done.update(steps)
            self._plan()

    def stop(self, step: str) -> None:
        """Note that ``step`` gives nothing any more, in this execution of the run."""
        self._stopped.add(step)
        self.give_back(step)

    def _plan(self) -> None:
        """Look whose turn it is, once all have spoken that speak in this turn of the loop."""
        if not self._planned:
            self._planned = True
            self._loop.call_soon(self._advance)

    def _advance(self) -> None:
        self._planned = False
        waiting = [step for step, turn in self._waiting.items() if not turn.done()]
        if self.draining():
            for step in waiting:
                self._waiting[step].set_exception(GraphDrained("shutdown"))
            return
        for step in waiting:
            if self._needs[step] & self._stopped:
                self._waiting[step].set_exception(GraphInterrupt(()))
        ready = [
            step for step in waiting
            if not self._waiting[step].done() and self._needs[step] <= self._done
        ]  # fmt: skip
        if not ready:
            return
        ready.sort(key=self._rank.__getitem__)
        room = max(self._width(ready, len(self._working)), 1) - len(self._working)
        for step in ready[: max(room, 0)]:
            self._working.add(step)
            self._waiting[step].set_result(None)
