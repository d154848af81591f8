"""A server that answers as LangGraph's own does (0.16.7): its streams tell no end of a run."""

import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any
from uuid import UUID

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

ASSISTANT = "641b8109-198d-57fd-bf05-5deff033ab7e"  # of the graph `play`, there as everywhere
RUN = "01a22950-e01f-762f-ac51-35e2655e8444"


def peer(*, over: bool, busy: Sequence[Mapping[str, str]] = ()) -> Starlette:
    """Make one whose run is over when its stream ends, or else goes on elsewhere.

    At first it is ``busy``: once for each of these headers.
    """
    refusals = [Response("busy", 503, dict(headers)) for headers in busy]

    async def stream(request: Request) -> Response:
        return refusals.pop(0) if refusals else await _stream(request)

    return Starlette(
        routes=[
            Route("/assistants/{assistant_id}", _assistant),
            Route("/runs/stream", stream, methods=["POST"]),
            Route(f"/runs/{RUN}", _gone if over else _under_way),
        ]
    )


async def _assistant(request: Request) -> Response:
    assistant_id = request.path_params["assistant_id"]
    try:
        UUID(assistant_id)
    except ValueError:
        return JSONResponse({"detail": "Invalid assistant ID: must be a UUID"}, 422)
    return JSONResponse({"assistant_id": assistant_id}, 200 if assistant_id == ASSISTANT else 404)


async def _stream(request: Request) -> Response:
    given = (await request.json())["input"]

    async def told() -> AsyncGenerator[str]:
        yield _event("metadata", {"run_id": RUN, "attempt": 1})
        yield _event("values", given)
        yield _event("custom", {"step": 0})
        yield _event("values", {**given, "said": given["text"]})

    headers = {"location": f"/runs/{RUN}/stream", "content-location": f"/runs/{RUN}"}
    return StreamingResponse(told(), media_type="text/event-stream", headers=headers)


async def _gone(_: Request) -> Response:
    return JSONResponse({"detail": "Not Found"}, 404)


async def _under_way(_: Request) -> Response:
    return JSONResponse({"run_id": RUN, "status": "running"})


def _event(name: str, data: Any) -> str:
    return f"event: {name}\r\ndata: {json.dumps(data)}\r\n\r\n"
