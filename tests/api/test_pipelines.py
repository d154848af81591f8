"""Requests that come before the answer to another one, on one connection."""

import asyncio
import json
import re
from pathlib import Path

import pytest
from starlette.types import Receive, Scope, Send

from tests.api import plays
from tests.api.client import open_play, serving
from tests.api.wire import CHUNKED, CONNECT, GET, POST, WEBSOCKET, answer


@pytest.mark.parametrize("first", [b"HEAD /info", b"GET /info"])
async def test_answers_come_in_the_order_of_the_requests(tmp_path: Path, first: bytes) -> None:
    request = first + b" HTTP/1.1\r\nHost: x\r\n\r\n"
    async with open_play(tmp_path, "echo") as service, serving(service.app) as address:
        alone = await answer(address, [request.replace(b"x\r\n", b"x\r\nConnection: close\r\n")])
        both = await answer(address, [request + GET + b"Connection: close\r\n\r\n"])
    (length,) = re.findall(rb"content-length: \d+", alone)
    assert re.findall(rb"content-length: \d+", both) == [length, b"content-length: 11"]
    assert both.endswith(b'{"ok":true}')


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


async def test_so_many_requests_are_read_before_the_first_is_answered_and_no_more(
    tmp_path: Path,
) -> None:
    body = json.dumps({"assistant_id": "holder", "input": {"text": "ahead"}}).encode()
    head = POST.replace(b"/threads", b"/runs/wait")
    async with open_play(tmp_path, "holder") as service, serving(service.app) as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        await plays.gates["ahead"].reached.wait()
        writer.write((GET + b"\r\n") * 5_000)
        await answer(address, [GET + b"Connection: close\r\n\r\n"])  # it has been read
        plays.gates["ahead"].opened.set()
        said = await reader.read()
        writer.close()
    assert re.findall(rb"HTTP/1.1 (\d+) ", said) == [b"200"] * 1_001 + [b"429"]


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
