"""Requests that no operation of ours answers, counted like those that one does."""

from time import monotonic

import anyio
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestration.api.answered import Answered
from orchestration.api.problems import CLIENT_GONE

NOWHERE = "nowhere"  # the route of requests that are for no path that there is
_BROKEN = 500  # what a server answers for an application that raises before it answers


class Counted:
    """An ASGI application that is another one, whose requests are reported as for ``route``."""

    def __init__(self, app: ASGIApp, route: str, answered: Answered) -> None:
        self._app = app
        self._route = route
        self._answered = answered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Have a request answered, and report it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, status = monotonic(), 0

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
            if not status and await _has_gone(receive):
                status = CLIENT_GONE
        except ClientDisconnect:  # of the project's routes: they were reading a body
            status = CLIENT_GONE  # and no error, which the server would log with a traceback
        finally:
            took = monotonic() - begun
            self._answered.add(self._route, scope["method"], status or _BROKEN, took)


async def _has_gone(receive: Receive) -> bool:
    """Return whether a client that was not answered has gone; that is known without waiting."""
    with anyio.CancelScope() as at_once:
        at_once.cancel()
        message = await receive()
        return bool(message["type"] == "http.disconnect")
    return False
