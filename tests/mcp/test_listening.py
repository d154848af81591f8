"""``subscriptions/listen`` on the wire: each is told what is theirs, and that once."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from operations.keys import KeyFolder, KeyScope
from tests.api.client import parts
from tests.api.plays import gates
from tests.mcp.client import ACCEPT, GREETING, NEWEST, open_tools, rpc

TOOLS = "notifications/tools/list_changed"


def key(folder: Path, owner: str, scope: KeyScope = "run") -> dict[str, str]:
    return {"authorization": f"Bearer {KeyFolder(folder / 'data').create(owner, scope)[1]}"}


@asynccontextmanager
async def listening(
    http: httpx.AsyncClient, uris: list[str], headers: Mapping[str, str]
) -> AsyncGenerator[tuple[list[str], AsyncIterator[Any]]]:
    """Listen to what changes at ``uris``, and to lists of tools; give what is granted, and both."""
    body = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "subscriptions/listen",
        "params": {
            "notifications": {"toolsListChanged": True, "resourceSubscriptions": uris},
            "_meta": {
                "io.modelcontextprotocol/protocolVersion": NEWEST,
                "io.modelcontextprotocol/clientCapabilities": {},
            },
        },
    }
    sent = {
        **ACCEPT,
        "mcp-protocol-version": NEWEST,
        "mcp-method": "subscriptions/listen",
        **headers,
    }
    async with http.stream("POST", "/mcp", json=body, headers=sent) as answer:
        told = (part.data async for part in parts(answer) if part.data)
        granted = (await anext(told))["params"]["notifications"]
        yield granted.get("resourceSubscriptions", []), told


async def until_tools(told: AsyncIterator[Any]) -> list[str]:
    """Return the methods of what is told until the tools have changed."""
    methods = [""]
    while methods[-1] != TOOLS:
        methods.append((await anext(told))["method"])
    return methods[1:]


async def test_the_end_of_a_run_is_told_once_to_each_whose_it_is_and_to_nobody_else(
    tmp_path: Path,
) -> None:
    alice, bob, admin = key(tmp_path, "alice"), key(tmp_path, "bob"), key(tmp_path, "x", "admin")
    async with open_tools(tmp_path, "hold") as (service, http):
        call = {"name": "hold", "arguments": {"name": "hers"}}
        calling = asyncio.create_task(rpc(http, "tools/call", call, headers=alice))
        await gates["hers"].reached.wait()
        uri = f"run://{service.loop.all_live()[0].run_id}"
        async with (
            listening(http, [uri, uri, "run://x"], alice) as (granted, hers),
            listening(http, [uri], alice) as (_, too),
            listening(http, [uri], bob) as (nothing, his),
        ):
            async with listening(http, [uri], alice):
                pass  # who goes takes nothing from those who stay
            gates["hers"].opened.set()
            await calling
            first = [(await anext(told))["params"]["uri"] for told in (hers, too)]
            await http.post("/assistants", json={"graph_id": "hold"}, headers=admin)
            rest = [await until_tools(told) for told in (hers, too, his)]
    assert first == [uri, uri]
    assert rest == [[TOOLS]] * 3
    assert (granted, nothing) == ([uri], [])


async def test_a_run_is_told_of_by_its_id_and_not_by_what_else_reads_as_that(
    tmp_path: Path,
) -> None:
    async with open_tools(tmp_path, "hold") as (service, http):
        call = {"name": "hold", "arguments": {"name": "address"}}
        calling = asyncio.create_task(rpc(http, "tools/call", call))
        await gates["address"].reached.wait()
        run_id = service.loop.all_live()[0].run_id
        spelled = [run_id.replace("-", ""), f"-{run_id}", f"{{{run_id}}}", run_id]
        async with listening(http, [*(f"run://{one}" for one in spelled), run_id], {}) as (told, _):
            gates["address"].opened.set()
            await calling
    assert told == [f"run://{run_id}"]


async def test_a_stream_tells_of_so_many_resources_and_no_more(tmp_path: Path) -> None:
    async with open_tools(tmp_path, "hold") as (_, http):
        uris = [f"run://{number}" for number in range(1_001)]
        asked = {"notifications": {"resourceSubscriptions": uris}}
        refused = await rpc(http, "subscriptions/listen", asked)
        async with listening(http, uris[1:], {}) as (granted, _):
            pass
    assert refused["message"] == "a stream tells of 1,000 resources at most, not of 1,001"
    assert granted == []


@pytest.mark.parametrize("what", ["listen", "session"])
async def test_a_stream_ends_once_its_key_is_revoked(tmp_path: Path, what: str) -> None:
    keys = KeyFolder(tmp_path / "data")
    made, token = keys.create("alice", "run")
    alice = {"x-api-key": token}
    async with open_tools(tmp_path, "hold", keep_alive=0.05) as (_, http), asyncio.timeout(15):
        if what == "listen":
            async with listening(http, [], alice) as (_, told):
                keys.revoke(made.key_id)
                assert [one async for one in told] == []
        else:
            began = await http.post("/mcp", json=GREETING, headers={**ACCEPT, **alice})
            session = {**ACCEPT, **alice, "mcp-session-id": began.headers["mcp-session-id"]}
            async with http.stream("GET", "/mcp", headers=session) as answer:
                keys.revoke(made.key_id)
                assert answer.status_code == 200
                assert [part async for part in parts(answer) if part.data] == []
