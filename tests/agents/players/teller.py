"""Graphs that send messages: as a run, and as an agent that passes on what it receives."""

from typing import Any, TypedDict

from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START, StateGraph


class State(TypedDict, total=False):
    messages: list[dict[str, Any]]
    offsets: list[dict[str, int]]
    content: Any


async def tell(state: State, config: RunnableConfig) -> State:
    agents = config["configurable"]["masterloop"]
    receipts = [await agents.send(**message) for message in state["messages"]]
    return {"offsets": [receipt.offsets for receipt in receipts]}


async def pass_on(state: State, config: RunnableConfig) -> State:
    agents = config["configurable"]["masterloop"]
    await agents.send(state["content"], to=state["content"]["next"])
    return {}


def _graph(node: Any) -> Any:
    return (
        StateGraph(State).add_node("node", node).add_edge(START, "node").add_edge("node", END)
    ).compile()


teller = _graph(tell)
relay = _graph(pass_on)
