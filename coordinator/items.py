"""The items of a map: how many work at a time, when no more are begun, and what came of each."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from langgraph.config import get_config
from langgraph.errors import GraphBubbleUp, GraphDrained, GraphInterrupt
from langgraph.runtime import get_runtime

from coordinator.attempts import Attempts, Done
from coordinator.budget import Budget
from coordinator.conductor import Conductor, TryAgain
from coordinator.expressions import Names
from coordinator.results import StepError, described
from coordinator.spec import Step
from coordinator.tasks import task_of

_SCRATCHPAD = "__pregel_scratchpad"  # where LangGraph counts the tasks of a step


@dataclass(frozen=True, slots=True)
class Item:
    """What came of one item of a map: an output, or why there is none; and what it used."""

    output: Any
    error: StepError | None
    attempts: int
    by: str | None
    tool_calls: int = 0  # of items that were recorded before these were: not known


class _NotBegun(GraphBubbleUp):
    """An item is not to be begun. Unlike any other end of a task, this is not recorded."""


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
        self._concurrency = concurrency
        self._places = asyncio.Semaphore(concurrency)
        self._runtime = get_runtime()
        self._begins = True  # whether more are begun
        self._asked_for = 0  # how many, from the first
        self._unsure: dict[int, asyncio.Event] = {}  # asked for; were they recorded, or begin now?
        self._budget = conductor.budget_of(step)
        self._used: dict[int, Budget] = {}  # by those that were begun
        self._stops: list[GraphBubbleUp] = []

        async def nth(number: int) -> dict[str, Any]:
            if number not in self._used:  # it is not tried again
                await self._begin(number)
            return await self._one(sets[number], self._used[number])

        self._task = task_of(step, f"{step.id}.item")(nth)

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
        items = [task.result() for task in tasks]
        if not self._begins and self._step.compensation is not None:
            await self._recall(items)
        return items

    async def _in_turn(self, number: int) -> Item | None:
        async with self._places:
            # For each task that is added, LangGraph looks at all that there are.
            await self._conductor.breathe()
            if self._begins and self._runtime.drain_requested:
                self._stops.append(GraphDrained(self._runtime.drain_reason or "shutdown"))
                self._begins = False
            if not self._begins:
                return None
            self._asked_for += 1
            self._unsure[number] = asyncio.Event()
            try:
                item = await self._came_of(number)
            except _NotBegun:
                return None
            except GraphBubbleUp as stop:
                self._stops.append(stop)
                self._begins &= isinstance(stop, GraphInterrupt)
                return None
            else:
                self._begins &= item.error is None or self._step.on_error == "continue"
                return item
            finally:
                self._be_sure(number)

    async def _begin(self, number: int) -> None:
        """Return once it is certain that no item before this one was recorded as failed.

        Raises:
            _NotBegun: one was, or the run is to stop.
        """
        self._be_sure(number)
        while self._unsure and (first := next(iter(self._unsure))) < number:
            await self._unsure[first].wait()
        if not self._begins:
            raise _NotBegun
        self._used[number] = Budget(f"item {number}", within=self._budget)

    def _be_sure(self, number: int) -> None:
        if number in self._unsure:
            self._unsure.pop(number).set()

    async def _recall(self, items: list[Item | None]) -> None:
        """Fill in what was recorded of items that nobody has asked for since one failed.

        That is part of what a compensation puts right. It is the same task again, when the run is
        taken up again, only if it comes after as many others.
        """
        # Items begin in their order, and all leave something but those that are under way when
        # the run is cut off. To ask for every one would take LangGraph minutes if there are many.
        most = min(await self._conductor.recorded_tasks() + self._concurrency, len(items))
        for number in range(self._asked_for, most):
            with suppress(_NotBegun):
                items[number] = await self._came_of(number)
        count = get_config().get("configurable", {})[_SCRATCHPAD].call_counter
        for _ in range(max(self._asked_for, most), len(items)):
            count()

    async def _came_of(self, number: int) -> Item:
        item = Item(**await self._task(number))
        if number not in self._used:  # it was recorded before the run was cut off
            self._budget.note_spent(steps=item.attempts, tool_calls=item.tool_calls)
        return item

    async def _one(self, names: Names, budget: Budget) -> dict[str, Any]:
        """Do the step for one item; what failed for good is a result, too."""
        failed: StepError | None = None
        try:
            done = await Attempts(self._conductor, self._step, budget).made(names)
        except (GraphBubbleUp, TryAgain):
            raise
        except Exception as error:  # noqa: BLE001 - as for the step
            done, failed = Done(None, None, budget.steps), described(error)
        return {
            "output": done.output,
            "error": failed,
            "attempts": done.attempts,
            "by": done.by,
            "tool_calls": budget.tool_calls,
        }


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
