"""Two small graphs that the workflows in ``workflows`` put together: ``adding``, ``wording``."""

from typing import TypedDict

from langgraph.graph import END, START, StateGraph


class Sum(TypedDict, total=False):
    """Numbers, and what they come to."""

    numbers: list[int]
    total: int


class Sentence(TypedDict, total=False):
    """A word and its meaning, and both in a sentence."""

    word: str
    meaning: str
    sentence: str


async def add_up(state: Sum) -> Sum:
    """Add the numbers."""
    return {"total": sum(state["numbers"])}


async def put(state: Sentence) -> Sentence:
    """Put the meaning into a sentence."""
    return {"sentence": f"{state['word'].capitalize()}: {state['meaning'].strip()}."}


adding = (
    StateGraph(Sum)
    .add_node("add_up", add_up)
    .add_edge(START, "add_up")
    .add_edge("add_up", END)
    .compile()
)
wording = (
    StateGraph(Sentence).add_node("put", put).add_edge(START, "put").add_edge("put", END).compile()
)
