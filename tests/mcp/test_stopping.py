"""The end of the face: every answer is whole, and who comes later is told to come back."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from tests.mcp.client import ACCEPT, NEWEST, OLDER, client_of, open_tools, until

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
GREETING: Mapping[str, Any] = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "host", "version": "1"},
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
