"""Graphs that keep an item in the store, with what they saw of others'."""

from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime
from langgraph.store.base import BaseStore
from langgraph_sdk.runtime import ServerRuntime
from typing_extensions import TypedDict


class State(TypedDict, total=False):
    text: str  # whose item it is
    content: str  # the same, in a message
    to: str  # an agent, or a mailbox


def _graph(node: Any) -> Any:
    builder: Any = StateGraph(State)
    return builder.add_node("node", node).add_edge(START, "node").add_edge("node", END).compile()


def _whose(state: State) -> str:
    return state.get("text") or state["content"]


async def _keep(store: BaseStore | None, whose: str) -> None:
    assert store is not None
    found = {item.value["text"] for item in await store.asearch(())}
    await store.aput(("notes",), whose, {"text": whose, "saw": sorted(found - {whose})})


async def _keep_one(state: State, runtime: Runtime[Any]) -> State:
    await _keep(runtime.store, _whose(state))
    return {}


async def _lease(state: State, config: RunnableConfig) -> State:
    agents = config["configurable"]["masterloop"]
    async with agents.lease(state.get("to", "keepers")) as agent:
        await agent.invoke({"text": _whose(state)})
    return {}


async def _send(state: State, config: RunnableConfig) -> State:
    agents = config["configurable"]["masterloop"]
    await agents.send(_whose(state), to="keepers")
    return {}


keeper = _graph(_keep_one)
lender = _graph(_lease)
sender = _graph(_send)


async def maker(runtime: ServerRuntime[Any]) -> Any:
    """Make a graph that keeps an item in the store of now; for who only looks, keep one at once."""
    store = runtime.store
    if runtime.access_context != "threads.create_run":
        await _keep(store, runtime.ensure_user().identity)

    async def keep(state: State) -> State:
        await _keep(store, _whose(state))
        return {}

    return _graph(keep)
