"""Clients that go away before they are answered: no failure of the service is counted for them."""

import asyncio
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from orchestration.api.answered import Answered
from orchestration.api.counted import Counted
from orchestration.api.events import Event, RequestsAnswered
from tests.api.client import open_socket, serving
from tests.api.plays import gates
from tests.telemetry.test_metrics import samples, scrape

WAIT = {"assistant_id": "holder", "input": {"text": "gone"}, "on_disconnect": "cancel"}
CALL = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "tools/call",
    "params": {
        "name": "holder",
        "arguments": {"text": "gone"},
        "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
        },
    },
}
NEWEST = {
    "accept": "application/json, text/event-stream",
    "mcp-protocol-version": "2026-07-28",
    "mcp-method": "tools/call",
    "mcp-name": "holder",
}


def request(path: str, body: Any, headers: Mapping[str, str], *, missing: int = 0) -> bytes:
    """Return a request with JSON, without so many of the last bytes that it is said to have."""
    content = json.dumps(body).encode()
    fields = {"content-type": "application/json", "content-length": str(len(content)), **headers}
    head = [f"POST {path} HTTP/1.1", "host: 127.0.0.1", *map(": ".join, fields.items()), "", ""]
    return "\r\n".join(head).encode() + content[: len(content) - missing]


@pytest.mark.parametrize(
    ("path", "body", "headers"), [("/runs/wait", WAIT, {}), ("/mcp", CALL, NEWEST)]
)
async def test_who_leaves_before_the_answer_begins_is_no_failure(
    tmp_path: Path, path: str, body: Any, headers: Mapping[str, str]
) -> None:
    async with open_socket(tmp_path, "holder") as (_, client):
        address = client.base_url
        _, writer = await asyncio.open_connection(address.host, address.port)
        gates.pop("gone", None)
        writer.write(request(path, body, headers))
        await gates["gone"].reached.wait()
        writer.close()
        counted: Mapping[tuple[str, ...], float] = {}
        while not (found := [key for key in counted if path in key]):
            counted = samples(await scrape(client), "masterloop_http_requests_total")
    assert found == [("499", "POST", path)]


@pytest.mark.parametrize("path", ["/threads", "/mcp", "/echo"])
async def test_who_leaves_within_the_body_is_no_failure(
    tmp_path: Path, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = {"http": {"app": "tests.api.routes:app"}}
    async with open_socket(tmp_path, "holder", manifest=manifest) as (_, client):
        address = client.base_url
        _, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(request(path, {}, NEWEST, missing=1))
        await writer.drain()
        writer.close()
        counted: Mapping[tuple[str, ...], float] = {}
        while not (found := [key for key in counted if path in key]):
            counted = samples(await scrape(client), "masterloop_http_requests_total")
    assert found == [("499", "POST", path)]
    assert not [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]


async def _leave(_: Scope, receive: Receive, __: Send) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _fail(scope: Scope, receive: Receive, send: Send) -> None:
    await _leave(scope, receive, send)
    raise ValueError("of the application")


async def _stay(_: Scope, __: Receive, ___: Send) -> None:
    pass


@pytest.mark.parametrize(("app", "status"), [(_leave, 499), (_fail, 500), (_stay, 500)])
async def test_what_breaks_is_a_failure_whoever_has_gone(app: Any, status: int) -> None:
    told: asyncio.Queue[Event] = asyncio.Queue()
    async with serving(Counted(app, "/", Answered(told.put_nowait))) as address:
        _, writer = await asyncio.open_connection(*address)
        writer.write(request("/", {}, {}))
        await writer.drain()
        if app is not _stay:
            writer.close()
        event = await told.get()
        writer.close()
    assert isinstance(event, RequestsAnswered)
    assert event.status == status
