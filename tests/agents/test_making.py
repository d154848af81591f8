"""What the configuration of a pool says becomes agents, and what is secret in it stays so."""

import asyncio
import base64
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from agents.configuration import McpPool, Pools, RemotePool
from agents.errors import StartFailed
from agents.making import maker
from operations.errors import ConfigurationError
from tests.agents.kinds import free_port

SECRET = "s3cret-canary"
KINDS = [{"kind": "remote", "assistant": "play"}, {"kind": "mcp"}]
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind["kind"])


def section(kind: dict[str, Any], **more: Any) -> McpPool | RemotePool:
    found = TypeAdapter(Pools).validate_python({"peers": {**kind, **more}})["peers"]
    assert isinstance(found, McpPool | RemotePool)
    return found


@asynccontextmanager
async def refusing() -> AsyncGenerator[tuple[int, list[str]]]:
    """Answer every request with 401; yields the port, and what was asked."""
    asked: list[str] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1], asked


@every_kind
@pytest.mark.parametrize("value", [f"{SECRET}\n", f" {SECRET}", f"{SECRET}\0", f"{SECRET}ü"])
def test_a_header_that_cannot_be_sent_stops_the_start_and_is_not_told(
    kind: dict[str, Any], value: str, tmp_path: Path
) -> None:
    peers = section(kind, url="http://127.0.0.1", headers={"x-key": "${{ env.KEY }}"})
    with pytest.raises(ConfigurationError) as caught:
        maker("peers", peers, tmp_path, {"KEY": value})
    assert "agents.peers.headers.x-key: the value has characters" in str(caught.value)
    assert SECRET not in str(caught.value)


@every_kind
async def test_the_password_of_an_address_is_sent_and_not_told(
    kind: dict[str, Any], tmp_path: Path
) -> None:
    async with refusing() as (port, asked):
        for where in (port, free_port()):
            peers = section(kind, url=f"http://bob:{SECRET}%21@127.0.0.1:{where}")
            agent = maker("peers", peers, tmp_path, {})()
            with pytest.raises(StartFailed) as caught:
                await agent.start(lambda _: None)
            await agent.aclose()
            assert SECRET not in str(caught.value)
    login = base64.b64encode(f"bob:{SECRET}!".encode()).decode()
    assert f"authorization: basic {login}".lower() in asked[0].lower()
