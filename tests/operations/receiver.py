"""A real HTTP server on the loopback interface that keeps what it is sent."""

import asyncio
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Self

Write = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Received:
    """A request as it came."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


def answer(status: int, *headers: str, body: bytes = b"") -> bytes:
    """Return an answer as it goes over the wire."""
    head = [f"HTTP/1.1 {status} X", f"content-length: {len(body)}", "connection: close", *headers]
    return "\r\n".join([*head, "", ""]).encode() + body


class Receiver:
    """Answers requests in turn with what it was given, the last answer again and again."""

    def __init__(self, *answers: bytes | Write) -> None:
        self.requests: list[Received] = []
        self._answers = list(answers or [answer(200)])
        self._arrived = asyncio.Condition()
        self._serving: set[asyncio.Task[None]] = set()
        self.port = 0

    @classmethod
    @asynccontextmanager
    async def open(
        cls, *answers: bytes | Write, tls: ssl.SSLContext | None = None, port: int = 0
    ) -> AsyncGenerator[Self]:
        """Open a receiver on a free port, or on ``port``."""
        self = cls(*answers)
        server = await asyncio.start_server(self._serve, "127.0.0.1", port, ssl=tls)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in self._serving:
                task.cancel()
            await asyncio.gather(*self._serving, return_exceptions=True)

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}/hook"

    async def arrived(self, count: int) -> list[Received]:
        """Wait until so many requests have come; return all."""
        async with self._arrived:
            await self._arrived.wait_for(lambda: len(self.requests) >= count)
        return self.requests

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)  # held, too: of a handler that waits for ever nobody else knows
        task.add_done_callback(self._serving.discard)
        try:
            self.requests.append(await _read(reader))
            async with self._arrived:
                self._arrived.notify_all()
            write = self._answers[0] if len(self._answers) == 1 else self._answers.pop(0)
            if isinstance(write, bytes):
                writer.write(write)
            else:
                await write(writer)
            await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass  # the client went away, or the test is over
        finally:
            writer.close()


async def _read(reader: asyncio.StreamReader) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    pairs = (line.split(": ", 1) for line in head[1:] if line)
    headers = {name.lower(): value for name, value in pairs}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    method, target, _ = head[0].split(" ")
    return Received(method, target, headers, body)
