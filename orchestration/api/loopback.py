"""The service, for clients within its own process: requests that no connection brings."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from contextvars import copy_context
from typing import Any, TypeAlias, TypeVar

import httpx
import structlog
from starlette.types import ASGIApp, Message, Scope

from orchestration.api.auth.insiders import INSIDER, insider
from orchestration.loop.run import Run

T = TypeVar("T")
Head: TypeAlias = tuple[int, list[tuple[bytes, bytes]]]  # a status and headers

_log = structlog.get_logger(__name__)
_BROKEN = "the service broke off its answer"
_AHEAD = 16  # parts of an answer that may wait for who reads it


class Loopback:
    """Hands requests to the application, once it is open; until then nobody answers.

    Who asks may be in another event loop, as a sync node is that has one for a client. The
    application works in the service's, and in nobody's run: it would take a run that it begins
    for a part of the one that asks.
    """

    def __init__(self, prefix: str) -> None:
        """``prefix`` is what the application is below."""
        prefix = prefix.strip("/")
        self._prefix = f"/{prefix}" if prefix else ""
        self._app: ASGIApp | None = None
        self._live: Callable[[str], Run | None] = lambda _: None
        self._loop = asyncio.get_running_loop()
        self._context = copy_context()
        self._tasks: set[asyncio.Task[None]] = set()

    def open(self, app: ASGIApp, live: Callable[[str], Run | None]) -> None:
        """Hand requests to ``app`` from now on; ``live`` tells of the runs that have not ended."""
        self._app, self._live = app, live

    async def answer(self, request: httpx.Request) -> httpx.Response:
        """Answer a request; see the port."""
        if self._app is None:
            raise httpx.ConnectError("the service is not open", request=request)
        scope = self._scope(request)
        exchange = _Exchange(self._loop, scope, await request.aread())
        answer = _Answer(self, exchange)
        try:
            status, headers = await self.here(self._begin(exchange, self._app))
        except BaseException:
            await answer.aclose()
            raise
        return httpx.Response(status, headers=headers, stream=answer, request=request)

    async def here(self, work: Coroutine[Any, Any, T]) -> T:
        """Have ``work`` done in the service's event loop."""
        if asyncio.get_running_loop() is self._loop:
            return await work
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    def tell(self, what: Callable[[], None]) -> None:
        """Have ``what`` called in the service's event loop, if that is open still."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(what)

    async def _begin(self, exchange: "_Exchange", app: ASGIApp) -> Head:
        task = self._context.copy().run(asyncio.create_task, exchange.run(app))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await exchange.begun

    def _scope(self, request: httpx.Request) -> Scope:
        url = request.url
        path = self._prefix + url.path
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": request.method,
            "scheme": url.scheme,
            "path": path,
            "raw_path": self._prefix.encode() + url.raw_path.partition(b"?")[0],
            "query_string": url.query,
            "root_path": "",
            "headers": [(name.lower(), value) for name, value in request.headers.raw],
            "client": None,
            "server": None,
            INSIDER: insider(self._live),
        }


class _Exchange:
    """One request and its answer, in the service's event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, scope: Scope, body: bytes) -> None:
        self.begun: asyncio.Future[Head] = loop.create_future()
        self._scope = scope
        self._body: bytes | None = body
        self._parts: asyncio.Queue[bytes | None] = asyncio.Queue(_AHEAD)
        self._left = asyncio.Event()
        self._whole = False

    async def run(self, app: ASGIApp) -> None:
        """Have the application answer."""
        try:
            await app(self._scope, self._receive, self._send)
        except Exception:  # noqa: BLE001 - who asks is told that there is no answer
            _log.exception("request failed", path=self._scope["path"])
        finally:
            if not self.begun.done():
                self.begun.set_exception(httpx.RemoteProtocolError(_BROKEN))
            if not self._whole:
                await self._put(None)

    async def next_part(self) -> bytes | None:
        """Return the next part of the answer's body; None after the last.

        Raises:
            httpx.RemoteProtocolError: it is not whole.
        """
        part = await self._parts.get()
        if part is None and not self._whole:
            raise httpx.RemoteProtocolError(_BROKEN)
        return part

    def leave(self) -> None:
        """Note that nobody reads the answer any more."""
        self._left.set()
        while not self._parts.empty():
            self._parts.get_nowait()

    async def _receive(self) -> Message:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            if not self.begun.done():
                self.begun.set_result((message["status"], list(message["headers"])))
            return
        if body := message.get("body"):
            await self._put(body)
        if not message.get("more_body", False):
            self._whole = True
            await self._put(None)

    async def _put(self, part: bytes | None) -> None:
        if not self._left.is_set():
            await self._parts.put(part)


class _Answer(httpx.AsyncByteStream):
    """The body of an answer, for who reads it; the service hears when they stop."""

    def __init__(self, loopback: Loopback, exchange: _Exchange) -> None:
        self._loopback = loopback
        self._exchange = exchange

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (part := await self._loopback.here(self._exchange.next_part())) is not None:
            yield part

    async def aclose(self) -> None:
        self._loopback.tell(self._exchange.leave)
