"""An HTTP/1.1 client that costs a request 15 to 30 µs, so that it is not what is measured."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any, cast

import httptools
import orjson

TIMEOUT = 120.0  # seconds for one answer


@dataclass(slots=True)
class Response:
    """An answer, and when it was asked for and was whole, in seconds of `time.perf_counter`."""

    status: int = 0
    body: bytes = b""
    sent: float = 0.0
    ended: float = 0.0
    pieces: list[tuple[float, bytes]] = field(default_factory=list)  # of a stream: when, what

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended - self.sent

    @property
    def success(self) -> bool:
        """Whether the status is one of success."""
        return 200 <= self.status < 300  # noqa: PLR2004 - the class of statuses

    def json(self) -> Any:
        """Return the document of the body."""
        return orjson.loads(self.body)


@dataclass(slots=True)
class Event:
    """A server-sent event, and when its last byte came."""

    at: float
    name: str
    data: bytes


class Connection(asyncio.Protocol):
    """One connection, with one request on its way at a time."""

    def __init__(self) -> None:
        self.closed = True
        self._transport: asyncio.Transport | None = None
        self._parser: Any = None
        self._answer: asyncio.Future[Response] | None = None
        self._response = Response()
        self._streamed = False

    async def send(self, request: bytes, *, stream: bool = False) -> Response:
        """Send a request and return its answer; of a ``stream``, the pieces as they came.

        Raises:
            ConnectionError: the connection is closed, or was before the answer was whole.
            TimeoutError: there was no whole answer within `TIMEOUT`; the connection is closed.
        """
        if self.closed or self._transport is None:
            raise ConnectionError("the connection is closed")
        self._response, self._streamed = Response(), stream
        self._answer = asyncio.get_running_loop().create_future()
        self._response.sent = time.perf_counter()
        self._transport.write(request)
        try:
            async with asyncio.timeout(TIMEOUT):
                return await self._answer
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close it."""
        self.closed = True
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = cast("asyncio.Transport", transport)
        self._parser = httptools.HttpResponseParser(self)
        self.closed = False

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(ConnectionError(f"not HTTP: {error}"))
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail what waits for an answer."""
        self.closed = True
        self._fail(exc or ConnectionError("closed by the server"))

    def on_body(self, piece: bytes) -> None:
        """Keep a piece of the body."""
        self._response.pieces.append((time.perf_counter() if self._streamed else 0.0, piece))

    def on_message_complete(self) -> None:
        """Give the answer to who waits for it."""
        response, answer = self._response, self._answer
        self._answer = None
        response.status = self._parser.get_status_code()
        response.ended = time.perf_counter()
        if not self._streamed:
            response.body = b"".join([piece for _, piece in response.pieces])
        if not self._parser.should_keep_alive():
            self.close()
        if answer is not None and not answer.done():
            answer.set_result(response)

    def _fail(self, error: Exception) -> None:
        answer, self._answer = self._answer, None
        if answer is not None and not answer.done():
            answer.set_exception(error)


class Client:
    """Requests to one server, over connections that are kept."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[Connection] = []
        self._head = f"Host: 127.0.0.1:{port}\r\nAccept: */*\r\n"

    async def connect(self) -> Connection:
        """Return a new connection, which belongs to the caller."""
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(Connection, "127.0.0.1", self._port)
        return connection

    def build(self, method: str, path: str, document: Any = None) -> bytes:
        """Return the bytes of a request."""
        line = f"{method} {path} HTTP/1.1\r\n{self._head}"
        if document is None:
            return f"{line}Content-Length: 0\r\n\r\n".encode()
        body = orjson.dumps(document)
        head = f"{line}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        return head.encode() + body

    async def request(self, method: str, path: str, document: Any = None) -> Response:
        """Build a request, and `send` it."""
        return await self.send(self.build(method, path, document))

    async def send(self, request: bytes) -> Response:
        """Send a request over a connection that is free; one that was closed is tried anew.

        Raises:
            ConnectionError: the server cannot be reached, or does not answer.
        """
        while self._idle:
            connection = self._idle.pop()
            try:
                return await self._through(connection, request)
            except ConnectionError:
                continue
        return await self._through(await self.connect(), request)

    async def prewarm(self, count: int) -> None:
        """Have so many connections ready."""
        self._idle += [await self.connect() for _ in range(count)]

    def close(self) -> None:
        """Close the connections that are free."""
        for connection in self._idle:
            connection.close()
        self._idle.clear()

    async def _through(self, connection: Connection, request: bytes) -> Response:
        response = await connection.send(request)
        if not connection.closed:
            self._idle.append(connection)
        return response


def events(pieces: list[tuple[float, bytes]]) -> list[Event]:
    """Return the events of a stream, each with when the piece came that completed it."""
    found: list[Event] = []
    rest = b""
    for at, piece in pieces:
        *blocks, rest = (rest + piece.replace(b"\r\n", b"\n")).split(b"\n\n")
        for block in blocks:
            lines = [line.partition(b":") for line in block.split(b"\n")]
            names = [value.strip().decode() for key, _, value in lines if key == b"event"]
            data = [value.strip() for key, _, value in lines if key == b"data"]
            if names or data:
                found.append(Event(at, names[-1] if names else "message", b"\n".join(data)))
    return found
