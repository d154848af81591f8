"""The face for MCP over HTTP: both wires at one address.

The newest wire has no sessions. Of the older ones, what begins with ``initialize`` has a session;
a request that names none is answered by itself, as LangGraph's own server does it.
"""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

import anyio
import orjson
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from mcp_types import INVALID_REQUEST, PARSE_ERROR, PROTOCOL_VERSION_META_KEY
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from orchestration.api.access import ANONYMOUS
from orchestration.api.backend import Backend
from orchestration.api.endpoint import Call, no_content
from orchestration.api.ingress import check_coding, parse_json, read_body, replayed
from orchestration.api.problems import Problem, problem, respond
from orchestration.api.revalidation import Revalidation
from orchestration.loop.errors import Draining
from orchestration.mcp.farewell import Answer, Farewell
from orchestration.mcp.neighbours import Neighbours
from orchestration.mcp.oauth import ProtectedResource
from orchestration.mcp.server import open_server
from orchestration.mcp.sessions import Sessions
from orchestration.mcp.visit import Visit

_SESSION, _VERSION = b"mcp-session-id", b"mcp-protocol-version"
_LISTEN = "subscriptions/listen"
_SESSIONS = 10_000  # that are open at once
# Hosts and origins are looked at here, before anything else is.
_LOOKED_AT = TransportSecuritySettings(enable_dns_rebinding_protection=False)


@asynccontextmanager
async def open_face(backend: Backend, resource: ProtectedResource) -> AsyncGenerator[ASGIApp]:
    """Open the face for as long as it is to be served."""
    limit = backend.settings.max_body
    farewell = Farewell()
    async with open_server(backend, farewell) as (server, forget):
        sessions = Sessions(
            server,
            forget,
            security_settings=_LOOKED_AT,
            max_request_body_size=limit,
            max_sessions=_SESSIONS,
        )
        single = StreamableHTTPSessionManager(
            server, security_settings=_LOOKED_AT, max_request_body_size=limit, stateless=True
        )
        async with sessions.run(), single.run():
            try:
                yield Face(backend, resource, farewell, sessions.asgi_app, single.asgi_app)
            finally:
                await farewell.say()


class Face:
    """An ASGI application: looks at a request, learns who sent it, passes it to the SDK."""

    def __init__(
        self,
        backend: Backend,
        resource: ProtectedResource,
        farewell: Farewell,
        sessions: ASGIApp,
        single: ASGIApp,
    ) -> None:
        section = backend.manifest.masterloop.mcp
        self._backend = backend
        self._resource = resource
        self._farewell = farewell
        self._sessions = sessions
        self._single = single
        self._neighbours = Neighbours(
            section.hosts, section.origins, asked=backend.authority is not None
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            await self._farewell.serve(self._answer, scope, receive, send)
        except Draining as stopping:
            await self._refuse(stopping, scope)(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self._neighbours.check(scope)
            # Not every parser takes the white space away that may be around a value.
            scope["headers"] = [(name, value.strip()) for name, value in scope["headers"]]
            headers = dict(scope["headers"])
            if scope["method"] == "OPTIONS":
                await no_content(headers={"allow": _allowed(headers)})(scope, receive, send)
                return
            _check_method(scope["method"], headers)
            call, receive = await self._known(scope, receive, headers)
        except Exception as error:  # noqa: BLE001 - whatever it is, the client gets an answer
            await self._refuse(error, scope)(scope, receive, send)
            return
        visit = Visit(call)
        if scope["method"] == "GET":
            await self._stream(self._sessions, call, visit.watching(receive), send)
            return
        if scope["method"] != "POST":
            await self._sessions(scope, visit.watching(receive), send)
            return
        try:
            check_coding(call.headers)
            length = call.header(b"content-length")
            limit, bodies = self._backend.settings.max_body, self._backend.bodies
            body = await read_body(receive, length, limit, bodies, call.caller)
            message = parse_json(body)
        except Problem as refused:
            await _unreadable(refused)(scope, receive, send)
            return
        app = self._single if _is_single(message, headers) else self._sessions
        receive = visit.watching(replayed(body, receive))
        if isinstance(message, dict) and message.get("method") == _LISTEN:
            await self._stream(app, call, receive, send)
        else:
            await app(scope, receive, send)

    async def _stream(self, app: ASGIApp, call: Call, receive: Receive, send: Send) -> None:
        """Have ``app`` answer with a stream that has no end, until its caller is known no more."""
        answer = Answer(send)
        with anyio.CancelScope() as cut:
            seconds = self._backend.settings.keep_alive
            revalidation = call.known and Revalidation(call.known, seconds, cut.cancel)
            try:
                await app(call.scope, receive, answer)
            finally:
                if revalidation:
                    revalidation.stop()
        if cut.cancel_called:
            gone = Problem(HTTPStatus.UNAUTHORIZED, "the key or token is none any more")
            await answer.end(gone, call.scope, receive)

    async def _known(
        self, scope: Scope, receive: Receive, headers: Mapping[bytes, bytes]
    ) -> tuple[Call, Receive]:
        """Return the request as a call of whoever sent it, and what to receive it from."""
        authority = self._backend.authority
        if authority is None:
            return Call(self._backend, scope, receive, headers, ANONYMOUS), receive
        principal, receive = await authority.authenticate(scope, receive)
        # The SDK lets a session be used by whoever began it.
        token = AccessToken(token="", client_id=principal.identity, scopes=[])
        scope["user"] = AuthenticatedUser(token)
        return Call(self._backend, scope, receive, headers, principal), receive

    def _refuse(self, error: Exception, scope: Scope) -> Response:
        found = problem(error)
        metadata = self._resource.challenge(scope)
        if found.status == HTTPStatus.UNAUTHORIZED and metadata is not None:
            challenge = found.headers.get("www-authenticate", "Bearer")
            separator = ", " if " " in challenge else " "
            found.headers["www-authenticate"] = f"{challenge}{separator}{metadata}"
        return respond(found, scope["path"])


def _allowed(headers: Mapping[bytes, bytes]) -> str:
    """Return the methods that there are: without a session there is nothing to get or to end."""
    return "DELETE, GET, OPTIONS, POST" if _SESSION in headers else "OPTIONS, POST"


def _check_method(method: str, headers: Mapping[bytes, bytes]) -> None:
    allowed = _allowed(headers)
    if method not in allowed.split(", "):
        detail = f"{method} is not possible here without a session; {allowed} are"
        raise Problem(HTTPStatus.METHOD_NOT_ALLOWED, detail, headers={"allow": allowed})


def _is_single(message: Any, headers: Mapping[bytes, bytes]) -> bool:
    """Return whether a message is of an older wire, and of no session."""
    version = headers.get(_VERSION)
    if _SESSION in headers or not isinstance(message, dict):
        return False
    if version is not None and version.decode("latin-1") not in HANDSHAKE_PROTOCOL_VERSIONS:
        return False
    params = message.get("params")
    meta = params.get("_meta") if isinstance(params, dict) else None
    if isinstance(meta, dict) and PROTOCOL_VERSION_META_KEY in meta:
        return False
    return message.get("method") != "initialize"


def _unreadable(refused: Problem) -> Response:
    """Return the refusal of a body, in the words of JSON-RPC."""
    code = PARSE_ERROR if refused.status == HTTPStatus.BAD_REQUEST else INVALID_REQUEST
    error = {"code": code, "message": refused.detail}
    body = orjson.dumps({"jsonrpc": "2.0", "id": None, "error": error})
    return Response(body, refused.status, refused.headers, "application/json")
