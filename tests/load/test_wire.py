import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from load.wire import Answer, Client, events, request


@asynccontextmanager
async def answering(*answers: bytes) -> AsyncIterator[Client]:
    """Give each connection one answer, in turn, and close it then."""
    left = iter(answers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(next(left))
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        client = Client("127.0.0.1", server.sockets[0].getsockname()[1], 1)
        yield client
        client.close()


def answer(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


async def test_an_answer_is_whole_and_timed() -> None:
    async with answering(answer(b'{"a":1}')) as client:
        got = await client.send(request("/", {"b": 2}, "x"))
        assert got.success
        assert got.json() == {"a": 1}
        assert 0 < got.seconds < 60


@pytest.mark.parametrize("broken", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", b"x"])
async def test_half_an_answer_is_an_error(broken: bytes) -> None:
    async with answering(broken) as client:
        with pytest.raises(ConnectionError):
            await client.send(request("/", None, "x", method="GET"))


def test_pieces_of_a_stream_become_events_when_they_are_whole() -> None:
    pieces = [
        (1.0, b"event: val"),
        (2.0, b"ues\r\ndata: {}\r\n\r"),
        (3.0, b"\n: ping\n\ndata: 1\n\n"),
    ]
    assert [(event.at, event.name, event.data) for event in events(Answer(0.0, pieces=pieces))] == [
        (3.0, "values", b"{}"),
        (3.0, "message", b"1"),
    ]
