"""A real service with real clients of MCP, on a socket."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from orchestration.service import Service
from tests.api.client import open_socket

OLDER, NEWEST = "legacy", "2026-07-28"
WIRES = (OLDER, NEWEST)
TASKS = "io.modelcontextprotocol/tasks"
ACCEPT = {"accept": "application/json, text/event-stream"}
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


@asynccontextmanager
async def open_tools(
    folder: Path,
    *graphs: str,
    mcp: Mapping[str, Any] | None = None,
    manifest: Mapping[str, Any] | None = None,
    **settings: Any,
) -> AsyncGenerator[tuple[Service, httpx.AsyncClient]]:
    """Open a service of graphs from `plays`, and a client of its HTTP API."""
    paths = {name: f"tests.mcp.plays:{name}" for name in graphs}
    given = {"graphs": paths, "masterloop": {"mcp": dict(mcp or {})}, **(manifest or {})}
    async with open_socket(folder, manifest=given, **settings) as (service, http):
        http.timeout = httpx.Timeout(60)  # a busy machine is not what is tested
        yield service, http


@asynccontextmanager
async def client_of(
    http: httpx.AsyncClient, wire: str, headers: Mapping[str, str] | None = None, **options: Any
) -> AsyncGenerator[Any]:  # content comes in many kinds, and a test knows which
    """Connect the official client to the service that ``http`` talks to."""
    url = f"{http.base_url}/mcp".replace("//mcp", "/mcp")
    async with (
        httpx2.AsyncClient(headers=dict(headers or {}), timeout=30) as transport,
        Client(streamable_http_client(url, http_client=transport), mode=wire, **options) as client,
    ):
        yield client


async def rpc(
    http: httpx.AsyncClient,
    method: str,
    params: Mapping[str, Any] | None = None,
    *,
    able: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Send a request by hand on the newest wire; return the result, or the error."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": NEWEST,
        "io.modelcontextprotocol/clientCapabilities": dict(able or {}),
    }
    given = dict(params or {})
    name = given.get("name") or given.get("uri") or given.get("taskId")
    sent = {
        **ACCEPT,
        "mcp-protocol-version": NEWEST,
        "mcp-method": method,
        **({"mcp-name": name} if name else {}),
        **(headers or {}),
    }
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**given, "_meta": meta}}
    answer = (await http.post("/mcp", json=body, headers=sent)).json()
    found: dict[str, Any] = answer.get("result") or answer["error"]
    return found


async def until(condition: Callable[[], Any]) -> None:
    """Wait until something is so."""
    while not condition():  # noqa: ASYNC110 - of another task, whatever it does
        await asyncio.sleep(0.001)
