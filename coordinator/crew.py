"""Who does the steps of one run, and how each kind of them is asked."""

from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from langgraph.config import get_stream_writer

from agents.client import AgentClient
from coordinator.errors import NobodyThere
from coordinator.spec import Target
from coordinator.toolbox import Toolbox, Use


class Graphs(Protocol):
    """The graphs of a service, as steps."""

    @property
    def names(self) -> Collection[str]:
        """Those that there are."""
        ...

    async def run(self, name: str, given: Any) -> Any:
        """Run a graph as a part of the graph whose node calls this; return its values as JSON.

        Raises:
            LookupError: there is no graph of that name.
            Exception: whatever the graph raised; an interrupt of its own passes through.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Crew:
    """The agents, tools and graphs that a run may use; None where the service has none."""

    agents: AgentClient | None = None
    tools: Toolbox | None = None
    graphs: Graphs | None = None

    async def do(self, target: Target, given: Any, use: Use, *, pool: str | None = None) -> Any:
        """Have it done, by an agent of ``pool`` or any that can; return what came of it.

        Raises:
            NobodyThere: the service has nothing of the kind.
            Exception: whatever went wrong.
        """
        match target.kind:
            case "agent":
                return await self._by_agent(target.name, given, use.priority, pool)
            case "tool":
                return await self._by_tool(target.name, given, use)
            case _:
                if self.graphs is None:
                    raise NobodyThere(f"there are no graphs: nobody can do {target.name!r}")
                return await self.graphs.run(target.name, given)

    async def _by_agent(self, name: str, given: Any, priority: int, pool: str | None) -> Any:
        if self.agents is None:
            raise NobodyThere(f"there are no agents: nobody can do {name!r}")
        async with self.agents.lease(name, priority=priority, pool=pool) as agent:
            return await agent.invoke(given, on_event=_writer())

    async def _by_tool(self, name: str, given: Any, use: Use) -> Any:
        if self.tools is None:
            raise NobodyThere(f"there are no tools: nobody can do {name!r}")
        return await self.tools.use(name, given, use)


def _writer() -> Callable[[Any], None] | None:
    """Return what passes on the events of an agent, to whoever streams the run."""
    with suppress(RuntimeError, KeyError):
        return get_stream_writer()
    return None
