"""DBOS behind the least Starlette: a run is a durable workflow of one step, which runs the graph.

DBOS is a library for durable workflows and no server of runs: it has no threads, no checkpoints and
no stream of a graph. ``DBOS_SYSTEM_DATABASE_URL`` names its database.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import bench_graphs  # type: ignore[import-not-found] # of ../project, by PYTHONPATH
import orjson
from dbos import DBOS  # type: ignore[import-not-found] # of its own environment
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

GRAPHS = {name: getattr(bench_graphs, name) for name in ("noop", "sleep", "steps5", "burn")}
STATUSES = {"SUCCESS": "success", "ERROR": "error", "CANCELLED": "interrupted"}


@DBOS.step()  # type: ignore[untyped-decorator]
async def run_graph(name: str, given: Any) -> Any:
    """Run a graph."""
    return await GRAPHS[name].ainvoke(given)


@DBOS.workflow()  # type: ignore[untyped-decorator]
async def run(name: str, given: Any) -> Any:
    """Run a graph as the one step of a workflow."""
    return await run_graph(name, given)


def _answer(document: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(document), status, media_type="application/json")


async def _started(request: Request) -> Any:
    asked = orjson.loads(await request.body())
    return await DBOS.start_workflow_async(run, asked["assistant_id"], asked.get("input"))


async def ok(request: Request) -> Response:  # noqa: ARG001 - every endpoint takes it
    """Answer."""
    return _answer({"ok": True})


async def wait(request: Request) -> Response:
    """Run a graph and answer with what it gives."""
    return _answer(await (await _started(request)).get_result())


async def create(request: Request) -> Response:
    """Start a run."""
    handle = await _started(request)
    thread_id = request.path_params.get("thread_id", "none")
    return _answer({"run_id": handle.workflow_id, "thread_id": thread_id, "status": "pending"})


async def show(request: Request) -> Response:
    """Answer with a run."""
    found = await DBOS.get_workflow_status_async(request.path_params["run_id"])
    if found is None:
        return _answer({"detail": "not found"}, 404)
    updated_at = datetime.fromtimestamp(found.updated_at / 1000, UTC).isoformat()
    status = STATUSES.get(found.status, "pending")
    return _answer({"run_id": found.workflow_id, "status": status, "updated_at": updated_at})


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:  # noqa: ARG001 - Starlette's
    """Work while the server runs; what a server before had not finished goes on."""
    DBOS(
        config={
            "name": "bench",
            "system_database_url": os.environ["DBOS_SYSTEM_DATABASE_URL"],
            "log_level": "WARNING",
        }
    )
    DBOS.launch()
    yield
    DBOS.destroy()


app = Starlette(
    lifespan=lifespan,
    routes=[
        Route("/ok", ok),
        Route("/runs/wait", wait, methods=["POST"]),
        Route("/runs", create, methods=["POST"]),
        Route("/threads/{thread_id}/runs", create, methods=["POST"]),
        Route("/threads/{thread_id}/runs/wait", wait, methods=["POST"]),
        Route("/threads/{thread_id}/runs/{run_id}", show),
    ],
)
