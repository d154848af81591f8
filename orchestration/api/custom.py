"""``http.app``: the project's own routes beside the service's, and what it takes to use them."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.authentication import AuthCredentials
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Match
from starlette.types import Receive, Scope, Send

from operations.errors import ConfigurationError
from operations.guests import Guests
from orchestration.api.access import Authority
from orchestration.api.answered import Answered
from orchestration.api.counted import Counted
from orchestration.api.pages import AllowedSockets
from orchestration.api.problems import problem, respond
from orchestration.api.sockets import Sockets
from orchestration.graphs.manifest import Manifest
from orchestration.graphs.node_tasks import apart
from orchestration.graphs.targets import load_target

# What a FastAPI application has by itself. The service's own pages are there.
_OURS = frozenset({"/docs", "/docs/oauth2-redirect", "/openapi.json", "/redoc"})


class CustomRoutes:
    """An application of the project: its routes, its middleware, its answers to mistakes.

    Its routes go before the service's. Where the service asks who calls, so do they.
    """

    def __init__(self, app: Starlette, state: Mapping[str, Any], guard: Authority | None) -> None:
        self._app = app
        self._state = state
        self._guard = guard

    def match(self, scope: Scope) -> tuple[Match, str]:
        """Return whether a request is for a route: wholly, or but for its method; and its path."""
        best, path = Match.NONE, ""
        if scope["path"].removeprefix(scope.get("root_path", "")) in _OURS:
            return best, path
        for route in self._app.routes:
            match, _ = route.matches(scope)
            if match.value > best.value:
                best, path = match, getattr(route, "path", "")
        return best, path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Have a request answered by the project."""
        scope = {**scope, "state": dict(self._state)}
        if self._guard is not None:
            try:
                principal, receive = await self._guard.authenticate(scope, receive)
            except Exception as error:  # noqa: BLE001 - whatever it is, nobody gets in
                await respond(problem(error), scope["path"])(scope, receive, send)
                return
            scope["user"] = principal.user
            scope["auth"] = AuthCredentials(principal.permissions)
        with apart():
            await self._app(scope, receive, send)


class BesideOurs:
    """An ASGI application: the project's routes, and for all the rest the service's.

    A path may have methods of both: `GET /threads` of the project beside `POST /threads`. Pages of
    other origins open no WebSocket unless ``cors`` allows them; None allows all.
    """

    def __init__(
        self, custom: CustomRoutes, ours: Sockets, answered: Answered, cors: CORSMiddleware | None
    ) -> None:
        self._custom = custom
        self._sockets = custom if cors is None else AllowedSockets(custom, cors)
        self._ours = ours
        self._answered = answered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        match, path = self._custom.match(scope)
        theirs = match is Match.FULL or (match is Match.PARTIAL and not self._ours.have(scope))
        if not theirs:
            await self._ours(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._sockets(scope, receive, send)
        else:
            await Counted(self._custom, path, self._answered)(scope, receive, send)


@asynccontextmanager
async def open_custom_routes(
    manifest: Manifest, authority: Authority | None, guests: Guests
) -> AsyncGenerator[CustomRoutes | None]:
    """Open the application of ``http.app``, if there is one, among ``guests`` of the service.

    Raises:
        ConfigurationError: it cannot be loaded, or is no Starlette or FastAPI application.
    """
    path = manifest.http.app
    if path is None:
        yield None
        return
    where = f"{manifest.file}: http.app"
    app = load_target(path, folder=manifest.folder, where=where)
    if not isinstance(app, Starlette):
        raise ConfigurationError(
            where,
            f"{path} is a {type(app).__name__}, and not an application",
            "Name a Starlette or FastAPI application.",
        )
    guard = None if manifest.http.enable_custom_route_auth is False else authority
    async with guests.open("routes", _lifespan(app)) as state:
        yield CustomRoutes(app, dict(state or {}), guard)


@asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncGenerator[Mapping[str, Any] | None]:
    with apart():
        async with app.router.lifespan_context(app) as state:
            yield state
