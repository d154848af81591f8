"""The HTTP application."""

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

import orjson
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from orchestration.api import (
    assistants,
    commands,
    creation,
    crons,
    deliveries,
    items,
    meta,
    quota,
    runs,
    state,
    thread_log,
    threads,
)
from orchestration.api.access import PUBLIC
from orchestration.api.backend import Backend
from orchestration.api.endpoint import Call, Endpoint
from orchestration.api.guard import Guard
from orchestration.api.openapi import document
from orchestration.api.problems import PROBLEMS, Problem, respond
from orchestration.api.reference import page
from orchestration.api.resource import Resource

ENDPOINTS: tuple[Endpoint, ...] = tuple(
    declared
    for module in (
        creation,
        runs,
        threads,
        state,
        commands,
        thread_log,
        assistants,
        crons,
        items,
        deliveries,
        meta,
    )
    for declared in module.endpoint.all
)


def build_app(backend: Backend) -> ASGIApp:
    """Return the application that serves ``backend``."""
    by_path: dict[str, dict[str, Endpoint]] = {}
    for declared in ENDPOINTS:
        by_path.setdefault(declared.path, {})[declared.method] = declared
    routes: list[BaseRoute] = [
        Route(path, Resource(backend, path, by_path[path])) for path in _most_exact_first(by_path)
    ]
    described = document(ENDPOINTS, meta.VERSION, backend.graphs.names)
    routes += [
        Route(path, Resource(backend, path, {"GET": _Fixed(body, media_type)}))
        for path, body, media_type in (
            ("/openapi.json", orjson.dumps(described), "application/json"),
            ("/docs", page(described), "text/html"),
        )
    ]
    # Errors are answered by the resources, so Starlette's application around the router is not
    # needed: it would wrap every request twice more.
    router = Router(routes, redirect_slashes=False, default=_not_found)
    return Guard(router, browsers=CORSMiddleware(router, **_cors(backend)))


def _most_exact_first(paths: Iterable[str]) -> list[str]:
    """Order paths so that none hides another: routes are tried in turn, the busiest come first."""
    return sorted(paths, key=lambda path: path.count("{"))


class _Fixed:
    """Answers always the same."""

    access = PUBLIC
    wording = PROBLEMS
    streams = False

    def __init__(self, body: bytes, media_type: str) -> None:
        self._response = Response(body, media_type=media_type)

    async def answer(self, call: Call) -> Response:  # noqa: ARG002 - its answer is always the same
        return self._response


async def _not_found(scope: Scope, receive: Receive, send: Send) -> None:
    path: str = scope["path"]
    found = Problem(HTTPStatus.NOT_FOUND, f"there is nothing at {path[:200]}; see /openapi.json")
    await respond(found, path)(scope, receive, send)


def _cors(backend: Backend) -> dict[str, Any]:
    """Return who may call from a browser: everybody, unless ``http.cors`` says otherwise."""
    http = backend.manifest.http
    if http.cors is None:
        return {
            "allow_origins": ["*"],
            "allow_methods": ["*"],
            "allow_headers": ["*"],
            "expose_headers": [
                "content-location",
                "location",
                "retry-after",
                *quota.FIELDS,
                assistants.NEXT_PAGE,
            ],
        }
    return http.cors.model_dump(exclude_none=True)
