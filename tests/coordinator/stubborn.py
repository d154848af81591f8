"""A tool and a graph that do not stop when cancelled, but when the test lets them go."""

import asyncio
from typing import TypedDict

from langgraph.graph import START, StateGraph

_held: set[asyncio.Future[None]] = set()
went_on: list[str] = []


def let_go() -> None:
    while _held:
        _held.pop().set_result(None)


async def began() -> None:
    """Return once one of them works."""
    while not _held:  # noqa: ASYNC110 - it is user code
        await asyncio.sleep(0)


async def stay(**_: object) -> str:
    free = asyncio.get_running_loop().create_future()
    _held.add(free)
    while not free.done():
        try:
            await asyncio.wait({free})
        except asyncio.CancelledError:
            continue
    return "at last"


class State(TypedDict, total=False):
    said: str


async def node(state: State) -> State:
    return {"said": await stay()}


async def go_on(state: State) -> State:
    went_on.append(state.get("said", ""))
    return state


graph = (
    StateGraph(State)
    .add_node("stay", node)
    .add_node("go_on", go_on)
    .add_edge(START, "stay")
    .add_edge("stay", "go_on")
    .compile()
)
