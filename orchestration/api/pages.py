"""Pages of other origins: what a browser sends for them without asking first."""

from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from orchestration.api.answered import Answered
from orchestration.api.counted import Counted
from orchestration.api.problems import Problem, respond

_LOOKING = frozenset({"GET", "HEAD", "OPTIONS"})
_HERE = frozenset({b"same-origin", b"none"})
_ELSEWHERE = frozenset({b"cross-site", b"same-site"})


class AllowedPages:
    """An ASGI application that is another one, but for pages of origins that ``http.cors`` lacks.

    They cannot read its answers. But a browser asks first neither about a body without a type nor
    about none, and sends cookies along: a run would begin all the same. It is the browser that says
    of a page whether it is from elsewhere; that holds behind a proxy under another name, too.
    """

    def __init__(self, app: ASGIApp, cors: CORSMiddleware, route: str, answered: Answered) -> None:
        self._app = app
        self._cors = cors
        self._route = route
        self._answered = answered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        app = self._app
        if scope["method"] not in _LOOKING and not self._allows(dict(scope["headers"])):
            refused = Problem(HTTPStatus.FORBIDDEN, "a page of another origin cannot do that")
            app = Counted(respond(refused, scope["path"]), self._route, self._answered)
        await app(scope, receive, send)

    def _allows(self, headers: dict[bytes, bytes]) -> bool:
        if headers.get(b"sec-fetch-site") not in _ELSEWHERE:
            return True
        return self._cors.is_allowed_origin(headers.get(b"origin", b"").decode("latin-1"))


class AllowedSockets:
    """An ASGI application of WebSockets that is another one, but for the same pages.

    A browser opens a WebSocket across origins without asking, sends cookies along, and lets the
    page read what comes. It always names the origin; not all of them say where it is from.
    """

    def __init__(self, app: ASGIApp, cors: CORSMiddleware) -> None:
        self._app = app
        self._cors = cors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the WebSocket on, or refuse it."""
        app = self._app
        if not self._allows(scope):
            refused = Problem(HTTPStatus.FORBIDDEN, "a page of another origin cannot do that")
            app = respond(refused, scope["path"])
        await app(scope, receive, send)

    def _allows(self, scope: Scope) -> bool:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        site = headers.get(b"sec-fetch-site")
        if site in _HERE or (site not in _ELSEWHERE and same_origin(scope)):
            return True
        return self._cors.is_allowed_origin(headers.get(b"origin", b"").decode("latin-1"))


def same_origin(scope: Scope) -> bool:
    """Return whether a request is from a page of the host that it is for, or from no page."""
    headers: dict[bytes, bytes] = dict(scope["headers"])
    origin = headers.get(b"origin")
    if origin is None:  # no browser
        return True
    host = headers.get(b"host", b"").decode("latin-1")
    try:
        return urlsplit(origin.decode("latin-1")).netloc == host
    except ValueError:
        return False
