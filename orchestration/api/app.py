"""The HTTP application."""

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from orchestration.api import assistants, creation, items, meta, runs, state, threads
from orchestration.api.backend import Backend
from orchestration.api.endpoint import Endpoint, Resource
from orchestration.api.guard import Guard
from orchestration.api.openapi import document
from orchestration.api.problems import Problem, respond

ENDPOINTS: tuple[Endpoint, ...] = tuple(
    declared
    for module in (creation, runs, threads, state, assistants, items, meta)
    for declared in module.endpoint.all
)


def build_app(backend: Backend) -> Starlette:
    """Return the application that serves ``backend``."""
    by_path: dict[str, dict[str, Endpoint]] = {}
    for declared in ENDPOINTS:
        by_path.setdefault(declared.path, {})[declared.method] = declared
    routes: list[BaseRoute] = [
        Route(path, Resource(backend, path, by_path[path])) for path in _most_exact_first(by_path)
    ]
    api_document = orjson.dumps(document(ENDPOINTS, meta.VERSION))
    routes.append(Route("/openapi.json", _Fixed(api_document, "application/json")))
    return Starlette(
        routes=routes,
        middleware=[Middleware(Guard), Middleware(CORSMiddleware, **_cors(backend))],
        exception_handlers={HTTPStatus.NOT_FOUND: _not_found},
    )


def _most_exact_first(paths: Iterable[str]) -> list[str]:
    """Order paths so that none hides another: routes are tried in turn, the busiest come first."""
    return sorted(paths, key=lambda path: path.count("{"))


class _Fixed:
    """An ASGI application that always answers the same."""

    def __init__(self, body: bytes, media_type: str) -> None:
        self._response = Response(body, media_type=media_type)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._response(scope, receive, send)


def _not_found(request: Any, _: Exception) -> Response:
    path: str = request.scope["path"]
    found = Problem(HTTPStatus.NOT_FOUND, f"there is nothing at {path[:200]}; see /openapi.json")
    return respond(found, path)


def _cors(backend: Backend) -> dict[str, Any]:
    """Return who may call from a browser: everybody, unless ``http.cors`` says otherwise."""
    http = backend.manifest.http
    if http is None or http.cors is None:
        return {
            "allow_origins": ["*"],
            "allow_methods": ["*"],
            "allow_headers": ["*"],
            "expose_headers": ["content-location", "location", "retry-after"],
        }
    return http.cors.model_dump(exclude_none=True)
