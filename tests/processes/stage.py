"""A service with worker processes that many tests share: each takes seconds to start."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import httpx

from orchestration.service import DATABASE, Service
from tests.api.client import client_of, open_play
from tests.process.witness import ends_of, set_witness

T = TypeVar("T")
GRAPHS = ("player", "threaded", "noting", "helper", "lingering")
MANIFEST = {
    "graphs": {name: f"tests.processes.plays:{name}" for name in GRAPHS},
    "masterloop": {
        "agents": {"helpers": {"kind": "graph", "graph": "helper", "capabilities": ["help"]}},
        "manifests": "manifests",
    },
}


@asynccontextmanager
async def aside(context: AbstractAsyncContextManager[T]) -> AsyncGenerator[T]:
    """Hold ``context`` open in a task of its own: a fixture begins and ends in two."""
    opened: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    over = asyncio.Event()

    async def hold() -> None:
        async with context as value:
            opened.set_result(value)
            await over.wait()

    holding = asyncio.create_task(hold())
    either: set[asyncio.Future[Any]] = {holding, opened}
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    if holding.done():
        holding.result()
    try:
        yield opened.result()
    finally:
        over.set()
        await holding


class Stage:
    """A service, a client of it, and what its worker processes are at."""

    def __init__(self, service: Service, client: httpx.AsyncClient, folder: Path) -> None:
        self.service = service
        self.client = client
        self.folder = folder
        self.components: dict[str, Any] = {}  # as they were when they were last asked for

    async def wait(self, graph: str = "player", **given: Any) -> Any:
        """Run a graph without a thread, and return what a waiter is answered."""
        body = {"assistant_id": graph, "input": given}
        response = await self.client.post("/runs/wait", json=body)
        assert response.status_code == 200, response.text
        return response.json()

    async def begin(
        self, graph: str = "player", *, within: float | None = None, **given: Any
    ) -> str:
        """Run a graph on a new thread in the background; return the path of the run."""
        thread = f"/threads/{uuid4()}/runs"
        body = {
            "assistant_id": graph,
            "input": given,
            "if_not_exists": "create",
            "durability": "sync",
            "timeout": within,
        }
        response = await self.client.post(thread, json=body)
        assert response.status_code == 200, response.text
        return f"{thread}/{response.json()['run_id']}"

    async def get(self, path: str) -> Any:
        """Return what is at a path."""
        response = await self.client.get(path)
        assert response.is_success, response.text
        return response.json()

    async def workers(self) -> dict[str, Any]:
        """Return how the worker processes are."""
        self.components = (await self.get("/ops/status"))["components"]
        found: dict[str, Any] = self.components["workers"]
        return found

    async def ends(self, path: str) -> list[str]:
        """Wait for a run, and return every terminal status that was ever written of it."""
        await self.get(f"{path}/join")
        return ends_of(self.folder / "data" / DATABASE, path.rpartition("/")[2])

    async def until_exists(self, marker: Path) -> None:
        """Wait for a file that a graph leaves: it is in another process."""
        while not marker.exists():  # noqa: ASYNC110, ASYNC240
            await asyncio.sleep(0.01)

    async def until(self, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait until something holds of the worker processes; return how they are then."""
        while not holds(workers := await self.workers()):  # noqa: ASYNC110 - as one asks a service
            await asyncio.sleep(0.001)
        return workers


@asynccontextmanager
async def open_stage(folder: Path, **settings: Any) -> AsyncGenerator[Stage]:
    """Open a service with worker processes; it is ready when one of them is."""
    await set_witness(folder / "data" / DATABASE)
    async with (
        open_play(folder, manifest=MANIFEST, **settings) as service,
        client_of(service.app) as client,
    ):
        stage = Stage(service, client, folder)
        await stage.wait()
        yield stage
