"""A real service for the API's tests: in process, or behind a socket of its own."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from starlette.types import ASGIApp

from operations.settings import Settings
from orchestration.api.door import TurnAway
from orchestration.connection import PATIENCE
from orchestration.graphs.manifest import Manifest, apply_environment, load_manifest
from orchestration.places import Places
from orchestration.server import Server, listen, several, uvicorn_config
from orchestration.service import Service, open_service

GRAPHS = (
    "asking", "asking_both", "asking_later", "asking_within", "broken", "echo", "failing",
    "forging", "holder", "knowing", "looking", "nesting", "noting", "stubborn", "talking",
    "telling",
)  # fmt: skip
NOBODY = "00000000-0000-4000-8000-000000000000"
PROBLEM = "application/problem+json"


@asynccontextmanager
async def open_play(
    folder: Path, *graphs: str, manifest: Mapping[str, Any] | None = None, **settings: Any
) -> AsyncGenerator[Service]:
    """Open a service of graphs from `plays`, all if none is named, with its data in ``folder``."""
    loaded = _manifest(folder, graphs or GRAPHS, manifest or {})
    async with open_service(loaded, Settings(data_dir=folder / "data", **settings)) as service:
        yield service


def _manifest(folder: Path, graphs: Iterable[str], more: Mapping[str, Any]) -> Manifest:
    paths = {name: f"tests.api.plays:{name}" for name in graphs}
    file = folder / "langgraph.json"
    file.write_text(json.dumps({"graphs": paths, **more}))
    loaded = load_manifest(file)
    apply_environment(loaded)
    return loaded


def client_of(app: ASGIApp) -> httpx.AsyncClient:
    """Return a client of an application in this process; it gets a stream as a whole."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service")


@asynccontextmanager
async def open_client(
    folder: Path, *graphs: str, manifest: Mapping[str, Any] | None = None, **settings: Any
) -> AsyncGenerator[httpx.AsyncClient]:
    """Open a service and a client of it in one process."""
    async with (
        open_play(folder, *graphs, manifest=manifest, **settings) as service,
        client_of(service.app) as client,
    ):
        yield client


@asynccontextmanager
async def serving(
    app: ASGIApp,
    patience: float = PATIENCE,
    turn_away: TurnAway | None = None,
    places: Places | None = None,
) -> AsyncGenerator[tuple[str, int]]:
    """Serve an application on a free port of the loopback interface, as the command does."""
    with closing(listen("127.0.0.1", 0)) as listener:
        server = Server(uvicorn_config(app, patience, turn_away, places))
        task = asyncio.create_task(server.serve(sockets=several(listener)))
        try:
            yield listener.getsockname()[:2]
        finally:
            server.should_exit = server.force_exit = True
            await task


@asynccontextmanager
async def open_socket(
    folder: Path, *graphs: str, manifest: Mapping[str, Any] | None = None, **settings: Any
) -> AsyncGenerator[tuple[Service, httpx.AsyncClient]]:
    """Open a service and a client of it with a real connection between them."""
    async with (
        open_play(folder, *graphs, manifest=manifest, **settings) as service,
        serving(service.app, turn_away=service.turn_away) as (host, port),
        httpx.AsyncClient(base_url=f"http://{host}:{port}") as client,
    ):
        yield service, client


@dataclass
class Part:
    """One server-sent event, or a comment."""

    event: str = ""
    data: Any = None
    id: str | None = None
    comment: str | None = None
    fields: list[str] = field(default_factory=list)


def parts_of(text: str) -> list[Part]:
    """Return the events and comments of a whole stream, as the standard has them read."""
    return [_part(block.split("\n")) for block in text.split("\n\n") if block]


async def parts(response: httpx.Response) -> AsyncIterator[Part]:
    """Yield the events and comments of a stream as they come."""
    lines: list[str] = []
    async for line in response.aiter_lines():
        if line:
            lines.append(line)
        else:
            yield _part(lines)
            lines = []


def _part(lines: list[str]) -> Part:
    part = Part(fields=lines)
    for line in lines:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not name:
            part.comment = value
        elif name == "event":
            part.event = value
        elif name == "id":
            part.id = value
        elif name == "data":
            part.data = json.loads(value)
    return part


async def new_thread(client: httpx.AsyncClient, **body: Any) -> str:
    """Create a thread; return its id."""
    thread_id: str = (await client.post("/threads", json=body)).json()["thread_id"]
    return thread_id


async def new_run(
    client: httpx.AsyncClient, thread_id: str, graph: str, text: Any = None, **body: Any
) -> str:
    """Start a run in the background; return its path."""
    given = {"assistant_id": graph, "input": {"text": text}, **body}
    response = await client.post(f"/threads/{thread_id}/runs", json=given)
    assert response.status_code == 200, response.text
    path: str = response.headers["content-location"]
    return path
