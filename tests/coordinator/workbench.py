"""Tools made of functions that do as the test says, on virtual time."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from random import Random
from typing import Any, TypeVar

from pydantic import TypeAdapter

from agents.client import AgentClient
from coordinator.advisor import BanditAdvisor, Cause
from coordinator.budget import Budget
from coordinator.events import Event, ToolLeft
from coordinator.spec import BudgetSection
from coordinator.toolbox import Use
from coordinator.tools.box import ConfiguredTools
from coordinator.tools.configuration import Tools
from coordinator.zombies import Zombies
from tests.coordinator.environment import Notes, silent
from tests.simulation.simloop import simulate

T = TypeVar("T")
NO = ValueError("no")
GRACE = 3.0  # seconds to stop


class Workbench:
    """Tools, and what they did: every function waits, fails and answers as ``scripts`` say.

    A function is named ``"test:NAME"``; of a script that is used up, the last line goes on. A line
    is how many seconds it takes, or the error that comes of it.
    """

    def __init__(
        self, tools: Mapping[str, Any], functions: Mapping[str, Callable[..., Any]] | None = None
    ) -> None:
        self.functions = functions or {}
        self.scripts: dict[str, list[float | Exception]] = {}
        self.calls: Counter[str] = Counter()
        self.working = self.most_working = 0
        self.log: list[str] = []
        self.events: list[Event] = []
        self.owners: dict[str, str] = {}
        self.advisor = BanditAdvisor(silent, Notes(), Random(1))
        self.zombies = Zombies(GRACE)
        self.box = ConfiguredTools(
            TypeAdapter(Tools).validate_python(tools),
            self._load,
            self.advisor,
            self.events.append,
            cause_of=lambda run: Cause(self.owners.get(run)),
            time=asyncio.get_running_loop().time,
            zombies=self.zombies,
        )

    @property
    def left(self) -> list[Event]:
        """What was told of tools that do not stop."""
        return [event for event in self.events if isinstance(event, ToolLeft)]

    async def use(  # noqa: PLR0917 - what a step may say
        self,
        name: str,
        arguments: Any = None,
        most: BudgetSection | None = None,
        deadline: float | None = None,
        agents: AgentClient | None = None,
        run_id: str = "run",
    ) -> Any:
        use = Use(
            workflow="w",
            step="s",
            run_id=run_id,
            priority=5,
            budget=Budget("workflow 'w'", most),
            deadline=deadline,
            agents=agents,
        )
        return await self.box.use(name, arguments, use)

    def _load(self, reference: str, tool: str) -> Callable[..., Any]:
        name = reference.partition(":")[2]
        if name in self.functions:
            return self.functions[name]

        async def function(*given: Any, **named: Any) -> Any:
            self.calls[name] += 1
            self.log.append(f"{name} begins")
            self.working += 1
            self.most_working = max(self.most_working, self.working)
            script = self.scripts.get(name, [0.0])
            line = script.pop(0) if len(script) > 1 else script[0]
            try:
                if isinstance(line, Exception):
                    raise line
                await asyncio.sleep(line)
            finally:
                self.working -= 1
            self.log.append(f"{name} ends")
            return {"by": name, "given": named or (given[0] if given else None)}

        return function


def function(name: str, **more: Any) -> dict[str, Any]:
    """Return the section of a tool that is a function."""
    return {"kind": "function", "function": f"test:{name}", **more}


def working(
    tools: Mapping[str, Any],
    play: Callable[[Workbench], Coroutine[Any, Any, T]],
    functions: Mapping[str, Callable[..., Any]] | None = None,
) -> T:
    """Return what ``play`` returns, on virtual time."""

    async def main(_: object) -> T:
        return await play(Workbench(tools, functions))

    return simulate(1, main)


def now() -> float:
    return asyncio.get_running_loop().time()
