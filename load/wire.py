"""A client that costs next to nothing, so that one core can offer more than a service can take."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
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
    pieces: list[tuple[float, bytes]] = field(default_factory=list)  # of the body: when, what
    ended: float = 0.0

    @property
    def body(self) -> bytes:
        """The whole body."""
        return b"".join([piece for _, piece in self.pieces])

    @property
    def first(self) -> float | None:
        """When the first event of a stream came that the run made; None for none."""
        for at, piece in self.pieces:
            if piece.count(_EVENT) > piece.count(_METADATA):
                return at
        return None

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


def events(answer: Answer) -> list[Event]:
    """Return the events of a stream, each with when the piece came that completed it."""
    found: list[Event] = []
    rest = b""
    for at, piece in answer.pieces:
        *blocks, rest = (rest + piece).replace(b"\r\n", b"\n").split(b"\n\n")
        for block in blocks:
            lines = [line.partition(b":") for line in block.split(b"\n")]
            names = [value.strip().decode() for key, _, value in lines if key == b"event"]
            data = [value.strip() for key, _, value in lines if key == b"data"]
            if names or data:
                found.append(Event(at, names[-1] if names else "message", b"\n".join(data)))
    return found


def request(path: str, body: Mapping[str, Any] | None, host: str, *, method: str = "POST") -> bytes:
    """Return a request as it is sent."""
    content = b"" if body is None else orjson.dumps(body)
    head = f"{method} {path} HTTP/1.1\r\nhost: {host}\r\n"
    if body is not None:
        head += "content-type: application/json\r\n"
    return f"{head}content-length: {len(content)}\r\n\r\n".encode() + content


class Client:
    """Sends to one address, over at most ``most`` connections, which are kept."""

    def __init__(self, host: str, port: int, most: int) -> None:
        self.address = (host, port)
        self._free = asyncio.Semaphore(most)
        self._idle: list[tuple[float, Connection]] = []  # since when, the last used last
        self._all: set[Connection] = set()

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

    def _kept(self) -> "Connection | None":
        while self._idle:
            since, connection = self._idle.pop()
            if connection.reusable and perf_counter() - since < _IDLE:
                return connection
            self._all.discard(connection)
            connection.close()
        return None

    async def _connect(self) -> "Connection":
        connection = await connect(*self.address)
        self._all.add(connection)
        return connection

    def close(self) -> None:
        """Close all connections."""
        for connection in self._all:
            connection.close()


class Connection(asyncio.Protocol):
    """A connection, with one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.WriteTransport | None = None
        self._parser: Any = None
        self._answer = Answer(0.0)
        self._ended: asyncio.Future[Answer] | None = None
        self._lost: Exception | None = None
        self._keep = False

    @property
    def reusable(self) -> bool:
        """Whether another request can be sent."""
        return self._lost is None and self._keep

    async def exchange(self, message: bytes) -> Answer:
        """Send a request and return its answer.

        Raises:
            ConnectionError: the connection was lost, or what came is no answer.
        """
        if self._transport is None or self._lost is not None:
            raise self._lost or ConnectionResetError("not connected")
        self._parser = httptools.HttpResponseParser(self)
        self._keep = False
        self._answer = Answer(perf_counter())
        self._ended = asyncio.get_running_loop().create_future()
        self._transport.write(message)
        return await self._ended

    def close(self) -> None:
        """Close it."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what to write to."""
        self._transport = transport  # type: ignore[assignment] # one that is connected can write

    def data_received(self, data: bytes) -> None:
        """Take a part of an answer."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.connection_lost(ConnectionError(f"no answer: {error}"))
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell who waits."""
        self._lost = self._lost or exc or ConnectionResetError("the service closed the connection")
        if self._ended is not None and not self._ended.done():
            self._ended.set_exception(self._lost)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep when to come again."""
        if name.lower() == b"retry-after":
            self._answer.retry_after = value.decode()

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body, and when it came."""
        self._answer.pieces.append((perf_counter(), body))

    def on_message_complete(self) -> None:
        """Tell who waits."""
        self._keep = self._parser.should_keep_alive()
        self._answer.status = self._parser.get_status_code()
        self._answer.ended = perf_counter()
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(self._answer)


async def connect(host: str, port: int) -> Connection:
    """Return a new connection, which belongs to the caller.

    Raises:
        OSError: it could not be made.
    """
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(Connection, host, port)
    return connection
