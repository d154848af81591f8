"""A request over HTTP that carries a message of the protocol: whose it is, and if they stay."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from mcp.server.context import ServerRequestContext
from starlette.types import Message, Receive

from orchestration.api.endpoint import Call

Context = ServerRequestContext[Any, Any]

_KEY = "masterloop.mcp.visit"


class Visit:
    """One request; what is done for it is done as its sender."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self._gone = False
        self._leaving: list[Callable[[], None]] = []
        call.scope[_KEY] = self

    @contextmanager
    def leaving(self, leave: Callable[[], None]) -> Generator[None]:
        """Have ``leave`` called if the client goes away in here, or has gone."""
        if self._gone:
            leave()
        self._leaving.append(leave)
        try:
            yield
        finally:
            self._leaving.remove(leave)

    def watching(self, receive: Receive) -> Receive:
        """Return ``receive`` such that it tells of a client that goes away."""

        async def watched() -> Message:
            message = await receive()
            if message["type"] == "http.disconnect":
                self._gone = True
                for leave in tuple(self._leaving):
                    leave()
            return message

        return watched


def visit_of(ctx: Context) -> Visit:
    """Return the request that brought a message."""
    if ctx.request is None:
        raise RuntimeError("a message came by no request")
    visit: Visit = ctx.request.scope[_KEY]
    return visit
