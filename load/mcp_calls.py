"""Calls of a tool that does nothing, beside the least that the SDK can do: what does a run cost?

    .venv/bin/python load/mcp_calls.py [ROUNDS]

Three servers at once: ours with a graph of one node, the low-level server of the SDK with a
function, and that with the same graph behind it, whose checkpoints are kept in memory alone: more
than its ratio nobody reaches who runs a graph of LangGraph's on a thread. One client calls each in
turn over loopback, one call at a time, then ten, then fifty, in windows of half a second in random
order; told are the medians, and the median of the ratios of a round.
First with the SDK's own client, as hosts have it, which takes longer than the bare server; then
with requests made beforehand, which leave the server alone to take time.
"""

import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import httpx
from mcp import Client

from load import wire
from load.service import open_service

Call = Callable[[], Awaitable[object]]

WINDOW = 0.5  # seconds
AT_ONCE = (1, 10, 50)
GRAPH = """
from typing import TypedDict
from langgraph.graph import END, START, StateGraph

class State(TypedDict):
    text: str

async def work(state):
    return {"text": "x"}

graph = StateGraph(State)
graph.add_node(work)
graph.add_edge(START, "work")
graph.add_edge("work", END)
"""
BARE = """
import sys
from uuid import uuid4

import mcp_types as wire
import uvicorn
from mcp.server.lowlevel import Server
from mcp.server.transport_security import TransportSecuritySettings

SCHEMA = {"type": "object", "properties": {"text": {"type": "string"}}}

async def listed(ctx, params):
    return wire.ListToolsResult(tools=[wire.Tool(name="noop", input_schema=SCHEMA)])

graph = None
if sys.argv[2] == "graph":
    import noop
    from langgraph.checkpoint.memory import InMemorySaver
    graph = noop.graph.compile(checkpointer=InMemorySaver())

async def called(ctx, params):
    if graph is not None:
        await graph.ainvoke(params.arguments, {"configurable": {"thread_id": str(uuid4())}})
    text = wire.TextContent(text="x")
    return wire.CallToolResult(content=[text], structured_content={"text": "x"})

server = Server(
    "bare", on_list_tools=listed, on_call_tool=called, get_tool_input_schema=lambda name: None
)
app = server.streamable_http_app()
uvicorn.run(app, port=int(sys.argv[1]), log_level="critical", loop="uvloop", http="httptools")
"""
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}
HEADERS = {
    "accept": "application/json, text/event-stream",
    "content-type": "application/json",
    "mcp-protocol-version": "2026-07-28",
    "mcp-method": "tools/call",
    "mcp-name": "noop",
}
BODY = json.dumps(
    {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "noop", "arguments": {"text": "y"}, "_meta": META},
    }
)


def sending(url: str, most: int) -> Call:
    """Return a call that is a request made beforehand, ``most`` of them at once."""
    place = urlsplit(url)
    fields = {"host": place.netloc, **HEADERS, "content-length": str(len(BODY))}
    lines = [f"POST {place.path} HTTP/1.1", *map(": ".join, fields.items()), "", BODY]
    request = "\r\n".join(lines).encode()
    client = wire.Client(place.hostname or "", place.port or 0, most)

    async def call() -> object:
        return (await client.send(request)).json()["result"]["structuredContent"]

    return call


def calling(client: Client) -> Call:
    """Return a call by the SDK's own client."""

    async def call() -> object:
        return (await client.call_tool("noop", {"text": "y"})).structured_content

    return call


async def window(call: Call, at_once: int) -> float:
    """Return the calls per second of one window."""
    end = time.perf_counter() + WINDOW
    done = 0

    async def again() -> None:
        nonlocal done
        while time.perf_counter() < end:
            if (found := await call()) != {"text": "x"}:
                raise RuntimeError(f"not the result of the call: {found}")
            done += 1

    begun = time.perf_counter()
    await asyncio.gather(*(again() for _ in range(at_once)))
    return done / (time.perf_counter() - begun)


async def ready(http: httpx.AsyncClient, url: str) -> None:
    """Return once a server has answered a call."""
    for _ in range(1_200):
        try:
            if (await http.post(url, content=BODY, headers=HEADERS)).is_success:
                return
        except httpx.HTTPError:
            pass
        await asyncio.sleep(0.1)
    raise RuntimeError(f"nobody answers at {url}")


async def measure(urls: dict[str, str], rounds: int) -> None:
    """Measure and tell."""
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(httpx.AsyncClient(timeout=60))
        for url in urls.values():
            await ready(http, url)
        own = {
            name: calling(await stack.enter_async_context(Client(url, mode="2026-07-28")))
            for name, url in urls.items()
        }
        made = {name: sending(url, max(AT_ONCE)) for name, url in urls.items()}
        for client, calls in (("the SDK's client", own), ("requests", made)):
            for at_once in AT_ONCE:
                await compare(f"{client}, {at_once} at once", calls, at_once, rounds)


async def compare(what: str, calls: Mapping[str, Call], at_once: int, rounds: int) -> None:
    """Measure all by turns and tell."""
    found: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        await window(call, at_once)
    for _ in range(rounds):
        for name in random.sample(sorted(calls), len(calls)):
            found[name].append(await window(calls[name], at_once))
    medians = {name: statistics.median(figures) for name, figures in found.items()}
    told = [f"{what}: bare {medians['bare']:.0f} calls/s"]
    for name in ("graph", "ours"):
        ratios = [one / bare for one, bare in zip(found[name], found["bare"], strict=True)]
        told.append(
            f"{name} {medians[name]:.0f}, ratio {statistics.median(ratios):.2f} "
            f"({min(ratios):.2f} to {max(ratios):.2f})"
        )
    print("; ".join(told), flush=True)


async def main() -> None:
    """Start the servers, and measure."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    port = random.randrange(20_000, 30_000)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        manifest = work / "langgraph.json"
        manifest.write_text(json.dumps({"graphs": {"noop": "./noop.py:graph"}}))
        (work / "noop.py").write_text(GRAPH)
        (work / "bare.py").write_text(BARE)
        settings = {"MASTERLOOP_LOG_LEVEL": "error"}
        async with open_service(settings, work / "server.log", manifest) as service:
            urls = {"ours": f"{service.url}/mcp"}
            others: list[anyio.abc.Process] = []
            try:
                for number, kind in enumerate(("bare", "graph"), port):
                    program = [sys.executable, str(work / "bare.py"), str(number), kind]
                    others.append(await anyio.open_process(program))
                    urls[kind] = f"http://127.0.0.1:{number}/mcp"
                await measure(urls, rounds)
            finally:
                for other in others:
                    other.terminate()
                    await other.wait()


if __name__ == "__main__":
    asyncio.run(main())
