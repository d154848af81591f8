"""An exchange: a request as the application hears it, and an answer as the client gets it."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from uvicorn._types import (
    ASGI3Application,
    ASGIReceiveCallable,
    ASGIReceiveEvent,
    ASGISendCallable,
    ASGISendEvent,
    Scope,
)
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle


class Exchange:
    """An application that is called for a request, whose client may have said all it will say.

    Whoever has said that may have gone, or may still listen (RFC 9112, 9.6). The application is
    told of it as of one who has gone, once it has all of the body; what it answers is sent.
    """

    __slots__ = ("_app", "_heard", "_said_all", "cycle")

    def __init__(
        self, cycle: RequestResponseCycle, app: ASGI3Application, *, said_all: bool
    ) -> None:
        self.cycle = cycle
        self._app = app
        self._said_all = said_all
        self._heard = False  # all of the body

    async def __call__(
        self, scope: Scope, _receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        """Have the request answered; close the connection if it is not, and nobody may wait."""
        if scope["http_version"] == "1.0":  # type: ignore[typeddict-item] # of HTTP only
            send = partial(self._send_unframed, send)
        await self._app(scope, self._receive, send)
        if self._said_all and not self.cycle.response_complete:
            self.cycle.disconnected = True  # or uvicorn takes it for an error
            self.cycle.transport.close()

    def hear_no_more(self) -> None:
        """Tell the application that its client has said all."""
        self._said_all = True
        self.cycle.message_event.set()

    def break_off(self) -> None:
        """Tell the application that its client has gone, and send nothing any more."""
        if not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()

    async def _send_unframed(self, send: ASGISendCallable, message: ASGISendEvent) -> None:
        """Send without chunks, which HTTP/1.0 has not: the answer ends with the connection."""
        if message["type"] == "http.response.start":
            self.cycle.chunked_encoding = False
        elif message["type"] == "http.response.body":
            self.cycle.expected_content_length = len(message.get("body", b""))
        await send(message)

    async def _receive(self) -> ASGIReceiveEvent:
        if not (self._heard and self._said_all):
            message = await self.cycle.receive()
            if not (self._heard and self._said_all):
                self._heard = not message.get("more_body", False)
                return message
        return {"type": "http.disconnect"}


class Joining:
    """A transport on which the head of an answer waits for its body: one packet, one wake-up."""

    __slots__ = ("_held", "_loop", "_part", "_transport")

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        part: Callable[[], None],
    ) -> None:
        self._transport = transport
        self._loop = loop
        self._part = part
        self._held: bytes | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if self._held is None:
            self._held = data
            # In two turns of the loop a run that may begin at once has told its first event.
            self._loop.call_soon(self._loop.call_soon, self._flush)
        else:
            self._transport.write(self._held + data)
            self._held = b""

    def close(self) -> None:
        self._flush()
        self._part()

    def _flush(self) -> None:
        """Let a head go whose body is still to be made."""
        if self._held and not self._transport.is_closing():
            self._transport.write(self._held)
        self._held = b""
