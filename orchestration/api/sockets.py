"""``/ops/stream`` as a WebSocket: the same JSON texts, each in a message."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus

from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from operations.live import News
from orchestration.api.access import ANONYMOUS
from orchestration.api.asked import parameters
from orchestration.api.backend import Backend
from orchestration.api.endpoint import Call
from orchestration.api.ops import TOPICS, StreamHow
from orchestration.api.pages import same_origin
from orchestration.api.paths import Paths
from orchestration.api.problems import Problem, not_found, problem, respond
from orchestration.api.revalidation import Revalidation

PATH = "/ops/stream"
GOING_AWAY = 1001
NOT_ALLOWED = 1008


class Sockets:
    """An ASGI application: answers WebSockets, and leaves everything else to the paths."""

    def __init__(self, backend: Backend, paths: Paths) -> None:
        self._backend = backend
        self._paths = paths

    def have(self, scope: Scope) -> bool:
        """Return whether a request is for one of the paths."""
        return self._paths.have(scope)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass on."""
        if scope["type"] != "websocket":
            await self._paths(scope, receive, send)
            return
        try:
            how, call = await self._admit(scope, receive)
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody gets in
            await respond(problem(error), scope["path"])(scope, receive, send)
            return
        await self._serve(WebSocket(scope, receive, send), how, call)

    async def _admit(self, scope: Scope, receive: Receive) -> tuple[StreamHow, Call]:
        """Return what is asked for by somebody who may, and their call.

        Raises:
            Problem, ValidationError: they may not, or ask for what there is not.
        """
        if scope["path"].removeprefix(scope.get("root_path", "")) != PATH:
            raise not_found(scope["path"])
        if not same_origin(scope):
            # Browsers open WebSockets across origins without asking; their pages are not to look.
            raise Problem(HTTPStatus.FORBIDDEN, "a page of another origin cannot look")
        authority, principal = self._backend.authority, ANONYMOUS
        if authority is not None:
            principal, _ = await authority.authenticate(scope, receive)
        call = Call(self._backend, scope, receive, dict(scope["headers"]), principal)
        call.require_admin()
        return StreamHow.parse(parameters(scope["query_string"])), call

    async def _serve(self, socket: WebSocket, how: StreamHow, call: Call) -> None:
        await socket.accept()
        live, streams = self._backend.operations.live, self._backend.streams
        known, timeout = call.known or (lambda: True), streams.send_timeout
        looker, before = live.look(how.topics or TOPICS)
        watch = asyncio.create_task(_watch(socket, looker.close))
        revalidation = Revalidation(known, streams.keep_alive, looker.close)
        streams.open += 1
        try:
            await _send(socket, before, timeout)
            while not looker.closed:
                await looker.wait()
                await _send(socket, looker.take(), timeout)
            await socket.close(GOING_AWAY if known() else NOT_ALLOWED)
        except TimeoutError:  # it does not read
            streams.slow_closed += 1
        except (WebSocketDisconnect, RuntimeError):
            return  # it has gone
        finally:
            streams.open -= 1
            revalidation.stop()
            watch.cancel()
            live.leave(looker)


async def _send(socket: WebSocket, news: list[News], timeout: float) -> None:  # noqa: ASYNC109 - of each message
    for one in news:
        async with asyncio.timeout(timeout):
            await socket.send_text(one.data.decode())
        await asyncio.sleep(0)


async def _watch(socket: WebSocket, gone: Callable[[], None]) -> None:
    """Return once the client has gone; what it sends means nothing."""
    with suppress(RuntimeError):
        while (await socket.receive())["type"] != "websocket.disconnect":
            pass
    gone()
