"""What OAuth clients read to learn who makes tokens for the service (RFC 9728)."""

from http import HTTPStatus

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from operations.keys import SCOPES
from orchestration.api.problems import Problem, respond

WELL_KNOWN = "/.well-known/oauth-protected-resource"


class ProtectedResource:
    """An ASGI application: the metadata of the resource that ``/mcp`` is."""

    def __init__(self, issuer: str | None, url: str | None) -> None:
        self._issuer = issuer
        self._url = url

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        await self._answer(scope)(scope, receive, send)

    def challenge(self, scope: Scope) -> str | None:
        """Return what is added to ``WWW-Authenticate``; None if there are no such tokens."""
        if self._issuer is None:
            return None
        url = self._resource(scope)
        return f'resource_metadata="{url.removesuffix("/mcp")}{WELL_KNOWN}/mcp"'

    def _answer(self, scope: Scope) -> Response:
        if self._issuer is None:
            detail = "no issuer of tokens is configured; see MASTERLOOP_OIDC_ISSUER"
            return respond(Problem(HTTPStatus.NOT_FOUND, detail), scope["path"])
        if scope["method"] not in ("GET", "HEAD", "OPTIONS"):
            headers = {"allow": "GET, HEAD, OPTIONS"}
            refused = Problem(HTTPStatus.METHOD_NOT_ALLOWED, "this can be read", headers=headers)
            return respond(refused, scope["path"])
        metadata = {
            "resource": self._resource(scope),
            "authorization_servers": [self._issuer],
            "bearer_methods_supported": ["header"],
            "scopes_supported": list(SCOPES),
            "resource_name": "Masterloop",
        }
        return Response(orjson.dumps(metadata), media_type="application/json")

    def _resource(self, scope: Scope) -> str:
        if self._url is not None:
            return self._url.rstrip("/")
        host = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
        return f"{scope['scheme']}://{host}{scope.get('root_path', '')}/mcp"
