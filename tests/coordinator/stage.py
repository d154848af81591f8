"""Workflows in a test: on LangGraph, with tools that the test makes, on any event loop."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.runtime import RunControl
from langgraph.types import Command

from coordinator.advice import Advisor, Decision, Question, Result
from coordinator.caching import AnswerCache
from coordinator.checking import Known, checked
from coordinator.compilation import CONDUCTOR, compiled, require_steps_in
from coordinator.conductor import Circumstances, Conductor
from coordinator.crew import Crew
from coordinator.step_events import Event
from coordinator.toolbox import Use
from coordinator.zombies import Zombies

Tool = Callable[[Any, Use], Awaitable[Any]]

GRACE = 3.0  # seconds to stop
MODES = ["sequential", "parallel"]


class Tools:
    """A toolbox of functions; each use takes a tool call."""

    def __init__(self, **tools: Tool) -> None:
        self._tools = tools
        self.names = tuple(tools)

    async def use(self, name: str, arguments: Any, use: Use) -> Any:
        use.budget.spend_tool_call()
        return await self._tools[name](arguments, use)


class FirstArm:
    """Advises always the first arm, and remembers what it was asked and told."""

    def __init__(self) -> None:
        self.asked: list[Question] = []
        self.told: list[tuple[str, Result]] = []

    def choose(self, question: Question) -> Decision:
        self.asked.append(question)
        return Decision(f"d{len(self.asked)}", question.arms[0], "it comes first")

    def learn(self, decision_id: str, result: Result) -> None:
        self.told.append((decision_id, result))


@dataclass
class Stage:
    """Plays one workflow on one thread, again and again if it is told how to go on."""

    document: Mapping[str, Any]
    crew: Crew
    advisor: Advisor = field(default_factory=FirstArm)
    durability: Any = "sync"
    most: int | None = None
    events: list[Event] = field(default_factory=list)
    updates: list[Any] = field(default_factory=list)
    saver: InMemorySaver = field(default_factory=InMemorySaver)
    cache: AnswerCache | None = None
    owner: str = ""
    run_id: str | None = None
    zombies: Zombies = field(default_factory=lambda: Zombies(GRACE))

    async def play(self, given: Any, control: RunControl | None = None) -> dict[str, Any]:
        """Run it with an input, None to go on where it was cut off, or a command.

        Raises:
            GraphDrained: it stopped, as ``control`` was asked for.
        """
        plan = checked(self.document, Known())
        loop = asyncio.get_running_loop()
        self.cache = self.cache or AnswerCache(loop.time)
        around = Circumstances(
            crew=self.crew,
            advisor=self.advisor,
            cache=self.cache,
            emit=self.events.append,
            zombies=self.zombies,
            most=self.most,
            saver=self.saver,
            owner=self.owner,
            run_id=self.run_id,
        )
        conductor = Conductor(plan, around)
        graph = compiled(plan).copy(update={"checkpointer": conductor.watching(self.saver)})
        require_steps_in(graph, plan)
        config: Any = {"configurable": {"thread_id": "t", CONDUCTOR: conductor}}
        how: Any = {"stream_mode": "updates", "durability": self.durability, "control": control}
        stream = graph.astream(given, config, **how)
        async for update in stream:
            self.updates.append(update)
        return await self.state()

    async def state(self) -> dict[str, Any]:
        """Return what its thread shows."""
        plan = checked(self.document, Known())
        graph = compiled(plan).copy(update={"checkpointer": self.saver})
        config: Any = {"configurable": {"thread_id": "t"}}
        values: dict[str, Any] = (await graph.aget_state(config)).values
        return values

    async def update(self, values: Any, as_node: str | None = None) -> None:
        """Change the state of its thread, as if a step had."""
        plan = checked(self.document, Known())
        graph = compiled(plan).copy(update={"checkpointer": self.saver})
        await graph.aupdate_state({"configurable": {"thread_id": "t"}}, values, as_node)

    async def answer(self, answer: Any) -> dict[str, Any]:
        """Answer the question that it waits with, and let it go on."""
        return await self.play(Command(resume=answer))

    @property
    def questions(self) -> list[Any]:
        """What it asked, the latest last."""
        return [one.value for update in self.updates for one in update.get("__interrupt__", ())]


def workflow(*steps: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": "w", "steps": list(steps), **more}


def step(name: str, tool: str = "echo", **more: Any) -> dict[str, Any]:
    return {"id": name, "tool": tool, **more}


async def echo(arguments: Any, use: Use) -> Any:
    return arguments


class Calls:
    """Tools that remember how they were used."""

    def __init__(self) -> None:
        self.made: list[Any] = []

    async def note(self, arguments: Any, use: Use) -> Any:
        self.made.append(arguments)
        return arguments

    async def fail(self, arguments: Any, use: Use) -> Any:
        self.made.append(arguments)
        raise ValueError("as it was told")

    async def odd(self, number: int, use: Use) -> Any:
        self.made.append(number)
        if number % 2:
            raise KeyError(number)
        return number

    async def hang(self, arguments: Any, use: Use) -> Any:
        await asyncio.Event().wait()

    @property
    def crew(self) -> Crew:
        tools = Tools(note=self.note, fail=self.fail, odd=self.odd, hang=self.hang, echo=echo)
        return Crew(tools=tools)


def told(event: type) -> Any:
    return lambda one: isinstance(one, event)
