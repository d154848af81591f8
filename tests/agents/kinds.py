"""Every kind of agent with the real thing at its other end, all able to play the same part."""

import asyncio
import json
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents.agent import Agent, Context, Task
from agents.configuration import CommandPool, GraphPool, McpPool, ProcessPool, RemotePool
from agents.errors import AgentLost
from agents.making import maker
from orchestration.graphs.agents import GraphAgent
from orchestration.graphs.manifest import load_manifest
from orchestration.graphs.registry import load_graphs
from tests.api.client import open_socket
from tests.process.server import reserved_port

PLAYERS = Path(__file__).with_name("players")
GRAPH = "tests.agents.players.graph:play"
LIMITS = {"cancel_grace": 5.0}


@dataclass(frozen=True)
class Kind:
    """One kind: what makes an agent, one that cannot start, and what it said of a result."""

    make: Callable[[], Agent]
    broken: Callable[[], Agent]
    said: Callable[[Any], Any]


Opening = Callable[[Path], AbstractAsyncContextManager[Kind]]


def task(do: str, *, text: str = "", count: int = 0, capability: str = "play") -> Task:
    given = {"do": do, "text": text, "count": count}
    return Task(task_id="1", capability=capability, input=given)


class Ear:
    """Hears what an agent publishes."""

    def __init__(self, most_events: int = 0) -> None:
        self.heard: list[Any] = []
        self.something = asyncio.Event()
        self.context = Context(take=self._take, most_events=most_events)

    def _take(self, event: Any) -> None:
        self.heard.append(event)
        self.something.set()


@asynccontextmanager
async def started(make: Callable[[], Agent]) -> AsyncGenerator[tuple[Agent, list[AgentLost]]]:
    """Start an agent; yield it and what it says of its end. Close it in the end."""
    losses: list[AgentLost] = []
    agent = make()
    try:
        await agent.start(losses.append)
        yield agent, losses
    finally:
        await agent.aclose()


def process(**more: Any) -> ProcessPool:
    argv = more.pop("argv", (sys.executable, str(PLAYERS / "worker.py")))
    return ProcessPool.model_validate({"kind": "process", "argv": argv, **more})


@asynccontextmanager
async def processes(folder: Path) -> AsyncGenerator[Kind]:
    broken = process(argv=(sys.executable, "-c", "import sys; sys.exit('no model found')"))
    yield Kind(
        maker("play", process(limits=LIMITS), folder, {}),
        maker("play", broken, folder, {}),
        said=lambda result: result,
    )


def command(*arguments: str, **more: Any) -> CommandPool:
    argv = (sys.executable, str(PLAYERS / "tool.py"), *arguments)
    return CommandPool.model_validate({"kind": "command", "argv": argv, **more})


@asynccontextmanager
async def commands(folder: Path) -> AsyncGenerator[Kind]:
    broken = CommandPool(kind="command", argv=("no-such-command",))
    yield Kind(
        maker("play", command("{do}", "{text}", limits=LIMITS), folder, {}),
        maker("play", broken, folder, {}),
        said=lambda result: result["stdout"],
    )


@asynccontextmanager
async def graphs(folder: Path) -> AsyncGenerator[Kind]:
    file = folder / "langgraph.json"
    file.write_text(json.dumps({"graphs": {"play": GRAPH}}))
    registry = await load_graphs(load_manifest(file), checkpointer=None, store=None)

    def make(graph: str) -> Agent:
        return GraphAgent(GraphPool(kind="graph", graph=graph), "play", registry, lambda _: None)

    yield Kind(
        lambda: make("play"),
        lambda: make("absent"),
        said=lambda result: result["said"],
    )


@asynccontextmanager
async def remotes(folder: Path) -> AsyncGenerator[Kind]:
    def make(url: str) -> Callable[[], Agent]:
        section = RemotePool(kind="remote", url=url, assistant="play")
        return maker("play", section, folder, {})

    async with open_socket(folder, manifest={"graphs": {"play": GRAPH}}) as (_, client):
        yield Kind(
            make(str(client.base_url)),
            make(f"http://127.0.0.1:{free_port()}"),
            said=lambda result: result["said"],
        )


def mcp(**more: Any) -> McpPool:
    return McpPool.model_validate({"kind": "mcp", "limits": LIMITS, **more})


@asynccontextmanager
async def mcp_over_stdio(folder: Path) -> AsyncGenerator[Kind]:
    server = {"argv": (sys.executable, str(PLAYERS / "mcp_tool.py"))}
    broken = {"argv": (sys.executable, "-c", "import sys; sys.exit('no model found')")}
    yield Kind(
        maker("play", mcp(server=server), folder, {}),
        maker("play", mcp(server=broken), folder, {}),
        said=lambda result: result["result"],
    )


@asynccontextmanager
async def mcp_over_http(folder: Path) -> AsyncGenerator[Kind]:
    port = free_port()
    server = await asyncio.create_subprocess_exec(
        sys.executable, str(PLAYERS / "mcp_tool.py"), str(port)
    )
    try:
        await answering(port)
        yield Kind(
            maker("play", mcp(url=f"http://127.0.0.1:{port}/mcp"), folder, {}),
            maker("play", mcp(url=f"http://127.0.0.1:{free_port()}/mcp"), folder, {}),
            said=lambda result: result["result"],
        )
    finally:
        with suppress(ProcessLookupError):
            server.kill()
        await server.wait()


def free_port() -> int:
    """Return a port where nobody listens, and which nobody else is given while the tests run."""
    place = reserved_port()
    port: int = place.getsockname()[1]
    place.detach()  # so that it stays bound until this process ends
    return port


async def answering(port: int) -> None:
    """Return once somebody listens there."""
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.02)
        else:
            writer.close()
            return
