"""Connections: how long they are waited for, how many there may be, what is kept for them."""

import asyncio
import json
import re
import select
import socket
import struct
import sys
from pathlib import Path

import pytest
from starlette.types import Receive, Scope, Send
from structlog.testing import capture_logs

from orchestration.places import Places
from tests.api.client import open_play, serving
from tests.api.wire import CHUNKED, GET, POST, WEBSOCKET, answer


async def test_half_a_request_keeps_nobody_else_waiting(tmp_path: Path) -> None:
    async with open_play(tmp_path, "echo") as service, serving(service.app) as address:
        silent = [await asyncio.open_connection(*address) for _ in range(100)]
        for _, writer in silent:
            writer.write(GET)
        alive = await answer(address, [GET + b"Connection: close\r\n\r\n"])
        for _, writer in silent:
            writer.close()
    assert alive.endswith(b'{"ok":true}')


HALF: dict[str, list[bytes]] = {
    "half a head": [GET],
    "half a head behind a request": [GET + b"\r\n" + GET],
    "half a body": [POST + b"Content-Length: 100\r\n\r\n{"],
    "a body that stops after more": [POST + CHUNKED, b"1\r\n{\r\n"],
}


@pytest.mark.parametrize("chunks", HALF.values(), ids=HALF.keys())
async def test_who_sends_half_a_request_and_no_more_is_told_so_and_left(
    tmp_path: Path, chunks: list[bytes]
) -> None:
    async with open_play(tmp_path, "echo") as service, serving(service.app, 0.05) as address:
        said = await answer(address, chunks, close=False)
    last = said[said.rindex(b"HTTP/1.1 ") :]
    assert last.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert json.loads(last.partition(b"\r\n\r\n")[2])["detail"].startswith("the rest of the req")


async def test_who_connects_and_says_nothing_is_left(tmp_path: Path) -> None:
    async with open_play(tmp_path, "echo") as service, serving(service.app, 0.05) as address:
        assert await answer(address, [], close=False) == b""


@pytest.mark.parametrize("before", [b"", GET + b"\r\n"], ids=["first", "behind a request"])
async def test_who_sends_an_empty_line_and_no_more_is_left(tmp_path: Path, before: bytes) -> None:
    async with open_play(tmp_path, "echo") as service, serving(service.app, 0.05) as address:
        reader, writer = await asyncio.open_connection(*address)
        if before:
            writer.write(before)
            await reader.readuntil(b"}")
        writer.write(b"\r\n")
        async with asyncio.timeout(10):
            assert await reader.read() == b""
        writer.close()


async def test_a_websocket_has_more_patience_than_a_request(tmp_path: Path) -> None:
    async with open_play(tmp_path, "echo") as service, serving(service.app, 0.05) as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(WEBSOCKET + b"\r\n")
        await reader.readuntil(b'"topic":"metrics"')
        await answer(address, [GET], close=False)  # for as long as half a request is waited for
        await reader.readuntil(b'"topic":"metrics"')
        writer.close()


async def test_whom_there_is_no_place_for_is_refused_until_another_has_gone(tmp_path: Path) -> None:
    alone = GET + b"Connection: close\r\n\r\n"
    async with (
        open_play(tmp_path, "echo") as service,
        serving(service.app, places=Places(files=4, dice=min)) as address,
    ):
        there = [await asyncio.open_connection(*address) for _ in range(2)]
        head, _, body = (await answer(address, [], close=False)).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
        assert b"retry-after: 5" in head.split(b"\r\n")
        assert json.loads(body)["detail"].startswith("there are as many connections as")
        reader, writer = there[0]
        writer.write(alone)
        assert (await reader.read()).endswith(b'{"ok":true}')
        assert (await answer(address, [alone])).endswith(b'{"ok":true}')
        for _, writer in there:
            writer.close()


async def test_those_whom_there_is_no_place_for_do_not_all_come_back_at_once(
    tmp_path: Path,
) -> None:
    waits: set[bytes] = set()
    async with (
        open_play(tmp_path, "echo") as service,
        serving(service.app, places=Places(files=2)) as address,
    ):
        _, there = await asyncio.open_connection(*address)
        for _ in range(50):
            head, _, _ = (await answer(address, [], close=False)).partition(b"\r\n\r\n")
            waits.update(re.findall(rb"retry-after: (\d+)", head))
        there.close()
    assert len(waits) > 2
    assert all(5 <= int(wait) <= 10 for wait in waits)


@pytest.mark.parametrize(
    ("files", "most"), [(100, 50), (1_024, 768), (20_000, 19_744), (-1, 1_000_000)]
)
def test_files_are_left_for_what_is_no_connection(files: int, most: int) -> None:
    places = Places(files)
    assert not places.exceeded(most)
    assert places.exceeded(most + 1) is (files > 0)


def test_that_there_is_no_room_is_said_once_until_half_have_gone() -> None:
    places = Places(files=512)
    with capture_logs() as logs:
        assert [places.exceeded(count) for count in (257, 256, 257, 129, 257)].count(True) == 3
        assert len(logs) == 1
        assert not places.exceeded(128)
        assert places.exceeded(257)
    assert len(logs) == 2


async def test_a_slow_body_is_waited_for_while_it_comes(tmp_path: Path) -> None:
    async with open_play(tmp_path, "echo") as service, serving(service.app, 1.0) as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(POST + b"Content-Length: 32\r\nConnection: close\r\n\r\n")
        for _ in range(30):
            writer.write(b" ")
            await asyncio.sleep(0.05)  # the slowness is the point
        writer.write(b"{}")
        said = await reader.read()
        writer.close()
    assert said.startswith(b"HTTP/1.1 200 ")


TOO_LARGE = POST + b"Content-Length: 5000000\r\n\r\n{"
NO_HEAD = POST + b"no header: x\r\nContent-Length: 5000000\r\n\r\n{"
refused = pytest.mark.parametrize(("start", "status"), [(TOO_LARGE, b"413"), (NO_HEAD, b"400")])


@refused
async def test_who_still_sends_a_body_that_is_refused_is_not_cut_off(
    tmp_path: Path, start: bytes, status: bytes
) -> None:
    """A client that is may never come to the answer: that of Node says `write ECONNRESET`."""
    async with open_play(tmp_path, "echo") as service, serving(service.app) as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(start)
        said = await reader.read()
        for _ in range(100):
            writer.write(b" " * 50_000)
            await writer.drain()
        writer.write_eof()
        writer.close()
        await writer.wait_closed()
    assert said.startswith(b"HTTP/1.1 %s " % status)
    assert b"connection: close" in said.split(b"\r\n")


@refused
async def test_who_sends_on_for_ever_is_cut_off(
    tmp_path: Path, start: bytes, status: bytes
) -> None:
    async with open_play(tmp_path, "echo") as service, serving(service.app, 0.05) as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(start)
        assert (await reader.read()).startswith(b"HTTP/1.1 %s " % status)
        with pytest.raises(ConnectionError):
            await _trickle(writer)
        writer.close()


async def _trickle(writer: asyncio.StreamWriter) -> None:
    async with asyncio.timeout(10):
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0)


async def test_what_comes_behind_a_refused_body_is_not_read(tmp_path: Path) -> None:
    async with open_play(tmp_path, "echo") as service, serving(service.app) as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(TOO_LARGE)
        said = await reader.readuntil(b"}")
        writer.write(b" " * 4_999_999 + GET + b"\r\n")
        said += await reader.read()
        writer.close()
    assert said.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize("parts", [1, 100])
async def test_an_answer_that_nobody_takes_is_not_kept(parts: int) -> None:
    """To close would be to wait until it is taken: a socket and an answer for each such client."""

    async def generous(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for left in reversed(range(parts)):
            body = b"x" * (20_000_000 // parts)
            await send({"type": "http.response.body", "body": body, "more_body": left > 0})

    async with serving(generous, 0.05) as address:
        with socket.create_connection(address) as connection:
            connection.sendall(GET + b"\r\n")
            gone = select.poll()
            gone.register(connection, 0)  # for nothing but its end
            ended = await asyncio.to_thread(gone.poll, 10_000)
    assert ended
    assert ended[0][1] & select.POLLHUP


async def test_an_answer_that_is_taken_slowly_is_given_whole() -> None:
    size = 5_000_000
    head = [(b"content-length", b"%d" % size)]

    async def generous(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": b"x" * size})

    async with serving(generous, 1.0) as address:
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        connection.connect(address)
        reader, writer = await asyncio.open_connection(sock=connection)
        writer.write(GET + b"Connection: close\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        taken = 0
        while part := await reader.read(65_536):
            taken += len(part)
            await asyncio.sleep(0.03)  # the slowness is the point
        writer.close()
    assert taken == size


async def test_a_body_that_never_comes_whole_ends_with_its_connection(tmp_path: Path) -> None:
    async with open_play(tmp_path, "echo") as service, serving(service.app) as address:
        await answer(address, [POST + b"Content-Length: 100\r\n\r\n{"])
        alive = await answer(address, [GET + b"Connection: close\r\n\r\n"])
    assert alive.endswith(b'{"ok":true}')


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts segments")
async def test_an_answer_is_one_packet_but_the_head_of_a_stream_waits_for_nothing(
    tmp_path: Path,
) -> None:
    async with open_play(tmp_path, "holder") as service, serving(service.app) as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(GET + b"\r\n")
        await reader.readuntil(b'{"ok":true}')
        assert segments(writer) == 1
        body = b'{"assistant_id": "holder", "input": {}, "stream_mode": "custom"}'
        length = b"Content-Length: %d\r\n\r\n" % len(body)
        writer.write(POST.replace(b"/threads", b"/runs/stream") + length + body)
        head = await reader.readuntil(b"\r\n\r\n")
        writer.close()
    assert head.startswith(b"HTTP/1.1 200 ")


def segments(writer: asyncio.StreamWriter) -> int:
    """Return how many segments with data have come in: ``tcpi_data_segs_in`` of Linux."""
    connection: socket.socket = writer.get_extra_info("socket")
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 160)
    (count,) = struct.unpack_from("I", info, 152)
    return int(count)
