"""How much a workflow, or one step of it, may use."""

import asyncio
from collections.abc import Iterator
from typing import Self

from coordinator.errors import BudgetSpent
from coordinator.spec import BudgetSection

_UNBOUNDED = BudgetSection()


def first_of(*ends: float | None) -> float | None:
    """Return which of the ends comes first; None if there is none."""
    return min((end for end in ends if end is not None), default=None)


class Budget:
    """Counts what is used, against its own bounds, if it has some, and those of ``within``."""

    def __init__(
        self, whose: str, most: BudgetSection | None = None, within: Self | None = None
    ) -> None:
        self._whose = whose
        self.most = most or _UNBOUNDED
        self._within = within
        self._began = asyncio.get_running_loop().time()
        self.steps = 0
        self.tool_calls = 0

    @property
    def deadline(self) -> float | None:
        """When the seconds are over, by the event loop; None if they are not bounded."""
        own = None if self.most.seconds is None else self._began + self.most.seconds
        outer = None if self._within is None else self._within.deadline
        return first_of(own, outer)

    def spend_step(self) -> None:
        """Take one execution of a step.

        Raises:
            BudgetSpent: there is none left, or the seconds are over. Nothing was taken.
        """
        self.require_time()
        for budget in self._all():
            budget.require("steps", budget.steps, budget.most.steps)
        self.note_spent(steps=1)

    def spend_tool_call(self) -> None:
        """Take one use of a tool; each tool of a chain is one.

        Raises:
            BudgetSpent: there is none left, or the seconds are over. Nothing was taken.
        """
        self.require_time()
        for budget in self._all():
            budget.require("tool calls", budget.tool_calls, budget.most.tool_calls)
        self.note_spent(tool_calls=1)

    def note_spent(self, *, steps: int = 0, tool_calls: int = 0) -> None:
        """Count what was used, whatever the bounds: by a run before it was cut off, say."""
        for budget in self._all():
            budget.steps += steps
            budget.tool_calls += tool_calls

    def require(self, what: str, used: int, most: int | None) -> None:
        """Refuse one more if there is none left.

        Raises:
            BudgetSpent: there is none.
        """
        if most is not None and used >= most:
            raise BudgetSpent(self._whose, what, most)

    def require_time(self) -> None:
        """Refuse to go on if the seconds are over.

        Raises:
            BudgetSpent: they are.
        """
        if self._within is not None:
            self._within.require_time()
        seconds = self.most.seconds
        if seconds is not None and asyncio.get_running_loop().time() - self._began >= seconds:
            raise BudgetSpent(self._whose, "seconds", seconds)

    def _all(self) -> Iterator[Self]:
        """Yield this one and those around it, from the outermost."""
        if self._within is not None:
            yield from self._within._all()  # noqa: SLF001 - its own kind
        yield self
