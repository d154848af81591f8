"""What is refused before any endpoint sees it: ambiguous, oversized or disguised requests."""

from http import HTTPStatus

from starlette.types import ASGIApp, Receive, Scope, Send

from orchestration.api.problems import Problem, respond

MAX_HEADERS = 100
MAX_HEADER_BYTES = 64 * 1024
_DISGUISED = (b"%2f", b"%5c", b"%00", b"..")


class Guard:
    """ASGI middleware: one Host, bounded headers, no path that means another than it says."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        refused = _refusal(scope) if scope["type"] == "http" else None
        if refused is None:
            await self._app(scope, receive, send)
        else:
            await respond(refused, scope["path"])(scope, receive, send)


def _refusal(scope: Scope) -> Problem | None:
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    size = hosts = lengths = 0
    for name, value in headers:
        size += len(name) + len(value)
        hosts += name == b"host"
        lengths += name in (b"content-length", b"transfer-encoding")
    if len(headers) > MAX_HEADERS or size > MAX_HEADER_BYTES:
        return Problem(
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
            f"at most {MAX_HEADERS} headers of {MAX_HEADER_BYTES} bytes together",
        )
    if hosts > 1 or (hosts == 0 and scope["http_version"] != "1.0"):
        return Problem(HTTPStatus.BAD_REQUEST, "exactly one Host header is needed")
    if lengths > 1:
        return Problem(HTTPStatus.BAD_REQUEST, "one of Content-Length and Transfer-Encoding, once")
    raw_path: bytes = scope["raw_path"].partition(b"?")[0].lower()
    if any(part in raw_path for part in _DISGUISED):
        return Problem(HTTPStatus.BAD_REQUEST, "the path holds an escaped slash, a NUL or '..'")
    return None
