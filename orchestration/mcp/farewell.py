"""The end of the face: whoever waits in it hears of that, and no answer breaks off."""

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager

import anyio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestration.api.problems import problem, respond
from orchestration.loop.errors import Draining

_PATIENCE = 1.0  # seconds for those who heard of it to answer


class Farewell:
    """Ends what would go on for ever: first by telling of the end, then by cutting it off."""

    def __init__(self) -> None:
        self._said = False
        self._hearing: list[Callable[[], None]] = []
        self._open: set[anyio.CancelScope] = set()
        self._quiet = asyncio.Event()

    @contextmanager
    def hearing(self, hear: Callable[[], None]) -> Generator[None]:
        """Have ``hear`` called if the end comes in here, or has come."""
        if self._said:
            hear()
        self._hearing.append(hear)
        try:
            yield
        finally:
            self._hearing.remove(hear)

    async def serve(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Have ``app`` answer one request.

        Raises:
            Draining: the end has come.
        """
        if self._said:
            raise Draining
        answer = Answer(send)
        with anyio.CancelScope() as cut:
            self._open.add(cut)
            try:
                if scope["method"] == "GET":  # a stream, of a session: it ends with that
                    with self.hearing(cut.cancel):
                        await app(scope, receive, answer)
                else:
                    await app(scope, receive, answer)
            finally:
                self._open.discard(cut)
                if not self._open:
                    self._quiet.set()
        if cut.cancel_called:
            await answer.end(Draining(), scope, receive)

    async def say(self) -> None:
        """Return once nobody is being answered any more."""
        self._said = True
        for hear in tuple(self._hearing):
            hear()
        self._quiet.clear()
        with anyio.move_on_after(_PATIENCE):
            while self._open:
                await self._quiet.wait()
        for cut in tuple(self._open):
            cut.cancel()


class Answer:
    """What is sent of one answer, and whether that is all of it."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._begun = self._whole = False

    async def __call__(self, message: Message) -> None:
        await self._send(message)
        self._begun = True
        self._whole = message["type"] == "http.response.body" and not message.get("more_body")

    async def end(self, why: Exception, scope: Scope, receive: Receive) -> None:
        """Let it end where it is; say ``why`` if that is before its beginning."""
        if not self._begun:
            await respond(problem(why), scope["path"])(scope, receive, self._send)
        elif not self._whole:
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})
