"""How much of what all callers share one of them may take: never what is left for the others."""

from contextlib import AsyncExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from mcp.shared.exceptions import MCPError

from orchestration.api.access import Principal
from orchestration.api.endpoint import Call
from orchestration.mcp import changes, face
from orchestration.mcp.shares import Shares
from tests.mcp.client import ACCEPT, GREETING, open_tools, rpc
from tests.mcp.test_listening import key, listening

LISTEN = {"notifications": {"toolsListChanged": True}}


async def test_nobody_takes_the_sessions_of_all_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(face, "_SESSIONS", 4)
    alice, bob = key(tmp_path, "alice"), key(tmp_path, "bob")
    async with open_tools(tmp_path, "greet") as (_, http):
        begun = [
            await http.post("/mcp", json=GREETING, headers={**ACCEPT, **whose})
            for whose in (alice, alice, alice, bob)
        ]
        session = {"mcp-session-id": begun[0].headers["mcp-session-id"], **alice}
        await http.delete("/mcp", headers=session)
        again = await http.post("/mcp", json=GREETING, headers={**ACCEPT, **alice})
    assert [one.status_code for one in begun] == [200, 200, 503, 200]
    assert again.status_code == 200


async def test_nobody_takes_the_streams_of_all_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "_STREAMS", 4)
    alice, bob = key(tmp_path, "alice"), key(tmp_path, "bob")
    async with open_tools(tmp_path, "greet") as (_, http), AsyncExitStack() as streams:
        for _ in range(2):
            await streams.enter_async_context(listening(http, [], alice))
        refused = await rpc(http, "subscriptions/listen", LISTEN, headers=alice)
        await streams.enter_async_context(listening(http, [], bob))
    assert refused["message"] == "too many streams: 2 are open"


async def test_where_nobody_is_asked_one_may_take_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(face, "_SESSIONS", 2)
    monkeypatch.setattr(changes, "_STREAMS", 2)
    async with open_tools(tmp_path, "greet") as (_, http), AsyncExitStack() as streams:
        begun = [await http.post("/mcp", json=GREETING, headers=ACCEPT) for _ in range(3)]
        for _ in range(2):
            await streams.enter_async_context(listening(http, [], {}))
        refused = await rpc(http, "subscriptions/listen", LISTEN)
    assert [one.status_code for one in begun] == [200, 200, 503]
    assert refused["message"] == "Subscription limit reached"


def test_what_is_given_back_is_there_again() -> None:
    async def receive() -> Any:
        raise NotImplementedError

    backend = cast("Any", SimpleNamespace(authority=object()))
    call = Call(backend, {}, receive, {}, Principal(identity="alice"))
    shares = Shares(2)
    for _ in range(3):
        with shares.counted(call), pytest.raises(MCPError), shares.counted(call):
            pass
