"""Requests that no operation of ours answers, counted like those that one does."""

from time import monotonic

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestration.api.answered import Answered

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
        begun, status = monotonic(), _BROKEN

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            took = monotonic() - begun
            self._answered.add(self._route, scope["method"], status, took)
