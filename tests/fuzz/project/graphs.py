"""Graphs that end at once, each in another way: with an output, a question, an error.

And vectors for the store.
"""

import operator
from typing import Annotated, Any

from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt
from typing_extensions import TypedDict


class State(TypedDict, total=False):
    text: Any
    content: Any  # of a message
    log: Annotated[list[Any], operator.add]


async def _echo(state: State) -> State:
    return {"log": [state.get("text"), state.get("content")]}


async def _ask(_: State) -> State:
    return {"log": [interrupt("how?")]}


async def _fail(_: State) -> State:
    raise ValueError("refused")


def _one_node(node: Any) -> Any:
    builder: Any = StateGraph(State)
    builder.add_node("node", node)
    builder.add_edge(START, "node")
    builder.add_edge("node", END)
    return builder.compile()


echo, asking, failing = map(_one_node, (_echo, _ask, _fail))


def embed(texts: list[str]) -> list[list[float]]:
    return [[float(len(text)), 1.0] for text in texts]
