"""The items of a map: how many work at a time, when no more are begun, and what came of each."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langgraph.errors import GraphBubbleUp, GraphDrained, GraphInterrupt
from langgraph.runtime import get_runtime

from coordinator.attempts import Attempts
from coordinator.conductor import Conductor, TryAgain
from coordinator.results import StepError, described
from coordinator.spec import Step
from coordinator.tasks import task_of

Names = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Item:
    """What came of one item of a map: an output, or why there is none."""

    output: Any
    error: StepError | None
    attempts: int
    by: str | None


class Items:
    """The items of a step, each a task of LangGraph's, and recorded by itself.

    ``sets`` are what the expressions of each may refer to.
    """

    def __init__(
        self, conductor: Conductor, step: Step, sets: Sequence[Names], concurrency: int
    ) -> None:
        self._conductor = conductor
        self._step = step
        self._sets = sets
        self._places = asyncio.Semaphore(concurrency)
        self._runtime = get_runtime()
        self._over = False  # whether to begin no more
        self._stops: list[GraphBubbleUp] = []

        async def nth(number: int) -> dict[str, Any]:
            return await self._one(sets[number])

        self._recorded = task_of(step, f"{step.id}.item")(nth)

    async def done(self) -> list[Item | None]:
        """Return what came of each item; None of those that were not begun, after a failure.

        Raises:
            GraphBubbleUp: some ask something, or are to stop. All that were begun have ended.
        """
        # In their order, so that each is the same task again when the run is taken up again.
        try:
            async with asyncio.TaskGroup() as group:
                numbers = range(len(self._sets))
                tasks = [group.create_task(self._in_turn(number)) for number in numbers]
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        _raise(self._stops)
        return [task.result() for task in tasks]

    async def _in_turn(self, number: int) -> Item | None:
        async with self._places:
            if self._runtime.drain_requested and not self._over:
                self._stops.append(GraphDrained(self._runtime.drain_reason or "shutdown"))
                self._over = True
            if self._over:
                return None
            try:
                item = Item(**await self._recorded(number))
            except GraphBubbleUp as stop:
                self._stops.append(stop)
                if not isinstance(stop, GraphInterrupt):
                    self._over = True
                return None
            if item.error is not None and self._step.on_error != "continue":
                self._over = True
            return item

    async def _one(self, names: Names) -> dict[str, Any]:
        """Do the step for one item; what failed for good is a result, too."""
        attempts = Attempts(self._conductor, self._step)
        try:
            done = await attempts.made(names)
        except (GraphBubbleUp, TryAgain):
            raise
        except Exception as error:  # noqa: BLE001 - as for the step
            return {
                "output": None,
                "error": described(error),
                "attempts": attempts.number,
                "by": None,
            }
        return {"output": done.output, "error": None, "attempts": done.attempts, "by": done.by}


def _raise(stops: Sequence[GraphBubbleUp]) -> None:
    """Raise what keeps items from their end: that the run is to stop, or all that they ask.

    Raises:
        GraphBubbleUp: there was something.
    """
    asked: list[Any] = []
    for stop in stops:
        if not isinstance(stop, GraphInterrupt):
            raise stop
        asked.extend(stop.args[0])
    if stops:
        raise GraphInterrupt(asked)
