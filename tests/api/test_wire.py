"""Requests that are wrong before they are HTTP, on a real connection to the real server."""

import asyncio
import json
import re
import select
import socket
import struct
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from starlette.types import Receive, Scope, Send
from structlog.testing import capture_logs

from operations.keys import KeyFolder
from orchestration.connection import Places
from tests.api import plays
from tests.api.client import open_play, serving

POST = b"POST /threads HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
GET = b"GET /ok HTTP/1.1\r\nHost: x\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
WEBSOCKET = (
    b"GET /ops/stream HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


async def answer(address: tuple[str, int], chunks: Iterable[bytes], *, close: bool = True) -> bytes:
    """Send ``chunks`` until they are sent or refused; return all that the server says."""
    reader, writer = await asyncio.open_connection(*address)
    try:
        for chunk in chunks:
            writer.write(chunk)
            await writer.drain()
        if close:
            writer.write_eof()
        return await reader.read()
    except ConnectionError:
        return await reader.read()
    finally:
        writer.close()


WRONG: dict[str, tuple[tuple[int, ...], list[bytes]]] = {
    # 1, 2
    "declared 4 MiB + 1": ((413,), [POST + b"Content-Length: 4194305\r\n\r\n"]),
    # 3
    "a negative length": ((400,), [POST + b"Content-Length: -1\r\n\r\n{}"]),
    "a length of 1e3": ((400,), [POST + b"Content-Length: 1e3\r\n\r\n{}"]),
    "a length of 0x2": ((400,), [POST + b"Content-Length: 0x2\r\n\r\n{}"]),
    "a length of 25 digits": ((400,), [POST + b"Content-Length: " + b"9" * 25 + b"\r\n\r\n{}"]),
    "two lengths": ((400,), [POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}"]),
    "a length twice": ((400,), [POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}"]),
    "a list of lengths": ((400,), [POST + b"Content-Length: 2, 2\r\n\r\n{}"]),
    "a length below the body": ((400,), [POST + b"Content-Length: 1\r\n\r\n{}"]),
    # 4
    "a length and chunks": (
        (400,),
        [POST + b"Content-Length: 2\r\n" + CHUNKED + b"2\r\n{}\r\n0\r\n\r\n"],
    ),
    "an unknown encoding": ((400,), [POST + b"Transfer-Encoding: x\r\n\r\n2\r\n{}\r\n0\r\n\r\n"]),
    "a negative chunk": ((400,), [POST + CHUNKED + b"-2\r\n{}\r\n0\r\n\r\n"]),
    # 5
    "two hosts": ((400,), [GET + b"Host: y\r\nConnection: close\r\n\r\n"]),
    "no host": ((400,), [b"GET /ok HTTP/1.1\r\nConnection: close\r\n\r\n"]),
    "a host with a path": ((400,), [b"GET /ok HTTP/1.1\r\nHost: a/?\r\nConnection: close\r\n\r\n"]),
    "a host with a user": ((400,), [b"GET /ok HTTP/1.1\r\nHost: a@b\r\nConnection: close\r\n\r\n"]),
    # 6
    "a path of 70 kB": ((400,), [b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"]),
    "many middling headers": ((400,), [GET + (b"X: " + b"a" * 1_000 + b"\r\n") * 99 + b"\r\n"]),
    "1000 headers": ((431,), [GET + b"X: a\r\n" * 1_000 + b"Connection: close\r\n\r\n"]),
    # more of the kind
    "a NUL in a header": ((400,), [GET + b"X: a\0b\r\n\r\n"]),
    "a path without a slash": ((400,), [b"GET ok HTTP/1.1\r\nHost: x\r\n\r\n"]),
    "a WebSocket with a body": ((400,), [WEBSOCKET + b"Content-Length: 2\r\n\r\n{}"]),
    "a WebSocket with chunks": ((400,), [WEBSOCKET + CHUNKED + b"0\r\n\r\n"]),
    "a WebSocket with a long header": ((400,), [WEBSOCKET + b"X: " + b"a" * 9_000 + b"\r\n\r\n"]),
    "a WebSocket with 129 headers": ((400,), [WEBSOCKET + b"X: a\r\n" * 129 + b"\r\n"]),
    "TLS": ((400,), [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"]),
}


@pytest.mark.parametrize(("statuses", "chunks"), WRONG.values(), ids=WRONG.keys())
async def test_what_is_wrong_on_the_wire_is_refused_as_a_problem(
    tmp_path: Path, statuses: tuple[int, ...], chunks: list[bytes]
) -> None:
    async with open_play(tmp_path, "echo") as service, serving(service.app) as address:
        said = await answer(address, chunks, close=False)
        alive = await answer(address, [GET + b"Connection: close\r\n\r\n"])
    nothing, *answers = said.split(b"HTTP/1.1 ")
    assert not nothing
    assert answers
    for one in answers:  # of what is too long for one request, the rest is another one
        head, _, body = one.partition(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        assert int(lines[0].split()[0]) in statuses
        assert b"content-type: application/problem+json" in lines
        assert isinstance(json.loads(body)["detail"], str)
    assert alive.endswith(b'{"ok":true}')


CHUNK = b"10000\r\n" + b" " * 65_536 + b"\r\n"
ENDLESS: dict[str, tuple[bytes, bytes]] = {
    "a body": (POST + CHUNKED, CHUNK),
    "a header": (GET + b"X: ", b"a" * 65_536),
    "the name of a header": (GET, b"a" * 65_536),
    "headers": (GET, b"X: a\r\n" * 10_000),
    "a path": (b"GET /", b"a" * 65_536),
    "a trailer": (POST + CHUNKED + b"2\r\n{}\r\n0\r\nX: ", b"a" * 65_536),
    "trailers": (POST + CHUNKED + b"2\r\n{}\r\n0\r\n", b"X: a\r\n" * 10_000),
    "an extension of a chunk": (POST + CHUNKED + b"2;", b"a" * 65_536),
}


@pytest.mark.parametrize(("start", "more"), ENDLESS.values(), ids=ENDLESS.keys())
async def test_what_never_ends_is_cut_off(tmp_path: Path, start: bytes, more: bytes) -> None:
    """The answer may be lost: the system throws it away when more is sent behind it."""
    async with open_play(tmp_path, "echo") as service, serving(service.app) as address:
        _, writer = await asyncio.open_connection(*address)
        with pytest.raises(ConnectionError):
            await _keep_sending(writer, start, more)
        writer.close()
        alive = await answer(address, [GET + b"Connection: close\r\n\r\n"])
    assert alive.endswith(b'{"ok":true}')


@pytest.mark.parametrize("first", [b"HEAD /info", b"GET /info"])
async def test_answers_come_in_the_order_of_the_requests(tmp_path: Path, first: bytes) -> None:
    request = first + b" HTTP/1.1\r\nHost: x\r\n\r\n"
    async with open_play(tmp_path, "echo") as service, serving(service.app) as address:
        alone = await answer(address, [request.replace(b"x\r\n", b"x\r\nConnection: close\r\n")])
        both = await answer(address, [request + GET + b"Connection: close\r\n\r\n"])
    (length,) = re.findall(rb"content-length: \d+", alone)
    assert re.findall(rb"content-length: \d+", both) == [length, b"content-length: 11"]
    assert both.endswith(b'{"ok":true}')


async def _keep_sending(writer: asyncio.StreamWriter, start: bytes, more: bytes) -> None:
    writer.write(start)
    for _ in range(1_000):  # 65 MB
        writer.write(more)
        await writer.drain()


FINE: dict[str, list[bytes]] = {
    "a head of 60 kB": [GET + b"X: " + b"a" * 60_000 + b"\r\n\r\n"],
    "a head in pieces": [b"GET /o", b"k HTTP/1.1\r\nHo", b"st: x\r\n", b"\r\n"],
    "HTTP/1.0 without a host": [b"GET /ok HTTP/1.0\r\n\r\n"],
    "an address as host": [b"GET /ok HTTP/1.1\r\nHost: [::1]:8123\r\n\r\n"],
    "three at once": [(GET + b"\r\n") * 3],
    "a request behind a large body": [
        POST + b"Content-Length: 200002\r\n\r\n{}" + b" " * 200_000 + b"GET /ok HTTP/1.1\r\n",
        b"Host: x\r\n\r\n",
    ],
    "an upgrade nobody does": [GET + b"Connection: upgrade\r\nUpgrade: h2c\r\n\r\n"],
}


@pytest.mark.parametrize("chunks", FINE.values(), ids=FINE.keys())
async def test_what_is_merely_unusual_is_answered(tmp_path: Path, chunks: list[bytes]) -> None:
    async with open_play(tmp_path, "echo") as service, serving(service.app) as address:
        reader, writer = await asyncio.open_connection(*address)
        for chunk in chunks:
            writer.write(chunk)
            await writer.drain()
        said = await reader.readuntil(b'{"ok":true}')
        writer.close()
    assert said.startswith((b"HTTP/1.1 200 ", b"HTTP/1.0 200 "))


H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQ\r\n"
UPGRADE = POST + H2C
UPGRADES: dict[str, tuple[bytes, list[bytes]]] = {
    "a body": (b"200", [UPGRADE + b'Content-Length: 12\r\n\r\n{"ttl":null}']),
    "a head in pieces": (
        b"200",
        [UPGRADE[:30], UPGRADE[30:90], UPGRADE[90:] + b"Content-Length: 2\r\n", b"\r\n{", b"}"],
    ),
    "chunks": (b"200", [UPGRADE + CHUNKED, b"1\r\n{\r\n", b"1\r\n}\r\n0\r\n\r\n"]),
    "a body like a request": (
        b"400",
        [UPGRADE + b"Content-Length: %d\r\n\r\n" % len(GET + b"\r\n"), GET + b"\r\n"],
    ),
    "many": (b"200", [(GET + H2C + b"\r\n") * 1_100]),
}


@pytest.mark.parametrize(("status", "chunks"), UPGRADES.values(), ids=UPGRADES.keys())
async def test_a_request_for_another_protocol_is_answered_in_this_one(
    tmp_path: Path, status: bytes, chunks: list[bytes]
) -> None:
    """With its body, which is not taken for the next request: Java asks for HTTP/2 like that."""
    async with open_play(tmp_path, "echo") as service, serving(service.app) as address:
        last = GET + b"Connection: close\r\n\r\n"
        said = await answer(address, [*chunks, last], close=False)
    requests = b"".join(chunks).count(H2C)
    assert re.findall(rb"HTTP/1.1 (\d+) ", said) == [*[status] * requests, b"200"]
    assert said.endswith(b'{"ok":true}')


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("guard", ["keys", "handlers"])
async def test_what_stands_behind_a_body_is_no_header_of_its_request(
    tmp_path: Path, guard: str, apart: bool
) -> None:
    """A proxy that takes headers away, or sets them, looks at those before the body."""
    manifest, trailer = {}, b"Authorization: Bearer alice"
    if guard == "keys":
        trailer = b"X-API-Key: " + KeyFolder(tmp_path / "data").create("alice", "run")[1].encode()
    else:
        manifest = {"auth": {"path": "tests.api.guards:reading"}}
    request = POST + b"Connection: close\r\n" + CHUNKED, b"2\r\n{}\r\n0\r\n" + trailer + b"\r\n\r\n"
    chunks = request if apart else [b"".join(request)]
    async with (
        open_play(tmp_path, "echo", manifest=manifest) as service,
        serving(service.app) as address,
    ):
        said = await answer(address, chunks, close=False)
        known = POST + trailer + b"\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"
        assert (await answer(address, [known], close=False)).startswith(b"HTTP/1.1 200 ")
    assert said.startswith(b"HTTP/1.1 401 ")


CONNECT = b"CONNECT %s HTTP/1.1\r\nHost: x\r\n"
TUNNELS: dict[str, bytes] = {
    "an authority": CONNECT % b"x:443" + b"\r\n",
    "a path": CONNECT % b"/ok" + b"\r\n",
    "a body": CONNECT % b"/threads" + b"Content-Length: 2\r\n\r\n{}",
    "a body in chunks": CONNECT % b"/threads" + CHUNKED + b"2\r\n{}\r\n0\r\n\r\n",
    "a WebSocket": WEBSOCKET.replace(b"GET", b"CONNECT") + b"\r\n",
}


@pytest.mark.parametrize("request_", TUNNELS.values(), ids=TUNNELS.keys())
async def test_there_is_no_tunnel_and_what_is_sent_through_it_is_no_request(
    tmp_path: Path, request_: bytes
) -> None:
    async with open_play(tmp_path, "echo") as service, serving(service.app) as address:
        said = await answer(address, [request_, GET + b"\r\n"], close=False)
    head, _, body = said.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 501 Not Implemented\r\n")
    assert b"connection: close" in head.split(b"\r\n")
    assert "CONNECT" in json.loads(body)["detail"]


LATER: dict[str, tuple[bytes, list[bytes]]] = {
    "no HTTP": (b"400", [b"\0\r\n\r\n"]),
    "a path without a slash": (b"400", [b"GET ok HTTP/1.1\r\nHost: x\r\n\r\n"]),
    "a large head": (b"400", [GET + b"X: " + b"a" * 70_000 + b"\r\n\r\n"]),
    "a head without end": (b"400", [GET + b"X: ", b"a" * 70_000]),
    "CONNECT": (b"501", [CONNECT % b"/ok" + b"\r\n"]),
    "half a head": (b"408", [GET]),
}


@pytest.mark.parametrize("kind", ["wait", "stream"])
@pytest.mark.parametrize(("status", "chunks"), LATER.values(), ids=LATER.keys())
async def test_what_is_wrong_behind_a_request_is_refused_once_that_is_answered(
    tmp_path: Path, kind: str, status: bytes, chunks: list[bytes]
) -> None:
    name = f"refused behind {kind} {status!r} {len(chunks[0])}"
    body = json.dumps({"assistant_id": "holder", "input": {"text": name}}).encode()
    head = POST.replace(b"/threads", b"/runs/" + kind.encode())
    async with open_play(tmp_path, "holder") as service, serving(service.app, 0.05) as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        await plays.gates[name].reached.wait()
        for chunk in chunks:
            writer.write(chunk)
            await answer(address, [GET + b"Connection: close\r\n\r\n"])  # it has been read
        await answer(address, [GET], close=False)  # for as long as half a request is waited for
        writer.write(GET + b"\r\n")  # which nobody answers
        plays.gates[name].opened.set()
        said = await reader.read()
        writer.close()
    assert re.findall(rb"HTTP/1.1 (\d+) ", said) == [b"200", status]
    assert said.rpartition(b"HTTP/1.1 ")[0].endswith((b"}", b"\r\n0\r\n\r\n"))  # it is whole
    assert json.loads(said.rpartition(b"\r\n\r\n")[2])["status"] == int(status)


async def test_nothing_is_said_amid_an_answer_of_what_is_wrong_with_the_body_it_is_for() -> None:
    async def hasty(_scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass

    async with serving(hasty) as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(POST + CHUNKED)
        await reader.readuntil(b"begun\r\n")
        writer.write(b"-1\r\n")
        said = await reader.read()
        writer.close()
    assert said == b""


@pytest.mark.parametrize("apart", [False, True])
async def test_a_websocket_asked_for_behind_a_request_that_is_being_answered_is_none(
    tmp_path: Path, apart: bool
) -> None:
    """Its frames would go before that answer, and the answer between them."""
    name = f"before a websocket {apart}"
    body = b'{"assistant_id": "holder", "input": {"text": "%s"}}' % name.encode()
    wait = POST.replace(b"/threads", b"/runs/wait") + b"Content-Length: %d\r\n\r\n" % len(body)
    async with open_play(tmp_path, "holder") as service, serving(service.app) as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(wait + body)
        if apart:
            await plays.gates[name].reached.wait()
        writer.write(WEBSOCKET + b"\r\n")
        await plays.gates[name].reached.wait()
        plays.gates[name].opened.set()
        said = await reader.readuntil(b"event: metrics")
        writer.close()
    assert re.findall(rb"HTTP/1.1 (\d+) ", said) == [b"200", b"200"]
    assert f'"text":"{name}'.encode() in said.partition(b"text/event-stream")[0]


@pytest.mark.parametrize("kind", ["wait", "stream"])
async def test_who_goes_away_with_another_request_sent_already_takes_the_run_along(
    tmp_path: Path, kind: str
) -> None:
    body = f'{{"assistant_id": "holder", "input": {{"text": "{kind} left"}}, '.encode()
    body += b'"on_disconnect": "cancel"}'
    async with open_play(tmp_path, "holder") as service, serving(service.app) as address:
        _, writer = await asyncio.open_connection(*address)
        head = POST.replace(b"/threads", b"/runs/" + kind.encode())
        writer.write(head + b"Content-Length: %d\r\n\r\n" % len(body) + body + GET + b"\r\n")
        await plays.gates[f"{kind} left"].reached.wait()
        (run,) = service.loop.all_live()
        writer.close()
        assert run.done is not None
        assert (await run.done).status == "interrupted"


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
        serving(service.app, places=Places(files=4)) as address,
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
