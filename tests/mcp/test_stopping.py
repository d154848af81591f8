"""The end of the face: every answer is whole, and who comes later is told to come back."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from orchestration.mcp import farewell as ends
from orchestration.mcp.farewell import Farewell
from tests.mcp.client import ACCEPT, GREETING, NEWEST, OLDER, client_of, open_tools, until

LISTEN: Mapping[str, Any] = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "subscriptions/listen",
    "params": {
        "notifications": {"toolsListChanged": True},
        "_meta": {
            "io.modelcontextprotocol/protocolVersion": NEWEST,
            "io.modelcontextprotocol/clientCapabilities": {},
        },
    },
}


async def _last(http: httpx.AsyncClient, begun: asyncio.Event, /, *what: Any, **given: Any) -> str:
    """Return the last line of a stream, once it has ended as it should."""
    last = ""
    async with http.stream(*what, **given) as answer:
        begun.set()
        async for line in answer.aiter_lines():
            last = line or last
    return last


async def test_streams_end_when_the_service_stops(tmp_path: Path) -> None:
    async with open_tools(tmp_path, "greet", drain_delay=0.0) as (service, http):
        begun = await http.post("/mcp", json=GREETING, headers=ACCEPT)
        session = {"mcp-session-id": begun.headers["mcp-session-id"], **ACCEPT}
        named = {**ACCEPT, "mcp-protocol-version": NEWEST, "mcp-method": "subscriptions/listen"}
        listens, reads = asyncio.Event(), asyncio.Event()
        async with asyncio.TaskGroup() as group:
            listening = group.create_task(
                _last(http, listens, "POST", "/mcp", json=LISTEN, headers=named)
            )
            reading = group.create_task(_last(http, reads, "GET", "/mcp", headers=session))
            await listens.wait()
            await reads.wait()
            await service.shutdown.run()
        later = [
            await http.post("/mcp", json=GREETING, headers=ACCEPT),
            await http.get("/mcp", headers=session),
            await http.post("/mcp", json=LISTEN, headers=named),
        ]
    assert '"resultType":"complete"' in listening.result()
    assert reading.done()
    assert [answer.status_code for answer in later] == [503] * 3
    assert all("retry-after" in answer.headers for answer in later)


async def test_who_is_asking_its_user_when_the_service_stops_is_told_how_to_go_on(
    tmp_path: Path,
) -> None:
    asked = asyncio.Event()

    async def ask(*_: Any) -> Any:
        asked.set()
        await asyncio.Event().wait()

    async with (
        open_tools(tmp_path, "ask_text", drain_delay=0.0) as (service, http),
        client_of(http, OLDER, elicitation_callback=ask) as client,
    ):
        await client.list_tools()  # or it would ask now what the result should look like
        calling = asyncio.create_task(client.call_tool("ask_text", {}))
        await until(asked.is_set)
        await service.shutdown.run()
        result = await calling
    assert "has stopped and waits" in result.content[0].text
    assert "run_resume" in result.content[0].text


@pytest.mark.parametrize("begun", [False, True])
async def test_who_does_not_hear_of_the_end_is_cut_off_and_has_a_whole_answer(
    monkeypatch: pytest.MonkeyPatch, *, begun: bool
) -> None:
    monkeypatch.setattr(ends, "_PATIENCE", 0.0)
    farewell, reached = Farewell(), asyncio.Event()

    async def deaf(_: Scope, __: Receive, send: Send) -> None:
        if begun:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"so far", "more_body": True})
        reached.set()
        await asyncio.Event().wait()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await farewell.serve(deaf, scope, receive, send)

    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://face") as http:
        asking = asyncio.create_task(http.post("/mcp"))
        await reached.wait()
        await farewell.say()
        answer = await asking
    assert answer.status_code == (200 if begun else 503)
    assert answer.text == "so far" if begun else "retry-after" in answer.headers
