"""Nodes and routes that use the service they are in, as LangGraph's SDK has it."""

import sys
from pathlib import Path
from typing import Any

import pytest

from agents.agent import Context
from orchestration.api.auth.insiders import insider
from orchestration.graphs.node_tasks import enter_run
from tests.api.client import new_run, new_thread, open_client
from tests.api.plays import cleaned, gates

CALLERS = {
    name: f"tests.api.callers:{name}"
    for name in ("asking", "astray", "colours", "waiting", "watching", "watching_in_a_thread")
}
ROUTES = {"app": "tests.api.callers:app"}
OWNERS = {"auth": {"path": "tests.api.guards:owners"}}
ALICE, BOB = ({"authorization": f"Bearer {name}"} for name in ("alice", "bob"))


def manifest(**more: Any) -> dict[str, Any]:
    graphs = {**CALLERS, "holder": "tests.api.plays:holder", "echo": "tests.api.plays:echo"}
    return {"graphs": graphs, **more}


@pytest.mark.parametrize("prefix", ["", "/below"])
async def test_a_node_uses_the_service_around_it(tmp_path: Path, prefix: str) -> None:
    given = manifest(http={"mount_prefix": prefix})
    async with open_client(tmp_path, manifest=given) as client:
        body = {"assistant_id": "asking", "input": {}}
        answer = (await client.post(f"{prefix}/runs/wait", json=body)).json()
        coloured, thread, found = answer["log"]
        assert (await client.get(f"{prefix}/threads/{thread}")).is_success
    assert found == [thread]
    assert coloured["log"] == "none", "a run is no part of the one that begins it"
    assert not [name for name in sys.modules if name.startswith("langgraph_api")]


@pytest.mark.parametrize("graph", ["watching", "watching_in_a_thread"])
async def test_what_a_node_streams_comes_as_it_is_made(tmp_path: Path, graph: str) -> None:
    gates.pop(graph, None)
    async with open_client(tmp_path, manifest=manifest()) as client:
        body = {"assistant_id": graph, "input": {"text": graph}}
        answer = (await client.post("/runs/wait", json=body)).json()
    first, *updates, last = answer["log"]
    assert (first, set(updates), last) == ("metadata", {"updates"}, "end")


async def test_who_is_cancelled_has_left_what_it_waited_for(tmp_path: Path) -> None:
    gates.pop("left", None)
    async with open_client(tmp_path, manifest=manifest()) as client:
        path = await new_run(client, await new_thread(client), "waiting", "left")
        await gates["left"].reached.wait()
        assert (await client.post(f"{path}/cancel", params={"wait": "true"})).is_success
        while "left" not in cleaned:
            await client.get("/ok")


async def test_a_node_may_do_what_may_do_who_its_run_is_for(tmp_path: Path) -> None:
    async with open_client(tmp_path, manifest=manifest(**OWNERS, http=ROUTES)) as client:
        body = {"assistant_id": "asking", "input": {}}
        threads: dict[str, str] = {}
        for name, headers in ("alice", ALICE), ("bob", BOB):
            answer = await client.post("/runs/wait", json=body, headers=headers)
            coloured, threads[name], found = answer.json()["log"]
            assert (coloured["log"], found) == ("none", [threads[name]])
        seen = [
            (await client.get(f"/threads/{threads['alice']}", headers=headers)).status_code
            for headers in (ALICE, BOB)
        ]
        assert seen == [200, 404]
        assert (await client.get("/count", headers=BOB)).json() == 2, "the service's own code"


async def test_so_may_an_agent_that_works_for_their_run(tmp_path: Path) -> None:
    agents = {"helper": {"kind": "graph", "graph": "asking"}}
    step = {"id": "a", "agent": "helper", "input": {}}
    async with open_client(
        tmp_path, manifest=manifest(**OWNERS, masterloop={"agents": agents})
    ) as client:
        body = {"workflow": {"name": "w", "steps": [step]}, "input": {}}
        run = (await client.post("/workflows/runs", json=body, headers=ALICE)).json()
        path = f"/threads/{run['thread_id']}/runs/{run['run_id']}/join"
        done = (await client.get(path, headers=ALICE)).json()
        _, thread, _ = done["steps"]["a"]["output"]["log"]
        assert (await client.get(f"/threads/{thread}", headers=ALICE)).is_success


async def test_an_agent_that_works_on_a_message_is_nobody() -> None:
    enter_run(Context(run_id="over"))
    assert insider(lambda _: None) is None


@pytest.mark.parametrize("auth", [{}, OWNERS])
async def test_who_has_nothing_that_says_for_whom_it_works_is_nobody(
    tmp_path: Path, auth: dict[str, Any]
) -> None:
    async with open_client(tmp_path, manifest=manifest(**auth)) as client:
        body = {"assistant_id": "astray", "input": {}}
        answer = (await client.post("/runs/wait", json=body, headers=ALICE)).json()
    if not auth:
        assert answer == {"log": 0}
    else:
        assert answer["__error__"]["error"] == "AuthenticationError"


async def test_in_a_worker_process_it_is_said_that_there_is_no_service(tmp_path: Path) -> None:
    async with open_client(tmp_path, manifest=manifest(), workers=1) as client:
        body = {"assistant_id": "asking", "input": {}}
        answer = (await client.post("/runs/wait", json=body)).json()
    assert answer["__error__"]["error"] == "NotInWorker"
    assert "get_client() without a url" in answer["__error__"]["message"]
