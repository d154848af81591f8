"""One use of a tool with all that it needs: each is done once, independent ones at once."""

import asyncio
import copy
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Literal, Self

from coordinator.budget import Budget
from coordinator.toolbox import Use

Do = Callable[[str, "Chain"], Awaitable[Any]]
Source = Literal["cache", "fallback"]


class Chain:
    """What a chain was given, and what its tools have given so far.

    ``sources`` are of what tools have not given themselves.
    """

    def __init__(self, arguments: Any, use: Use, budget: Budget) -> None:
        self.arguments = arguments
        self.use = use
        self.budget = budget
        self.sources: dict[str, Source] = {}
        self._given: dict[str, asyncio.Future[Any]] = {}

    def within(self, budget: Budget) -> Self:
        """Return the same chain, for those who have a budget of their own."""
        chain = copy.copy(self)
        chain.budget = budget
        return chain

    async def all_of(self, names: Iterable[str], do: Do) -> dict[str, Any]:
        """Return what tools give, by their names, having them work at once.

        If one fails, the others are cancelled.
        """
        try:
            async with asyncio.TaskGroup() as group:
                tasks = {name: group.create_task(self.once(name, do)) for name in names}
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return {name: task.result() for name, task in tasks.items()}

    async def once(self, name: str, do: Do) -> Any:
        """Return what a tool gives, having it work only if it has not done so in this chain."""
        while (known := self._given.get(name)) is not None:
            await asyncio.wait({known})  # leaves it alone if we are cancelled
            if not known.cancelled():
                return known.result()
        given = self._given[name] = asyncio.get_running_loop().create_future()
        try:
            value = await do(name, self)
        except asyncio.CancelledError:
            # With whoever asked first: others who ask have it done again.
            del self._given[name]
            given.cancel()
            raise
        except BaseException as error:
            given.set_exception(error)
            given.exception()  # looked at: whoever asks as well gets it, too
            raise
        given.set_result(value)
        return value
