"""A client that costs next to nothing, so that one core can offer more than a service can take."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import httptools
import orjson

_EVENT = b"event: "
_IDLE = 10.0  # seconds after which a connection is not trusted: services close them after 15
_METADATA = b"event: metadata"  # comes with the acceptance of a run, before anything was done


@dataclass(slots=True)
class Answer:
    """What came of a request; times are `perf_counter`s, in seconds."""

    sent: float
    status: int = 0
    retry_after: str | None = None
    body: bytes = b""
    first: float | None = None  # when the first event of a stream came
    ended: float = 0.0


def request(path: str, body: Mapping[str, Any], host: str) -> bytes:
    """Return a POST as it is sent."""
    content = orjson.dumps(body)
    head = f"POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(content)}\r\n\r\n".encode() + content


class Client:
    """Sends to one address, over at most ``most`` connections, which are kept."""

    def __init__(self, host: str, port: int, most: int) -> None:
        self._address = (host, port)
        self._free = asyncio.Semaphore(most)
        self._idle: list[tuple[float, _Connection]] = []  # since when, the last used last
        self._all: set[_Connection] = set()

    async def send(self, message: bytes) -> Answer:
        """Send a request, once there is a connection for it, and return what came of it.

        Raises:
            OSError: the connection could not be made, or was lost.
        """
        async with self._free:
            connection = self._kept() or await self._connect()
            try:
                answer = await connection.exchange(message)
            except BaseException:
                self._all.discard(connection)
                connection.close()
                raise
            if connection.reusable:
                self._idle.append((answer.ended, connection))
            else:
                self._all.discard(connection)
                connection.close()
            return answer

    def _kept(self) -> "_Connection | None":
        while self._idle:
            since, connection = self._idle.pop()
            if connection.reusable and perf_counter() - since < _IDLE:
                return connection
            self._all.discard(connection)
            connection.close()
        return None

    async def _connect(self) -> "_Connection":
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(_Connection, *self._address)
        self._all.add(connection)
        return connection

    def close(self) -> None:
        """Close all connections."""
        for connection in self._all:
            connection.close()


class _Connection(asyncio.Protocol):
    """A connection, with one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.WriteTransport | None = None
        self._parser: Any = None
        self._answer = Answer(0.0)
        self._parts: list[bytes] = []
        self._ended: asyncio.Future[Answer] | None = None
        self._lost: Exception | None = None
        self._keep = False

    @property
    def reusable(self) -> bool:
        """Whether another request can be sent."""
        return self._lost is None and self._keep

    async def exchange(self, message: bytes) -> Answer:
        """Send a request and return its answer."""
        if self._transport is None or self._lost is not None:
            raise self._lost or ConnectionResetError("not connected")
        self._parser = httptools.HttpResponseParser(self)
        self._parts = []
        self._answer = Answer(perf_counter())
        self._ended = asyncio.get_running_loop().create_future()
        self._transport.write(message)
        return await self._ended

    def close(self) -> None:
        """Close it."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment] # one that is connected can write

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = exc or ConnectionResetError("the service closed the connection")
        if self._ended is not None and not self._ended.done():
            self._ended.set_exception(self._lost)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep when to come again."""
        if name.lower() == b"retry-after":
            self._answer.retry_after = value.decode()

    def on_body(self, body: bytes) -> None:
        """Keep the body, and see when the first event came that the run made."""
        if self._answer.first is None and body.count(_EVENT) > body.count(_METADATA):
            self._answer.first = perf_counter()
        self._parts.append(body)

    def on_message_complete(self) -> None:
        """Tell who waits."""
        self._keep = self._parser.should_keep_alive()
        self._answer.status = self._parser.get_status_code()
        self._answer.body = b"".join(self._parts)
        self._answer.ended = perf_counter()
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(self._answer)
