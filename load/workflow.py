"""What a declared workflow costs beside the same graph written by hand.

    .venv/bin/python load/workflow.py [ROUNDS]

Five steps, one after the other, each of which gives a little JSON; checkpoints in memory. The two
take turns in short windows, so that what else the machine does falls on both alike; the ratio is
that of the medians of all runs. Then how long a workflow of 50 steps takes to check and to compile.
"""

import asyncio
import copy
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Annotated, Any
from uuid import uuid4

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from typing_extensions import TypedDict

from coordinator.advice import Decision, Question, Result
from coordinator.caching import AnswerCache
from coordinator.checking import Known, checked
from coordinator.compilation import CONDUCTOR, compiled
from coordinator.conductor import Circumstances, Conductor
from coordinator.crew import Crew
from coordinator.results import merged
from coordinator.toolbox import Use
from coordinator.zombies import Zombies

WINDOW = 20  # runs of one kind before the other has its turn
STEPS = 5
Play = Callable[[], Awaitable[Any]]


class Tools:
    """One tool, which gives what it is given."""

    names = ("echo",)

    async def use(self, name: str, arguments: Any, use: Use) -> Any:  # noqa: ARG002 - the port's
        """Give it back."""
        use.budget.spend_tool_call()
        return await echo(arguments)


class Nobody:
    """An advisor that is not asked."""

    def choose(self, question: Question) -> Decision:
        """Nothing here has a choice."""
        raise NotImplementedError(question)

    def learn(self, decision_id: str, result: Result) -> None:
        """Nothing was chosen."""


async def echo(given: Any) -> Any:
    """Do what each step does."""
    return given


def document(count: int, mode: str) -> dict[str, Any]:
    """Return a workflow of so many steps, each with what the one before gave."""
    inputs = ["{{ input.text }}", *(f"{{{{ steps.s{n}.output.text }}}}" for n in range(count - 1))]
    steps = [
        {"id": f"s{number}", "tool": "echo", "input": {"text": given}}
        for number, given in enumerate(inputs)
    ]
    return {"name": "five", "mode": mode, "steps": steps}


def declared(mode: str) -> Play:
    """Return what runs the declared workflow, as the server does."""
    plan = checked(document(STEPS, mode), Known())
    graph, saver = compiled(plan), InMemorySaver()
    crew, cache = Crew(tools=Tools()), AnswerCache(time.monotonic)

    async def play() -> Any:
        around = Circumstances(
            crew=crew,
            advisor=Nobody(),
            cache=cache,
            emit=lambda _: None,
            zombies=Zombies(0.0),
            saver=saver,
        )
        conductor = Conductor(plan, around)
        ready = copy.copy(graph)
        ready.checkpointer = conductor.watching(saver)
        config: Any = {"configurable": {"thread_id": str(uuid4()), CONDUCTOR: conductor}}
        return await ready.ainvoke({"text": "x"}, config, durability="sync")

    return play


def by_hand() -> Play:
    """Return what runs the same graph, written with LangGraph alone."""

    class State(TypedDict):
        text: Any
        steps: Annotated[dict[str, Any], merged]

    def node(number: int) -> Any:
        async def step(state: Any) -> Any:
            before = state["steps"][f"s{number - 1}"]["output"] if number else state
            output = await echo({"text": before["text"]})
            return {"steps": {f"s{number}": {"status": "done", "output": output}}}

        return step

    builder: Any = StateGraph(State)
    names = [f"s{number}" for number in range(STEPS)]
    for number, name in enumerate(names):
        builder.add_node(name, node(number))
    for name, following in zip([START, *names], [*names, END], strict=True):
        builder.add_edge(name, following)
    saver = InMemorySaver()
    graph = builder.compile(checkpointer=saver)

    async def play() -> Any:
        config: Any = {"configurable": {"thread_id": str(uuid4())}}
        return await graph.ainvoke({"text": "x"}, config, durability="sync")

    return play


async def measured(plays: dict[str, Play], rounds: int) -> dict[str, float]:
    """Return the median of each, in milliseconds of CPU; they take turns."""
    times: dict[str, list[float]] = {name: [] for name in plays}
    for play in plays.values():
        await play()
    for _ in range(rounds):
        for name, play in plays.items():
            for _ in range(WINDOW):
                began = time.process_time()
                await play()
                times[name].append((time.process_time() - began) * 1_000)
    return {name: statistics.median(taken) for name, taken in times.items()}


def compiling() -> tuple[float, float]:
    """Return how long 50 new steps take to check and to compile, in ms of CPU: the best of 20."""
    checks: list[float] = []
    compiles: list[float] = []
    for number in range(20):
        spec = document(50, "parallel")
        spec["steps"][0]["input"]["new"] = f"{{{{ input.text }}}} {number}"
        began = time.process_time()
        plan = checked(spec, Known())
        between = time.process_time()
        compiled(plan)
        checks.append((between - began) * 1_000)
        compiles.append((time.process_time() - between) * 1_000)
    return min(checks), min(compiles)


def main() -> None:
    """Measure and print."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    plays = {
        "by hand": by_hand(),
        "declared, sequential": declared("sequential"),
        "declared, parallel": declared("parallel"),
    }
    found = asyncio.run(measured(plays, rounds))
    for name, taken in found.items():
        print(f"{name:22} {taken:6.2f} ms of CPU a run, {taken / found['by hand']:.2f} times")
    check, compile_ = compiling()
    print(f"50 steps: checked in {check:.1f} ms, compiled in {compile_:.1f} ms of CPU")


main()
