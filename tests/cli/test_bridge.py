"""What a host of ``masterloop mcp --stdio`` is owed: an answer to each request, and no other."""

import asyncio
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from orchestration.mcp.stdio import Bridge
from tests.cli.test_mcp import START, Host
from tests.mcp.client import open_tools, until


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("text/event-stream", b""),
        ("text/event-stream", b'data: {"jsonrpc": "2.0", "id": 1, "method": "ping"}\n\n'),
        ("text/event-stream", b'data: {"jsonrpc": "2.0", "id": 2, "result": {}}\n\n'),
        ("text/plain", b"ok"),
    ],
)
async def test_a_service_that_ends_without_an_answer_is_an_error_of_the_call(
    kind: str, said: bytes
) -> None:
    async def answer(_: Request) -> Response:
        return Response(said, media_type=kind)

    host, app = Host(), Starlette(routes=[Route("/mcp", answer, methods=["POST"])])
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as http:
        passing = asyncio.create_task(Bridge(http, "/mcp", host.hear).run(host.lines()))
        host.say(id=1, method="tools/list")
        await until(lambda: any("error" in one for one in host.heard))
        host.leave()
        await passing
    assert (host.heard[-1]["id"], host.heard[-1]["error"]["code"]) == (1, -32603)


@pytest.mark.parametrize("there", [True, False])
async def test_an_answer_of_the_host_is_answered_by_nobody(tmp_path: Path, there: bool) -> None:
    """The ids of what the service asks are its own, and may be those of the host's requests."""
    host, reached = Host(), asyncio.Event()

    async def note(request: httpx.Request) -> None:
        if b'"action"' in request.content:
            reached.set()
            if not there:
                raise httpx.ConnectError("nobody there", request=request)

    async with open_tools(tmp_path, "ask_text") as (_, http):
        http.event_hooks["request"].append(note)
        bridge = asyncio.create_task(Bridge(http, "/mcp", host.hear).run(host.lines()))
        host.say(id=0, method="initialize", params={**START, "capabilities": {"elicitation": {}}})
        host.say(method="notifications/initialized")
        host.say(id=1, method="tools/call", params={"name": "ask_text", "arguments": {}})
        await until(lambda: host.heard[-1:] and host.heard[-1].get("method"))
        content = {"action": "accept", "content": {"answer": "yes"}}
        host.say(id=host.heard[-1]["id"], result=content)
        await reached.wait()
        host.say(id=2, method="tools/list")
        await until(lambda: {one.get("id") for one in host.heard if "result" in one} >= {2})
        if there:
            await until(lambda: {one.get("id") for one in host.heard if "result" in one} >= {1})
        host.leave()
        await bridge
    assert [one for one in host.heard if "error" in one] == []
