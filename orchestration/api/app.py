"""The HTTP application."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any

import anyio
import orjson
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from orchestration.api import (
    agents,
    assistants,
    commands,
    creation,
    crons,
    decisions,
    deliveries,
    items,
    messages,
    meta,
    metrics,
    ops,
    quota,
    runs,
    state,
    thread_log,
    threads,
    workflows,
)
from orchestration.api.access import SOMEBODY
from orchestration.api.backend import Backend
from orchestration.api.counted import NOWHERE, Counted
from orchestration.api.custom import BesideOurs, CustomRoutes
from orchestration.api.door import Door
from orchestration.api.endpoint import Call, Endpoint, no_content
from orchestration.api.guard import Guard
from orchestration.api.openapi import document, secured
from orchestration.api.pages import AllowedPages
from orchestration.api.paths import Paths
from orchestration.api.prefix import Below
from orchestration.api.problems import PROBLEMS, not_found, respond
from orchestration.api.reference import page
from orchestration.api.resource import Resource
from orchestration.api.sockets import Sockets
from orchestration.graphs.sections import HttpSection

_MODULES = (
    creation,
    runs,
    threads,
    state,
    commands,
    thread_log,
    assistants,
    workflows,
    crons,
    items,
    agents,
    messages,
    decisions,
    deliveries,
    meta,
    metrics,
    ops,
)
ENDPOINTS: tuple[Endpoint, ...] = tuple(
    declared for module in _MODULES for declared in module.endpoint.all
)
_ALLOW = ", ".join(sorted({"HEAD", "OPTIONS", *(declared.method for declared in ENDPOINTS)}))
# What each ``http.disable_*`` of ``langgraph.json`` takes away; probes stay.
_DISABLED = {
    "disable_assistants": (assistants, workflows),
    "disable_threads": (threads, state, commands, thread_log),
    "disable_runs": (creation, runs, crons),
    "disable_store": (items,),
    "disable_meta": (meta, metrics, ops),
    "disable_webhooks": (deliveries,),
}
_PROBES = frozenset({"/livez", "/readyz", "/startupz"})


def build_app(
    backend: Backend,
    custom: CustomRoutes | None = None,
    beside: Mapping[str, ASGIApp] | None = None,
) -> ASGIApp:
    """Return the application that serves ``backend``, with the project's own routes.

    ``beside`` has other faces, by their paths.
    """
    endpoints = _enabled(backend.manifest.http)
    by_path: dict[str, dict[str, Endpoint]] = {}
    for declared in endpoints:
        by_path.setdefault(declared.path, {})[declared.method] = declared
    resources: dict[str, ASGIApp] = {
        path: Resource(backend, path, methods) for path, methods in by_path.items()
    }
    described = cache(partial(_described, backend, endpoints))
    if not backend.manifest.http.disable_meta:
        for path, make, media_type in (
            ("/openapi.json", lambda: orjson.dumps(described()), "application/json"),
            ("/docs", lambda: page(described()), "text/html"),
        ):
            resources[path] = Resource(backend, path, {"GET": _Page(make, media_type)})
    # Errors are answered by the resources, so Starlette's application around the paths is not
    # needed: it would wrap every request twice more.
    faces = {path: Counted(app, path, backend.answered) for path, app in (beside or {}).items()}
    nowhere = Counted(_not_found, NOWHERE, backend.answered)
    cors = None
    if backend.manifest.http.cors is not None:
        cors = CORSMiddleware(nowhere, **_cors(backend))
        resources = {
            path: AllowedPages(app, cors, path, backend.answered) for path, app in resources.items()
        }
    paths = Paths({**resources, **faces}, otherwise=nowhere)
    ours = Sockets(backend, paths)
    app: ASGIApp = ours if custom is None else BesideOurs(custom, ours, backend.answered, cors)
    if prefix := backend.manifest.http.mount_prefix.strip("/"):
        app = Below(app, prefix, nowhere)
    return Guard(app, browsers=CORSMiddleware(app, **_cors(backend)), answered=backend.answered)


def _described(backend: Backend, endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    configured = {
        "pool": [pool.name for pool in backend.agents],
        "mailbox": [mailbox.name for mailbox in backend.network],
    }
    found = document(endpoints, meta.VERSION, backend.graphs.names, configured)
    if backend.authority is not None:
        secured(found, backend.manifest.auth)
    return found


def build_door(backend: Backend) -> Door:
    """Return who turns requests for runs away, before the application sees them."""
    http = backend.manifest.http
    prefix = http.mount_prefix.strip("/")
    return Door(backend.loop, _enabled(http), f"/{prefix}" if prefix else "", backend.answered)


def _enabled(http: HttpSection) -> list[Endpoint]:
    """Return the operations that there are, without those that were taken away."""
    gone = [module for flag, ones in _DISABLED.items() if getattr(http, flag) for module in ones]
    kept = [module for module in _MODULES if module not in gone]
    probes = [one for one in meta.endpoint.all if one.path in _PROBES and http.disable_meta]
    return [*(declared for module in kept for declared in module.endpoint.all), *probes]


class _Page:
    """Answers always the same, made when it is first asked for: a start needs not wait for it."""

    access = SOMEBODY
    wording = PROBLEMS
    streams = False
    audited = False
    name = "get_document"

    def __init__(self, make: Callable[[], bytes], media_type: str) -> None:
        self._make = make
        self._media_type = media_type
        self._response: Response | None = None

    async def answer(self, call: Call) -> Response:  # noqa: ARG002 - its answer is always the same
        if self._response is None:
            body = await anyio.to_thread.run_sync(self._make)
            self._response = Response(body, media_type=self._media_type)
        return self._response


async def _not_found(scope: Scope, receive: Receive, send: Send) -> None:
    path: str = scope["path"]
    if path == "*" and scope["method"] == "OPTIONS":  # of the server as a whole (RFC 9110, 9.3.7)
        response = no_content(headers={"allow": _ALLOW})
    else:
        response = respond(not_found(path), path)
    await response(scope, receive, send)


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
                "mcp-session-id",
                "retry-after",
                *quota.FIELDS,
                assistants.NEXT_PAGE,
            ],
        }
    return http.cors.model_dump(exclude_none=True)
