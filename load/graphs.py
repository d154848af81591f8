"""The graphs that load is put on: they wait as agents do, and compute next to nothing."""

import asyncio
from random import uniform
from typing import Any, TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt

STEPS = 5


class State(TypedDict, total=False):
    """What the nodes share."""

    seconds: float  # that a node takes
    spread: float  # of that, up to which it takes more or less
    text: str
    done: int


async def do_nothing(state: State) -> dict[str, Any]:
    """Say how long the text is."""
    return {"done": len(state.get("text", ""))}


async def sleep(state: State) -> dict[str, Any]:
    """Take as long as the input says, as a call of a model would."""
    spread = state.get("spread", 0.0)
    await asyncio.sleep(state.get("seconds", 0.0) * uniform(1 - spread, 1 + spread))
    return {"done": state.get("done", 0) + 1}


def ask(state: State) -> dict[str, Any]:
    """Wait for what a human says."""
    return {"text": interrupt({"question": "Go on?", "text": state.get("text", "")})}


def in_turn(count: int) -> StateGraph[State]:
    """Return a graph that sleeps so many times, one step after the other."""
    graph = StateGraph(State)
    names = [f"step{number}" for number in range(1, count + 1)]
    for name in names:
        graph.add_node(name, sleep)
    for before, after in zip([START, *names], [*names, END], strict=True):
        graph.add_edge(before, after)
    return graph


nothing = (
    StateGraph(State)
    .add_node("do_nothing", do_nothing)
    .add_edge(START, "do_nothing")
    .add_edge("do_nothing", END)
)
sleeping = in_turn(1)
steps = in_turn(STEPS)
asking = StateGraph(State).add_node("ask", ask).add_edge(START, "ask").add_edge("ask", END)
