"""Requests that are wrong before they are HTTP, on a real connection to the real server."""

import asyncio
import json
import re
from pathlib import Path

import pytest
from starlette.types import Receive, Scope, Send

from operations.keys import KeyFolder
from tests.api.client import open_play, serving
from tests.api.wire import CHUNKED, CONNECT, GET, POST, WEBSOCKET, answer

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
    "two encodings": (
        (501,),
        [POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"],
    ),
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


async def _keep_sending(writer: asyncio.StreamWriter, start: bytes, more: bytes) -> None:
    writer.write(start)
    for _ in range(1_000):  # 65 MB
        writer.write(more)
        await writer.drain()


FINE: dict[str, list[bytes]] = {
    "a head of 60 kB": [GET + b"X: " + b"a" * 60_000 + b"\r\n\r\n"],
    "a head in pieces": [b"GET /o", b"k HTTP/1.1\r\nHo", b"st: x\r\n", b"\r\n"],
    "white space around a host": [b"GET /ok HTTP/1.1\r\nHost: \t x \t\r\n\r\n"],
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
    "many": (b"200", [(GET + H2C + b"\r\n") * 900]),
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


OLD: dict[str, list[bytes]] = {
    "an expectation": [
        POST.replace(b"HTTP/1.1", b"HTTP/1.0")
        + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n",
        b"{}",
    ],
    "a WebSocket": [WEBSOCKET.replace(b"/ops/stream HTTP/1.1", b"/ok HTTP/1.0") + b"\r\n"],
}


@pytest.mark.parametrize("chunks", OLD.values(), ids=OLD.keys())
async def test_nothing_comes_before_an_answer_to_http_1_0(
    tmp_path: Path, chunks: list[bytes]
) -> None:
    async with open_play(tmp_path, "echo") as service, serving(service.app) as address:
        said = await answer(address, chunks, close=False)
    assert re.findall(rb"HTTP/1.1 (\d+) ", said) == [b"200"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (b"/runs/stream", rb"event: metadata\ndata: .*\n\nevent: values\ndata: .*\n\n"),
        (b"/runs/wait", rb"{.*}"),
    ],
)
async def test_a_stream_to_http_1_0_has_no_chunks(tmp_path: Path, path: bytes, body: bytes) -> None:
    asked = b'{"assistant_id": "echo", "input": {"text": "x"}}'
    head = POST.replace(b"HTTP/1.1", b"HTTP/1.0").replace(b"/threads", path)
    async with open_play(tmp_path, "echo") as service, serving(service.app) as address:
        chunks = [head + b"Content-Length: %d\r\n\r\n" % len(asked) + asked]
        said = await answer(address, chunks, close=False)
    head, _, told = said.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head
    assert re.fullmatch(body, told, re.DOTALL)


async def test_an_error_is_told_to_http_1_0_too() -> None:
    async def broken(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise RuntimeError("broken")

    async with serving(broken) as address:
        said = await answer(address, [b"GET / HTTP/1.0\r\n\r\n"], close=False)
    assert said.endswith(b"\r\n\r\nInternal Server Error")
