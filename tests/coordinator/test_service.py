"""Workflows in a service: submitted, registered, in files; ordinary runs in every way."""

import json
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from coordinator.zombies import Zombies
from operations.errors import ConfigurationError
from orchestration.graphs.registry import Equipment, GraphNotFound, GraphRegistry
from orchestration.graphs.workflows import WORKFLOW, GraphSteps, WorkflowSource
from tests.agents.kinds import PLAYERS
from tests.api.client import open_client, parts_of
from tests.coordinator.stage import FirstArm

WORKER = {
    "kind": "process",
    "argv": [sys.executable, str(PLAYERS / "worker.py")],
    "seats": 2,
    "capabilities": ["work"],
}
GRAPHS = {"play": "tests.agents.players.graph:play"}
FIRST = {"id": "first", "agent": "work", "input": {"do": "echo", "text": "{{ input.text }}"}}
SECOND = {
    "id": "second",
    "graph": "play",
    "input": {"do": "{{ input.do | default('echo') }}", "text": "{{ steps.first.output }}!"},
}
ASKING = [{**FIRST, "approval": True}, SECOND]
HELLO = {"name": "hello", "description": "Says it twice.", "steps": [FIRST, SECOND]}


@asynccontextmanager
async def service(folder: Path, **masterloop: Any) -> AsyncGenerator[httpx.AsyncClient]:
    manifest = {"graphs": GRAPHS, "masterloop": {"agents": {"workers": WORKER}, **masterloop}}
    async with open_client(folder, manifest=manifest) as client:
        yield client


async def submitted(client: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    """Submit a workflow, wait for its end, and return the run with its values."""
    response = await client.post("/workflows/runs", json={"workflow": HELLO, **body})
    assert response.status_code == 200, response.text
    run: dict[str, Any] = response.json()
    values = await client.get(f"/threads/{run['thread_id']}/runs/{run['run_id']}/join")
    return {**run, "values": values.json()}


async def test_a_workflow_is_submitted_and_is_a_run_like_any_other(tmp_path: Path) -> None:
    async with service(tmp_path) as client:
        run = await submitted(client, input={"text": "hi"}, metadata={"mine": True})
        path = f"/threads/{run['thread_id']}/runs/{run['run_id']}"
        kept = (await client.get(path)).json()
        state = (await client.get(f"/threads/{run['thread_id']}/state")).json()
    assert (kept["status"], kept["metadata"]["mine"]) == ("success", True)
    assert run["values"]["steps"]["second"]["output"]["said"] == "hi!"
    assert state["values"] == run["values"]
    assert state["next"] == []


async def test_a_workflow_is_given_a_context_beside_its_steps(tmp_path: Path) -> None:
    async with service(tmp_path) as client:
        run = await submitted(client, input={"text": "hi"}, context={"tone": "dry"})
        both = {"context": {"tone": "dry"}, "config": {"configurable": {"tone": "wet"}}}
        refused = await client.post("/workflows/runs", json={"workflow": HELLO, **both})
    assert run["values"]["steps"]["second"]["output"]["said"] == "hi!"
    assert refused.status_code == 400


async def test_what_cannot_be_done_is_refused_with_its_place(tmp_path: Path) -> None:
    wrong = {"name": "w", "steps": [{**FIRST, "agent": "wrok"}, {**SECOND, "needs": ["x"]}]}
    async with service(tmp_path) as client:
        await submitted(client, input={"text": "by now the agents say what they can do"})
        for path in ("/workflows/runs", "/workflows"):
            response = await client.post(path, json={"workflow": wrong})
            assert response.status_code == 422
            assert [error["pointer"] for error in response.json()["errors"]] == [
                "/workflow/steps/0/agent",
                "/workflow/steps/1/needs/0",
            ]
        assert (await client.get("/workflows")).json() == []


@pytest.mark.parametrize("mode", ["sequential", "parallel", "adaptive"])
async def test_a_question_is_answered_on_the_thread_by_whoever_knows_only_the_run(
    mode: str, tmp_path: Path
) -> None:
    spec = {**HELLO, "mode": mode, "steps": [FIRST, {**SECOND, "approval": "Go on?"}]}
    async with service(tmp_path) as client:
        run = await submitted(client, workflow=spec, input={"text": "hi"})
        (asked,) = run["values"]["__interrupt__"]
        state = (await client.get(f"/threads/{run['thread_id']}/state")).json()
        assert state["next"] == ["second"]
        answer = {"decision": "approve", "hash": asked["value"]["hash"]}
        body = {"assistant_id": run["assistant_id"], "command": {"resume": answer}}
        values = (await client.post(f"/threads/{run['thread_id']}/runs/wait", json=body)).json()
    assert values["steps"]["second"]["output"]["said"] == "hi!"


async def asked_twice(client: httpx.AsyncClient) -> dict[str, Any]:
    """Submit a workflow that asks before each of two steps; return its run, and the question."""
    steps = [{**FIRST, "approval": True}, {**SECOND, "approval": True}]
    spec = {**HELLO, "mode": "sequential", "steps": steps}
    run = await submitted(client, workflow=spec, input={"text": "hi"})
    (asked,) = run["values"]["__interrupt__"]
    return {**run, "asked": asked}


async def answered(client: httpx.AsyncClient, thread_id: str, asked: dict[str, Any]) -> Any:
    """Approve on a thread, as who knows no more than the question, and return the values."""
    answer = {"decision": "approve", "hash": asked["value"]["hash"]}
    body = {"assistant_id": "_workflow", "command": {"resume": answer}}
    return (await client.post(f"/threads/{thread_id}/runs/wait", json=body)).json()


async def test_a_copy_of_a_thread_goes_on_with_its_workflow_and_so_does_a_copy_of_that(
    tmp_path: Path,
) -> None:
    async with service(tmp_path) as client:
        run = await asked_twice(client)
        thread, asked = run["thread_id"], run["asked"]
        for _ in range(2):
            thread = (await client.post(f"/threads/{thread}/copy")).json()["thread_id"]
        state = (await client.get(f"/threads/{thread}/state")).json()
        (asked,) = (await answered(client, thread, asked))["__interrupt__"]
        values = await answered(client, thread, asked)
    assert state["next"] == ["first"]
    assert values["steps"]["second"]["output"]["said"] == "hi!"


async def test_a_thread_goes_on_with_its_workflow_when_the_run_that_was_given_it_is_deleted(
    tmp_path: Path,
) -> None:
    async with service(tmp_path) as client:
        run = await asked_twice(client)
        (asked,) = (await answered(client, run["thread_id"], run["asked"]))["__interrupt__"]
        await client.delete(f"/threads/{run['thread_id']}/runs/{run['run_id']}")
        values = await answered(client, run["thread_id"], asked)
    assert values["steps"]["second"]["output"]["said"] == "hi!"


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
@pytest.mark.parametrize(
    "change",
    [
        {"mode": "parallel"},
        {"steps": [{**FIRST, "id": "before"}, *ASKING]},
        {"steps": [{**FIRST, "id": "renamed", "approval": True}]},
    ],
)
async def test_a_question_of_a_sequential_workflow_that_was_changed_meanwhile_fails_its_run(
    change: dict[str, Any], durability: str, tmp_path: Path
) -> None:
    spec = {**HELLO, "mode": "sequential", "steps": ASKING}
    async with service(tmp_path) as client:
        made = (await client.post("/workflows", json={"workflow": spec})).json()
        thread = (await client.post("/threads", json={})).json()["thread_id"]
        body = {"assistant_id": made["assistant_id"], "durability": durability}
        path, given = f"/threads/{thread}/runs/wait", {"input": {"text": "hi"}}
        (asked,) = (await client.post(path, json={**body, **given})).json()["__interrupt__"]
        answer = {"command": {"resume": {"decision": "approve", "hash": asked["value"]["hash"]}}}
        found: list[Any] = []
        for to in (change, {}):
            changed = {"workflow": {**spec, **to}, "assistant_id": made["assistant_id"]}
            await client.post("/workflows", json={**changed, "if_exists": "replace"})
            found.append((await client.post(path, json={**body, **answer})).json())
    assert found[0]["__error__"]["error"] == "StepsLeftOut"
    assert found[1]["steps"]["second"]["output"]["said"] == "hi!"


async def test_an_interrupt_of_a_graph_within_a_workflow_is_answered_there(tmp_path: Path) -> None:
    async with service(tmp_path) as client:
        run = await submitted(client, input={"text": "hi", "do": "ask"})
        (asked,) = run["values"]["__interrupt__"]
        body = {"assistant_id": run["assistant_id"], "command": {"resume": "you may"}}
        values = (await client.post(f"/threads/{run['thread_id']}/runs/wait", json=body)).json()
    assert asked["value"] == "may I?"
    assert values["steps"]["second"]["status"] == "done"


async def test_steps_are_streamed_with_the_events_of_their_agents(tmp_path: Path) -> None:
    events = {**FIRST, "input": {"do": "events", "count": 2}}
    async with service(tmp_path) as client:
        spec = {"name": "w", "steps": [events]}
        registered = (await client.post("/workflows", json={"workflow": spec})).json()
        body = {
            "assistant_id": registered["assistant_id"],
            "input": {},
            "stream_mode": ["updates", "custom", "checkpoints"],
        }
        text = (await client.post("/runs/stream", json=body)).text
    told = [(part.event, part.data) for part in parts_of(text)]
    assert [data for event, data in told if event == "custom"] == [{"step": 0}, {"step": 1}]
    (update,) = [data for event, data in told if event == "updates"]
    assert update["first"]["steps"]["first"]["output"] == "done"
    assert "onductor" not in text


async def test_a_workflow_is_registered_changed_listed_and_forgotten(tmp_path: Path) -> None:
    async with service(tmp_path) as client:
        made = (await client.post("/workflows", json={"workflow": HELLO})).json()
        assistant = made["assistant_id"]
        assert (made["name"], made["description"]) == ("hello", "Says it twice.")
        body = {"assistant_id": assistant, "input": {"text": "hi"}}
        values = (await client.post("/runs/wait", json=body)).json()
        assert values["steps"]["second"]["output"]["said"] == "hi!"
        again = {"workflow": {**HELLO, "description": "Changed."}, "assistant_id": assistant}
        assert (await client.post("/workflows", json=again)).status_code == 409
        changed = await client.post("/workflows", json={**again, "if_exists": "replace"})
        assert (changed.json()["version"], changed.json()["description"]) == (2, "Changed.")
        await client.post("/workflows", json={"workflow": HELLO})
        page = await client.get("/workflows", params={"limit": 1})
        assert (len(page.json()), page.headers["x-pagination-next"]) == (1, "1")
        assert (await client.get(f"/workflows/{assistant}")).json()["name"] == "hello"
        assert (await client.delete(f"/workflows/{assistant}")).status_code == 204
        assert (await client.get(f"/workflows/{assistant}")).status_code == 404


async def test_what_is_no_workflow_is_not_found_among_them(tmp_path: Path) -> None:
    async with service(tmp_path) as client:
        plain = (await client.post("/assistants", json={"graph_id": "play"})).json()
        for name in (plain["assistant_id"], "_workflow", "play", str(uuid4())):
            assert (await client.get(f"/workflows/{name}")).status_code == 404


async def test_the_picture_has_a_node_for_each_step_and_an_edge_for_each_need(
    tmp_path: Path,
) -> None:
    undo = {**FIRST, "id": "undo"}
    steps = [FIRST, {**SECOND, "on_error": {"compensate": "undo"}}, {**FIRST, "id": "beside"}, undo]
    async with service(tmp_path) as client:
        body = {"workflow": {**HELLO, "steps": steps}}
        made = (await client.post("/workflows", json=body)).json()["assistant_id"]
        drawing = (await client.get(f"/assistants/{made}/graph")).json()
        schemas = (await client.get(f"/assistants/{made}/schemas")).json()
    edges = {(edge["source"], edge["target"]) for edge in drawing["edges"]}
    assert {node["id"] for node in drawing["nodes"]} == {
        "__start__", "first", "second", "beside", "undo", "__end__",
    }  # fmt: skip
    assert edges == {
        ("__start__", "first"), ("first", "second"), ("second", "undo"), ("undo", "__end__"),
        ("__start__", "beside"), ("beside", "__end__"),
    }  # fmt: skip
    assert set(schemas["input_schema"]["properties"]) == {"text", "do"}


async def test_workflows_in_files_are_there_by_their_name(tmp_path: Path) -> None:
    file = tmp_path / "hello.json"
    file.write_text(json.dumps(HELLO))
    async with service(tmp_path, workflows=[str(file)]) as client:
        body = {"assistant_id": "hello", "input": {"text": "hi"}}
        values = (await client.post("/runs/wait", json=body)).json()
        assert values["steps"]["second"]["output"]["said"] == "hi!"
        (listed,) = (await client.get("/workflows")).json()
        refused = await client.delete(f"/workflows/{listed['assistant_id']}")
        assert (refused.status_code, listed["version"]) == (409, 1)
    file.write_text(json.dumps({**HELLO, "description": "Changed."}))
    async with service(tmp_path, workflows=[str(file)]) as client:
        (listed,) = (await client.get("/workflows")).json()
        assert (listed["description"], listed["version"]) == ("Changed.", 2)


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ({"a.json": {"name": "a", "steps": [{**SECOND, "graph": "plya"}]}}, "Did you mean play?"),
        ({"a.json": HELLO, "b.json": HELLO}, "there is another workflow 'hello'"),
        ({"a.json": {**HELLO, "name": "play"}}, "there is a graph 'play'"),
    ],
)
async def test_a_file_that_is_no_workflow_stops_the_start(
    files: dict[str, Any], complaint: str, tmp_path: Path
) -> None:
    for name, document in files.items():
        (tmp_path / name).write_text(json.dumps(document))
    with pytest.raises(ConfigurationError) as refused:
        async with service(tmp_path, workflows=[str(tmp_path / name) for name in files]):
            pass
    assert complaint in str(refused.value)


async def test_a_run_of_a_workflow_that_nobody_gave_says_so(tmp_path: Path) -> None:
    async with service(tmp_path) as client:
        response = await client.post("/runs/wait", json={"assistant_id": "_workflow", "input": {}})
    assert response.json()["__error__"]["error"] == "NoWorkflow"


async def test_a_run_with_steps_that_nobody_can_do_begins_none_of_them(tmp_path: Path) -> None:
    steps = [FIRST, {"id": "s", "graph": "_workflow"}, {"id": "t", "tool": "none"}]
    config = {"configurable": {"workflow": {"name": "w", "steps": steps}}}
    body = {"assistant_id": "_workflow", "input": {"text": "hi"}, "config": config}
    async with service(tmp_path) as client:
        error = (await client.post("/runs/wait", json=body)).json()["__error__"]
    assert error["error"] == "WorkflowRefused"
    assert error["message"].split("; ") == [
        "/steps/1/graph: there is no graph '_workflow'. Known are: play.",
        "/steps/2/tool: there is no tool 'none'. There are none.",
    ]


async def test_the_graph_of_all_workflows_is_no_step_of_one() -> None:
    graphs = GraphRegistry({}, {}, Equipment(None, None))
    steps = GraphSteps(graphs, owner=())
    more: Any = {"tools": None, "zombies": Zombies(0.0), "kept": lambda _: None}
    graphs.add(WORKFLOW, WorkflowSource(graphs, FirstArm(), print, **more))
    with pytest.raises(GraphNotFound, match="there is no graph '_workflow'"):
        await steps.run(WORKFLOW, {})


async def test_what_a_workflow_gave_is_there_although_its_graph_is_not_any_more(
    tmp_path: Path,
) -> None:
    async with service(tmp_path) as client:
        run = await submitted(client, input={"text": "hi"})
    async with open_client(tmp_path, "echo") as client:
        state = (await client.get(f"/threads/{run['thread_id']}/state")).json()
    assert state["values"] == run["values"]


async def test_a_workflow_is_done_although_a_client_sends_an_empty_config(tmp_path: Path) -> None:
    """As ``RemoteGraph`` does; the thread's last workflow is another."""
    async with service(tmp_path) as client:
        made = (await client.post("/workflows", json={"workflow": HELLO})).json()["assistant_id"]
        spec = {"name": "other", "steps": [FIRST]}
        other = await submitted(client, workflow=spec, input={"text": "x"})
        body = {"assistant_id": made, "input": {"text": "hi"}, "config": {"configurable": {}}}
        alone = (await client.post("/runs/wait", json=body)).json()
        path = f"/threads/{other['thread_id']}/runs/wait"
        after = (await client.post(path, json=body)).json()
    assert set(alone["steps"]) == set(after["steps"]) == {"first", "second"}


async def test_an_assistant_whose_workflow_was_taken_away_is_none_of_those_registered(
    tmp_path: Path,
) -> None:
    async with service(tmp_path) as client:
        made = await client.post("/assistants", json={"graph_id": "_workflow"})
        place = made.json()["assistant_id"]
        await client.patch(f"/assistants/{place}", json={"config": {"configurable": None}})
        found = [
            await client.request(method, f"/workflows/{place}") for method in ("GET", "DELETE")
        ]
    assert [one.status_code for one in found] == [404, 404]


async def test_of_a_workflow_that_nobody_gave_there_is_a_graph_without_steps_to_see(
    tmp_path: Path,
) -> None:
    async with service(tmp_path) as client:
        made = await client.post("/assistants", json={"graph_id": "_workflow"})
        place = f"/assistants/{made.json()['assistant_id']}"
        graph = (await client.get(f"{place}/graph")).json()
        others = [await client.get(f"{place}/{what}") for what in ("schemas", "subgraphs")]
        thread = (await client.post("/threads", json={})).json()["thread_id"]
        await client.post(
            f"/threads/{thread}/runs/wait", json={"assistant_id": "_workflow", "input": {}}
        )
        state = await client.get(f"/threads/{thread}/state")
    assert [node["id"] for node in graph["nodes"]] == ["__start__", "__end__"]
    assert {one.status_code for one in (*others, state)} == {200}


async def test_the_schema_is_published_and_takes_what_the_service_takes(tmp_path: Path) -> None:
    async with service(tmp_path) as client:
        schema = (await client.get("/schemas/workflow.json")).json()
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    assert validator.is_valid(HELLO)
    assert not validator.is_valid({**HELLO, "stesp": []})
    assert not validator.is_valid({"name": "w", "steps": [{**FIRST, "retry": {"atempts": 2}}]})


async def test_max_concurrency_of_a_run_bounds_its_steps(tmp_path: Path) -> None:
    steps = [{**FIRST, "id": name, "needs": needs} for name, needs in (("a", ["z"]), ("z", []))]
    async with service(tmp_path) as client:
        spec = {"name": "w", "steps": steps}
        body = {"workflow": spec, "input": {"text": "x"}, "config": {"max_concurrency": 1}}
        run = await submitted(client, **body)
    assert {one["status"] for one in run["values"]["steps"].values()} == {"done"}
