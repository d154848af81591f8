"""Items of a second principal: apart, whichever way a graph comes to work for somebody."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from operations.keys import KeyFolder, KeyScope
from orchestration.service import DATABASE
from orchestration.store.assistants import default_assistant
from tests.api.client import client_of, new_thread, open_play
from tests.api.test_crons import make_due, new_cron
from tests.mcp.client import rpc

BOTH = ("alice", "bob")
AGENTS = {"keepers": "keeper", "makers": "maker", "lenders": "lender", "senders": "sender"}
MANIFEST: dict[str, Any] = {
    "graphs": {name: f"tests.api.keepers:{name}" for name in AGENTS.values()},
    "masterloop": {
        "agents": {name: {"kind": "graph", "graph": graph} for name, graph in AGENTS.items()},
        "network": {"mailboxes": {name: {} for name in AGENTS}},
    },
}


@dataclass(frozen=True)
class Caller:
    """Somebody who has graphs work for them; what these keep has their name in it."""

    name: str
    client: httpx.AsyncClient
    folder: Path

    async def post(self, path: str, body: Any) -> Any:
        answer = await self.client.post(path, json=body)
        assert answer.is_success, answer.text
        return answer.json()

    async def look(self, path: str) -> None:
        answer = await self.client.get(path)
        assert answer.is_success, answer.text


Way = Callable[[Caller], Awaitable[Any]]


def run(graph: str, **given: str) -> Way:
    def go(caller: Caller) -> Awaitable[Any]:
        body = {"assistant_id": graph, "input": {"text": caller.name, **given}}
        return caller.post("/runs/wait", body)

    return go


def forged(caller: Caller) -> Awaitable[Any]:
    metadata = {"__masterloop_namespace": ["masterloop-owner", "carol"]}
    body = {"assistant_id": "sender", "input": {"text": caller.name}, "metadata": metadata}
    return caller.post("/runs/wait", body)


def step(**doing: str) -> Way:
    def go(caller: Caller) -> Awaitable[Any]:
        steps = [{"id": "one", "input": {"text": caller.name}, **doing}]
        return caller.post("/workflows/runs", {"workflow": {"name": "w", "steps": steps}})

    return go


def message(to: str) -> Way:
    return lambda caller: caller.post("/messages", {"to": to, "content": caller.name})


async def assistant_of(caller: Caller) -> str:
    """Return an assistant of theirs, or the server's where nobody but admins may make one."""
    made = await caller.client.post("/assistants", json={"graph_id": "maker"})
    found: str = made.json()["assistant_id"] if made.is_success else default_assistant("maker")
    return found


def looked_at(part: str) -> Way:
    async def go(caller: Caller) -> None:
        await caller.look(f"/assistants/{await assistant_of(caller)}/{part}")

    return go


async def state(caller: Caller) -> None:
    thread = await new_thread(caller.client)
    body = {"assistant_id": "maker", "input": {"text": caller.name}}
    await caller.post(f"/threads/{thread}/runs/wait", body)
    await caller.look(f"/threads/{thread}/state")
    await caller.look(f"/threads/{thread}/history")
    await caller.post(f"/threads/{thread}/state", {"values": {"to": "x"}, "as_node": "node"})


async def cron(caller: Caller) -> None:
    made = await new_cron(caller.client, assistant_id="lender", input={"text": caller.name})
    await make_due(caller.folder, caller.client, made)


async def tool(caller: Caller) -> None:
    params = {"name": "keeper", "arguments": {"text": caller.name}}
    answer = await rpc(caller.client, "tools/call", params)
    assert not answer.get("isError", "code" in answer), answer


async def tools(caller: Caller) -> None:
    assert (await rpc(caller.client, "tools/list"))["tools"]


async def resource(caller: Caller) -> None:
    uri = f"assistant://{await assistant_of(caller)}/graph"
    assert (await rpc(caller.client, "resources/read", {"uri": uri}))["contents"]


WAYS: Mapping[str, Way] = {
    "a run": run("keeper"),
    "a run of a graph that is made for it": run("maker"),
    "an agent in a node": run("lender"),
    "an agent whose graph is made for its task": run("lender", to="makers"),
    "an agent of an agent": run("lender", to="lenders"),
    "a message of a node": run("sender"),
    "a message of a node whose run names another": forged,
    "a message of an agent": run("lender", to="senders"),
    "an agent in a workflow": step(agent="keepers"),
    "a graph in a workflow": step(graph="keeper"),
    "a graph in a workflow that is made for it": step(graph="maker"),
    "a message": message("keepers"),
    "a message that leads to another": message("senders"),
    "a message to who asks an agent": message("lenders"),
    "a cron": cron,
    "the state of a thread": state,
    "the schemas of an assistant": looked_at("schemas"),
    "the picture of an assistant": looked_at("graph"),
    "a tool": tool,
    "a list of tools": tools,
    "a resource": resource,
}
IN_WORKERS = ("a run", "a run of a graph that is made for it", "an agent in a node")


def _key(folder: Path, owner: str, scope: KeyScope = "run") -> dict[str, str]:
    return {"x-api-key": KeyFolder(folder / "data").create(owner, scope)[1]}


@asynccontextmanager
async def open_callers(
    folder: Path, headers: Mapping[str, Mapping[str, str]], **more: Any
) -> AsyncGenerator[dict[str, Caller]]:
    async with open_play(folder, manifest=MANIFEST | more.pop("manifest", {}), **more) as service:
        callers = {name: Caller(name, client_of(service.app), folder) for name in headers}
        for name, caller in callers.items():
            caller.client.headers.update(headers[name])
        yield callers


async def kept(folder: Path) -> list[Any]:
    """Wait for two items; return where each is, whose it is, and which others it saw there."""
    query = "SELECT namespace, value FROM items"
    with closing(sqlite3.connect(folder / "data" / DATABASE)) as database:
        while len(rows := database.execute(query).fetchall()) < 2:  # noqa: ASYNC110 - of both
            await asyncio.sleep(0.01)
    items = [(namespace, json.loads(value)) for namespace, value in rows]
    return sorted((namespace, item["text"], item["saw"]) for namespace, item in items)


APART: list[Any] = [(f"masterloop-owner.{name}.notes.", name, []) for name in BOTH]


@pytest.mark.parametrize("provider", ["keys", "owners", "lookers", "sorting", "items_alone"])
@pytest.mark.parametrize("way", WAYS)
async def test_a_graph_sees_the_items_of_whom_it_works_for(
    tmp_path: Path, way: str, provider: str
) -> None:
    await _go(tmp_path, way, provider)


@pytest.mark.parametrize("way", ["the schemas of an assistant", "a list of tools"])
async def test_so_it_does_for_who_may_look_and_run_nothing(tmp_path: Path, way: str) -> None:
    await _go(tmp_path, way, "runs_nothing")


async def _go(folder: Path, way: str, provider: str) -> None:
    manifest: dict[str, Any] = {}
    if provider == "keys":
        headers = {name: _key(folder, name) for name in BOTH}
    else:
        manifest = {"auth": {"path": f"tests.api.guards:{provider}"}}
        headers = {name: {"authorization": f"Bearer {name}"} for name in BOTH}
    async with open_callers(folder, headers, manifest=manifest) as callers:
        for caller in callers.values():
            await WAYS[way](caller)
        assert await kept(folder) == APART


@pytest.mark.parametrize("way", IN_WORKERS)
async def test_a_graph_in_a_worker_process_does_too(tmp_path: Path, way: str) -> None:
    headers = {name: _key(tmp_path, name) for name in BOTH}
    async with open_callers(tmp_path, headers, workers=1) as callers:
        for caller in callers.values():
            await WAYS[way](caller)
        assert await kept(tmp_path) == APART


@pytest.mark.parametrize("old", [False, True])
async def test_a_letter_that_waited_for_another_start_is_of_its_sender(
    tmp_path: Path, old: bool
) -> None:
    headers = {name: _key(tmp_path, name) for name in BOTH}
    headers["root"] = _key(tmp_path, "root", "admin")
    async with open_callers(tmp_path, headers) as callers:
        await callers["root"].post("/agents/keepers/drain", {})
        for name in BOTH:
            await WAYS["a message"](callers[name])
            await WAYS["a message of a node"](callers[name])
    if old:  # as it was stored before letters had a namespace
        with closing(sqlite3.connect(tmp_path / "data" / DATABASE)) as database, database:
            database.execute(
                "UPDATE messages SET metadata = json_remove(metadata, '$.__masterloop_namespace')"
            )
    async with open_callers(tmp_path, headers):
        assert await kept(tmp_path) == APART


async def test_an_admin_s_agents_see_what_an_admin_sees(tmp_path: Path) -> None:
    headers = {"alice": _key(tmp_path, "alice"), "root": _key(tmp_path, "root", "admin")}
    async with open_callers(tmp_path, headers) as callers:
        await WAYS["a message"](callers["alice"])
        while not (await callers["alice"].post("/store/items/search", {}))["items"]:  # noqa: ASYNC110 - over HTTP
            await asyncio.sleep(0.01)
        await WAYS["a message"](callers["root"])
        assert await kept(tmp_path) == [APART[0], ("notes.", "root", ["alice"])]
