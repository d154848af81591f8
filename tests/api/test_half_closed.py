"""Clients that have said all they have to say, and still listen: half of a connection is closed."""

import asyncio
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop
from starlette.types import Receive, Scope, Send

from orchestration.places import Places
from tests.api import plays
from tests.api.client import open_play, serving
from tests.api.wire import CHUNKED, GET, POST, answer

WHOLE = POST + b"Content-Length: 2\r\n\r\n{}"
PART = POST + b"Content-Length: 100\r\n\r\n{"


async def after_all(_scope: Scope, receive: Receive, send: Send) -> None:
    """Answer once the client has gone, with all that it said."""
    body = b""
    while (message := await receive())["type"] != "http.disconnect":
        body += message["body"]
    assert (await receive())["type"] == "http.disconnect"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for part in (body, b" to the end"):
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


SAID: dict[str, tuple[list[bytes], list[bytes]]] = {
    "a request": ([WHOLE], [b"200"]),
    "a body in parts": ([POST + CHUNKED, b"1\r\n{\r\n", b"1\r\n}\r\n0\r\n\r\n"], [b"200"]),
    "two requests": ([WHOLE + WHOLE], [b"200", b"200"]),
    "half a head behind": ([WHOLE, GET], [b"200"]),
    "half a body behind": ([WHOLE + PART], [b"200"]),
    "half a body behind two": ([WHOLE + WHOLE + PART], [b"200", b"200"]),
    "what is no request behind": ([WHOLE + b"\0\r\n\r\n"], [b"200", b"400"]),
    "half a head": ([GET], []),
    "half a body": ([PART], []),
    "nothing": ([], []),
}


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize(("chunks", "statuses"), SAID.values(), ids=SAID.keys())
def test_who_closes_one_half_gets_the_answers_to_all_that_came_whole(
    chunks: list[bytes], statuses: list[bytes], loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def ask() -> bytes:
        async with serving(after_all) as address, asyncio.timeout(10):
            return await answer(address, chunks)

    with asyncio.Runner(loop_factory=loop) as runner:
        said = runner.run(ask())
    assert re.findall(rb"HTTP/1.1 (\d+) ", said) == statuses
    whole = b"2\r\n{}\r\nb\r\n to the end\r\n0\r\n\r\n"
    assert said.count(whole) == statuses.count(b"200")
    assert (b"connection: close" in said.split(b"\r\n")) is bool(statuses)


async def test_who_closes_one_half_and_is_not_answered_is_left(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def silent(_scope: Scope, receive: Receive, _send: Send) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    async with serving(silent) as address, asyncio.timeout(10):
        assert await answer(address, [GET + b"\r\n"]) == b""
    assert not caplog.records


async def test_a_half_closed_connection_counts_until_it_is_answered() -> None:
    begun, opened = asyncio.Event(), asyncio.Event()

    async def held(_scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        begun.set()
        await opened.wait()
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    async with serving(held, places=Places(files=2)) as address, asyncio.timeout(10):
        half = asyncio.create_task(answer(address, [GET + b"\r\n"]))
        await begun.wait()
        assert (await answer(address, [], close=False)).startswith(b"HTTP/1.1 503 ")
        opened.set()
        for said in (await half, await answer(address, [GET + b"\r\n"])):
            assert said.startswith(b"HTTP/1.1 204 ")


@pytest.mark.parametrize("kind", ["wait", "stream"])
async def test_who_closes_one_half_has_gone_for_a_run_that_ends_with_its_client(
    tmp_path: Path, kind: str
) -> None:
    body = b'{"assistant_id": "holder", "input": {"text": "half %s"}, ' % kind.encode()
    body += b'"on_disconnect": "cancel"}'
    head = POST.replace(b"/threads", b"/runs/" + kind.encode())
    async with open_play(tmp_path, "holder") as service, serving(service.app) as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        await plays.gates[f"half {kind}"].reached.wait()
        (run,) = service.loop.all_live()
        writer.write_eof()
        async with asyncio.timeout(10):
            said = await reader.read()
        writer.close()
        assert run.done is not None
        assert (await run.done).status == "interrupted"
    assert said.endswith(b"\r\n0\r\n\r\n") is (kind == "stream")
