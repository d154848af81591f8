"""Who is told of other tools: everybody, one after the other, and once of what changes at once."""

import asyncio
import gc
import re
import weakref
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from anyio import wait_all_tasks_blocked
from mcp.server.session import ServerSession
from starlette.types import ASGIApp, Message

from orchestration.mcp import changes as telling
from tests.api.client import client_of, open_play
from tests.api.plays import gates
from tests.mcp.client import ACCEPT, GREETING, open_tools, rpc, until

GREETED = {"jsonrpc": "2.0", "method": "notifications/initialized"}
SUBSCRIBE = {"jsonrpc": "2.0", "id": 2, "method": "resources/subscribe"}
ROUND = ["tools", "prompts", "resources"]
_TOLD = re.compile(rb'"notifications/(\w+)/list_changed"')


class _Reader:
    """A client of a session that reads what it is told while ``taking`` is set."""

    def __init__(self, *, taking: bool) -> None:
        self.taking = asyncio.Event()
        self.told: list[str] = []
        self._asked = False
        if taking:
            self.taking.set()

    async def read(self, app: ASGIApp, session: str) -> None:
        headers = {**ACCEPT, "host": "127.0.0.1", "mcp-session-id": session}
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": "/mcp",
            "raw_path": b"/mcp",
            "query_string": b"",
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }
        await app(scope, self._receive, self._send)

    async def _receive(self) -> Message:
        if self._asked:
            await asyncio.Event().wait()  # it stays
        self._asked = True
        return {"type": "http.request"}

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.body":
            await self.taking.wait()
            self.told += [name.decode() for name in _TOLD.findall(message["body"])]


@asynccontextmanager
async def _open(folder: Path, *readers: _Reader) -> AsyncGenerator[httpx.AsyncClient]:
    """Open a service with a session for each reader, and a client of its API."""
    async with open_play(folder, "echo") as service, client_of(service.app) as http:
        http.headers["host"] = "127.0.0.1"
        reading: list[asyncio.Task[None]] = []
        for reader in readers:
            begun = await http.post("/mcp", json=GREETING, headers=ACCEPT)
            session = begun.headers["mcp-session-id"]
            named = {**ACCEPT, "mcp-session-id": session}
            await http.post("/mcp", json=GREETED, headers=named)
            reading.append(asyncio.create_task(reader.read(service.app, session)))
        await wait_all_tasks_blocked()
        try:
            yield http
        finally:
            for task in reading:
                task.cancel()
            await asyncio.wait(reading)


async def _change(http: httpx.AsyncClient) -> None:
    made = await http.post("/assistants", json={"graph_id": "echo"})
    assert made.is_success


async def _until_it_waits(http: httpx.AsyncClient, other: _Reader) -> None:
    """Change assistants until those who are told wait for one who takes nothing."""
    rounds = 0
    while len(other.told) == len(ROUND) * rounds:
        rounds += 1
        await _change(http)
        await wait_all_tasks_blocked()


async def test_of_what_changes_while_sessions_are_told_they_are_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telling, "_PATIENCE", 60.0)  # a busy machine is not what is tested
    first, second = _Reader(taking=False), _Reader(taking=True)
    async with _open(tmp_path, first, second) as http:
        await _until_it_waits(http, second)
        rounds = len(second.told) // len(ROUND)
        for _ in range(100):
            await _change(http)
        first.taking.set()
        await until(lambda: len(second.told) >= len(ROUND) * (rounds + 2))
        await wait_all_tasks_blocked()
    assert first.told == second.told == ROUND * (rounds + 2)


async def test_a_session_that_takes_nothing_is_told_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telling, "_PATIENCE", 2.0)
    deaf, other = _Reader(taking=False), _Reader(taking=True)
    async with _open(tmp_path, deaf, other) as http:
        await _until_it_waits(http, other)
        missed = len(other.told) + len(ROUND)
        await until(lambda: len(other.told) == missed)
        deaf.taking.set()
        await wait_all_tasks_blocked()
        kept = list(deaf.told)
        await _change(http)
        await until(lambda: len(other.told) == missed + len(ROUND))
        await wait_all_tasks_blocked()
    assert deaf.told == kept
    assert len(kept) < missed


async def test_after_the_last_round_changes_are_told_again(tmp_path: Path) -> None:
    reader = _Reader(taking=True)
    async with _open(tmp_path, reader) as http:
        for number in (1, 2):
            await _change(http)
            await until(lambda: len(reader.told) == len(ROUND) * number)  # noqa: B023 - waited for here
    assert reader.told == ROUND * 2


def _sessions() -> "weakref.WeakSet[ServerSession]":
    return weakref.WeakSet(one for one in gc.get_objects() if isinstance(one, ServerSession))


async def test_a_session_that_is_deleted_is_let_go_though_it_heard_of_a_run(tmp_path: Path) -> None:
    async with open_tools(tmp_path, "hold") as (service, http):
        calling = asyncio.create_task(
            rpc(http, "tools/call", {"name": "hold", "arguments": {"name": "outliving"}})
        )
        await gates["outliving"].reached.wait()
        uri = f"run://{service.loop.all_live()[0].run_id}"
        others = _sessions()
        begun = await http.post("/mcp", json=GREETING, headers=ACCEPT)
        named = {**ACCEPT, "mcp-session-id": begun.headers["mcp-session-id"]}
        subscribe = {**SUBSCRIBE, "params": {"uri": uri}}
        for sent in (GREETED, subscribe):
            (await http.post("/mcp", json=sent, headers=named)).raise_for_status()
        held = _sessions() - others
        assert held
        (await http.delete("/mcp", headers=named)).raise_for_status()
        await until(lambda: gc.collect() >= 0 and not held)
        gates["outliving"].opened.set()
        assert not (await calling)["isError"]
