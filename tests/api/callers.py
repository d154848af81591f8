"""Graphs and a route that use the service around them, by the SDK's client without a url."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any

from langgraph.graph import START, StateGraph
from langgraph_sdk import get_client
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from typing_extensions import TypedDict

from tests.api.plays import gates

colour: ContextVar[str] = ContextVar("colour", default="none")


class State(TypedDict, total=False):
    text: Any
    log: Any


def _of(node: Any) -> Any:
    builder: Any = StateGraph(State)
    builder.add_node("only", node)
    builder.add_edge(START, "only")
    return builder.compile()


async def _watch(text: Any) -> list[str]:
    """Stream a run that waits until somebody has its first event, and return all of them."""
    seen: list[str] = []
    stream = get_client().runs.stream(None, "holder", input={"text": text}, stream_mode=["updates"])
    async for part in stream:
        seen.append(part.event)
        if part.event == "metadata":
            gates[text].opened.set()
    return seen


async def _ask(state: State) -> State:
    colour.set("red")
    client = get_client()
    coloured = await client.runs.wait(None, "colours", input={})
    thread = await client.threads.create(metadata={"by": "a node"})
    await client.store.put_item(["of"], "a node", {"kept": True})
    found = await client.threads.search(metadata={"by": "a node"})
    return {"log": [coloured, thread["thread_id"], [one["thread_id"] for one in found]]}


async def _colours(_: State) -> State:
    return {"log": colour.get()}


async def _watching(state: State) -> State:
    return {"log": await _watch(state.get("text"))}


def _watching_in_a_thread(state: State) -> State:
    return {"log": asyncio.run(_watch(state.get("text")))}


def _count_astray(_: State) -> State:
    """Ask in a thread that nobody has told what it is for."""

    async def count() -> int:
        return await get_client().threads.count()

    with ThreadPoolExecutor() as threads:
        return {"log": threads.submit(asyncio.run, count()).result()}


async def _waiting(state: State) -> State:
    await get_client().runs.wait(
        None, "holder", input={"text": state.get("text")}, on_disconnect="cancel"
    )
    return {}


async def _count(_: Request) -> Response:
    return JSONResponse(await get_client().threads.count())


asking, colours, waiting = _of(_ask), _of(_colours), _of(_waiting)
watching, watching_in_a_thread = _of(_watching), _of(_watching_in_a_thread)
astray = _of(_count_astray)
app = Starlette(routes=[Route("/count", _count)])
