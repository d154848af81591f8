"""The port: what tools are to a step that uses them."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Protocol

from agents.client import AgentClient
from coordinator.budget import Budget


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """On whose behalf a tool, an agent or a graph is used, and what that may take.

    ``deadline`` is seconds of the event loop, None for no bound; ``agents`` are those that the
    run may lease, None if the service has none.
    """

    workflow: str
    step: str
    run_id: str | None
    priority: int
    budget: Budget
    deadline: float | None = None
    agents: AgentClient | None = None


class Toolbox(Protocol):
    """The tools and chains of tools of a service, by name."""

    @property
    def names(self) -> Collection[str]:
        """What can be used."""
        ...

    async def use(self, name: str, arguments: Any, use: Use) -> Any:
        """Use a tool or a chain with JSON and return the JSON that comes of it.

        Each tool that works takes a tool call of ``use.budget`` first; an answer from a cache
        takes none. Cancelled, it returns when the work has stopped, or is left behind as it does
        not.

        Raises:
            LookupError: there is no tool of that name.
            BudgetSpent: a tool call was needed, and none is left.
            ToolFailed: the tool did not do it, and neither did its fallback.
        """
        ...
