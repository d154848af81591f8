"""What is refused before any endpoint sees it: ambiguous, oversized or disguised requests."""

import re
from http import HTTPStatus

from starlette.types import ASGIApp, Receive, Scope, Send

from orchestration.api.answered import Answered
from orchestration.api.counted import NOWHERE, Counted
from orchestration.api.problems import Problem, respond

MAX_HEADERS = 100
MAX_HEADER_BYTES = 64 * 1024
_HOST = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?")
_LENGTHS = (b"content-length", b"transfer-encoding")
_DISGUISED = (b"%2f", b"%5c", b"%00", b"..")


class Guard:
    """ASGI middleware: one Host, bounded headers, no path that means another than it says.

    Requests that name an Origin, as browsers' do, go to ``browsers``; all others to ``app``.
    """

    def __init__(self, app: ASGIApp, browsers: ASGIApp, answered: Answered) -> None:
        self._app = app
        self._answered = answered
        self._browsers = browsers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        refused = _refusal(scope)
        if refused is not None:
            refusal = Counted(respond(refused, scope["path"]), NOWHERE, self._answered)
            await refusal(scope, receive, send)
        elif any(name == b"origin" for name, _ in scope["headers"]):
            await self._browsers(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _refusal(scope: Scope) -> Problem | None:
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    size = 0
    hosts: list[bytes] = []
    lengths: list[tuple[bytes, bytes]] = []
    for name, value in headers:
        size += len(name) + len(value)
        if name == b"host":
            hosts.append(value)
        elif name in _LENGTHS:
            lengths.append((name, value))
    if len(headers) > MAX_HEADERS or size > MAX_HEADER_BYTES:
        return Problem(
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
            f"at most {MAX_HEADERS} headers of {MAX_HEADER_BYTES} bytes together",
        )
    if len(hosts) > 1 or (not hosts and scope["http_version"] != "1.0"):
        return Problem(HTTPStatus.BAD_REQUEST, "exactly one Host header is needed")
    if hosts and not _HOST.fullmatch(hosts[0]):
        return Problem(HTTPStatus.BAD_REQUEST, "the Host header is no name or address with a port")
    if lengths and (refused := _unclear(*lengths)) is not None:
        return refused
    raw_path: bytes = scope["raw_path"].partition(b"?")[0].lower()
    if any(part in raw_path for part in _DISGUISED):
        return Problem(HTTPStatus.BAD_REQUEST, "the path holds an escaped slash, a NUL or '..'")
    return None


def _unclear(said: tuple[bytes, bytes], *more: tuple[bytes, bytes]) -> Problem | None:
    """Return the refusal of a body of which it is not clear where it ends, or what it holds."""
    if more:
        return Problem(HTTPStatus.BAD_REQUEST, "one of Content-Length and Transfer-Encoding, once")
    name, value = said
    if name == b"transfer-encoding" and value.strip().lower() != b"chunked":
        # The parser takes the last coding off, and leaves the others in the body (RFC 9112, 6.1).
        detail = "no Transfer-Encoding but chunked is understood"
        return Problem(HTTPStatus.NOT_IMPLEMENTED, detail, headers={"connection": "close"})
    return None
