"""A path and its methods: calls whoever answers, and answers for whatever goes wrong."""

from collections.abc import Mapping
from http import HTTPStatus
from time import monotonic
from typing import Protocol

import structlog
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from orchestration.api.access import ANONYMOUS, Access, Principal
from orchestration.api.backend import Backend
from orchestration.api.endpoint import Call, no_content
from orchestration.api.events import Audited
from orchestration.api.problems import PROBLEMS, Problem, Wording, problem

_REFUSED = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
_LONG = 1_000  # characters of a path that the audit is told: many wait for a disk that is full

_log = structlog.get_logger(__name__)


class Answering(Protocol):
    """What answers one method of a path."""

    @property
    def access(self) -> Access:
        """What it takes to be allowed."""
        ...

    @property
    def wording(self) -> Wording:
        """How it refuses."""
        ...

    @property
    def streams(self) -> bool:
        """Whether its answer may have no end."""
        ...

    @property
    def audited(self) -> bool:
        """Whether it is written down who asks."""
        ...

    @property
    def name(self) -> str:
        """The operation's id."""
        ...

    async def answer(self, call: Call) -> Response:
        """Answer a request."""
        ...


class Resource:
    """The operations of one path; an ASGI application."""

    def __init__(self, backend: Backend, path: str, methods: Mapping[str, Answering]) -> None:
        self.path = path
        self._backend = backend
        self._methods = dict(methods)
        got = methods.get("GET")
        if got is not None and not got.streams:
            # The answer to HEAD is that to GET; the server sends it without its body.
            self._methods["HEAD"] = got
        self._allow = ", ".join(sorted((*self._methods, "OPTIONS")))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, and report it."""
        begun, method = monotonic(), scope["method"]
        endpoint, principal = self._methods.get(method), ANONYMOUS
        try:
            if endpoint is not None:
                principal, receive = await self._known(endpoint, scope, receive)
                call = Call(self._backend, scope, receive, dict(scope["headers"]), principal)
                response = await endpoint.answer(call)
            elif method == "OPTIONS":
                response = no_content(headers={"allow": self._allow})
            else:
                raise self._not_allowed(method)  # noqa: TRY301 - answered like all the others
        except Exception as error:  # noqa: BLE001 - whatever it is, the client gets an answer
            response = _refusal(error, endpoint, scope)
        if endpoint is not None and (endpoint.audited or response.status_code in _REFUSED):
            self._backend.emit(_audited(endpoint.name, principal, scope, response.status_code))
        try:
            await response(scope, receive, send)
        finally:
            took = monotonic() - begun
            self._backend.answered.add(self.path, method, response.status_code, took)

    async def _known(
        self, endpoint: Answering, scope: Scope, receive: Receive
    ) -> tuple[Principal, Receive]:
        """Return who calls, and what the body is to be received from."""
        authority = self._backend.authority
        if authority is None or endpoint.access.public:
            return ANONYMOUS, receive
        return await authority.authenticate(scope, receive)

    def _not_allowed(self, method: str) -> Problem:
        return Problem(
            HTTPStatus.METHOD_NOT_ALLOWED,
            f"{method} is not possible here; {self._allow} are",
            headers={"allow": self._allow},
        )


def _refusal(error: Exception, endpoint: Answering | None, scope: Scope) -> Response:
    """Return the answer that an error comes to.

    Not in the frame that catches it, which the error has in its traceback: kept there, the two
    would be left to the garbage collector.
    """
    found = problem(error)
    wording = PROBLEMS if endpoint is None else endpoint.wording
    if found.status == HTTPStatus.INTERNAL_SERVER_ERROR:
        _log.exception("request failed", path=scope["path"], method=scope["method"])
    return wording.respond(found, scope["path"])


def _audited(action: str, principal: Principal, scope: Scope, status: int) -> Audited:
    client = scope.get("client")
    return Audited(
        action,
        principal.identity,
        principal.user.get("key_id"),
        client[0] if client else None,
        scope["method"],
        scope["path"][:_LONG],
        status,
    )
