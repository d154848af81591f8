"""Commands to a thread: runs started, questions answered, states looked at, all of it refused."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from operations.keys import KeyFolder
from orchestration.api import commands
from orchestration.api.protocol import METHODS
from tests.api.client import NOBODY, new_run, open_client, open_socket
from tests.api.plays import gates
from tests.api.test_thread_log import events, lives, quiet, to_the_end
from tests.clients.graphs import MANIFEST

Answer = dict[str, Any]


async def send(client: httpx.AsyncClient, thread: str, method: str, **params: Any) -> Answer:
    """Send a command; return what it is answered."""
    command = {"id": 7, "method": method, "params": params}
    response = await client.post(f"/threads/{thread}/commands", json=command)
    answer: Answer = response.json()
    assert (answer["type"] == "success") is (response.status_code == 200), response.text
    return {**answer, "status": response.status_code}


async def run(client: httpx.AsyncClient, thread: str, graph: str, given: Any, **more: Any) -> None:
    """Start a run and wait for its end."""
    answer = await send(client, thread, "run.start", assistant_id=graph, input=given, **more)
    assert answer["status"] == 200
    await to_the_end(client, thread)


async def questions(client: httpx.AsyncClient, thread: str) -> dict[Any, str]:
    """Return the ids of the interrupts of the latest run by what they ask."""
    got = await to_the_end(client, thread, ["input", "lifecycle"])
    asked = [part.data["params"]["data"] for part in got if part.event == "input.requested"]
    return {str(each["payload"]): each["interrupt_id"] for each in asked}


async def values(client: httpx.AsyncClient, thread: str) -> Any:
    """Return the values of a thread."""
    return (await client.get(f"/threads/{thread}/state")).json()["values"]


async def test_a_run_is_started_on_a_thread_that_need_not_be_there(tmp_path: Path) -> None:
    thread = str(uuid4())
    async with open_socket(tmp_path, "echo") as (_, client):
        answer = await send(client, thread, "run.start", assistant_id="echo", input={"text": "x"})
        path = f"/threads/{thread}/runs/{answer['result']['run_id']}"
        assert (await client.get(path)).json()["thread_id"] == thread
    assert (answer["type"], answer["id"]) == ("success", 7)
    assert answer["meta"] == {"applied_through_seq": 0}


async def test_the_parameters_of_a_run_are_those_of_any_other(tmp_path: Path) -> None:
    thread = str(uuid4())
    async with open_socket(tmp_path, "looking") as (_, client):
        await run(client, thread, "looking", {}, context={"tone": "dry"}, metadata={"of": "me"})
        [row] = (await client.get(f"/threads/{thread}/runs")).json()
        assert (await values(client, thread))["seen"]["context"] == {"tone": "dry"}
        made = (await client.get(f"/threads/{thread}")).json()
    assert row["metadata"]["of"] == made["metadata"]["of"] == "me"


async def test_a_question_is_answered(tmp_path: Path) -> None:
    thread = str(uuid4())
    async with open_socket(tmp_path, "asking") as (_, client):
        await run(client, thread, "asking", {"text": "really?"})
        [asked] = (await questions(client, thread)).values()
        await send(client, thread, "input.respond", interrupt_id=asked, namespace=[], response="ok")
        assert lives(await to_the_end(client, thread)) == ["running", "completed"]
        assert (await values(client, thread))["log"] == ["ok"]


async def test_the_input_of_a_run_answers_the_question_that_waits(tmp_path: Path) -> None:
    thread = str(uuid4())
    async with open_socket(tmp_path, "asking") as (_, client):
        await run(client, thread, "asking", {"text": "really?"})
        await run(client, thread, "asking", "by the way")
        assert (await values(client, thread))["log"] == ["by the way"]


async def test_several_questions_are_answered_at_once(tmp_path: Path) -> None:
    thread = str(uuid4())
    async with open_socket(tmp_path, manifest=MANIFEST) as (_, client):
        await run(client, thread, "asking_twice", {})
        asked = await questions(client, thread)
        answers = [
            {"interrupt_id": asked["first?"], "namespace": [], "response": 1},
            {"interrupt_id": asked["second?"], "namespace": [], "response": 2},
        ]
        await send(client, thread, "input.respond", responses=answers)
        assert lives(await to_the_end(client, thread)) == ["running", "completed"]
        assert sorted((await values(client, thread))["log"]) == ["first 1", "second 2"]


async def test_of_several_questions_those_not_answered_are_asked_again(tmp_path: Path) -> None:
    thread = str(uuid4())
    async with open_socket(tmp_path, manifest=MANIFEST) as (_, client):
        await run(client, thread, "asking_twice", {})
        asked = await questions(client, thread)
        await send(client, thread, "input.respond", interrupt_id=asked["first?"], response=1)
        again = await questions(client, thread)
        assert again == {"second?": asked["second?"]}
        await send(client, thread, "input.respond", interrupt_id=again["second?"], response=2)
        assert lives(await to_the_end(client, thread)) == ["running", "completed"]
        assert sorted((await values(client, thread))["log"]) == ["first 1", "second 2"]


@asynccontextmanager
async def asked_twice(
    folder: Path, thread: str, text: str, *, log: bool
) -> AsyncGenerator[tuple[httpx.AsyncClient, Mapping[Any, str]]]:
    """Have a thread ask two questions at once, whose answers wait at the gate of ``text``."""
    gates[text].opened.set()
    async with open_socket(folder, "asking_both") as (service, client):
        await run(client, thread, "asking_both", {"text": text})
        asked = await questions(client, thread)
        await quiet(service, thread)
        if not log:
            service.loop.logs.forget(thread)
        gates[text].opened.clear()
        yield client, asked


@pytest.mark.parametrize("log", [True, False])
async def test_two_questions_are_answered_one_right_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, log: bool
) -> None:
    monkeypatch.setattr(commands, "_ASKING", 0.0)
    thread, text = str(uuid4()), str(uuid4())
    async with asked_twice(tmp_path, thread, text, log=log) as (client, asked):
        answers = [
            await send(client, thread, "input.respond", interrupt_id=asked[name], response=number)
            for number, name in enumerate(["first?", "second?", "first?", "second?"], 1)
        ]
        gates[text].opened.set()
        await client.get(f"/threads/{thread}/runs/{answers[1]['result']['run_id']}/join")
        assert sorted((await values(client, thread))["log"]) == [1, 2]
    assert [answer["status"] for answer in answers] == [200, 200, 404, 404]


async def test_a_question_is_not_answered_behind_a_run_that_does_something_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "_ASKING", 0.0)
    thread, text = str(uuid4()), str(uuid4())
    async with asked_twice(tmp_path, thread, text, log=False) as (client, asked):
        await send(client, thread, "input.respond", interrupt_id=asked["first?"], response=1)
        await new_run(client, thread, "asking_both", text)
        refused = await send(
            client, thread, "input.respond", interrupt_id=asked["second?"], response=2
        )
        gates[text].opened.set()
    assert refused["error"] == "no_such_interrupt"


async def test_a_question_is_answered_while_the_run_that_asked_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "_ASKING", 0.0)
    thread, held = str(uuid4()), {"messages": [{"type": "human", "content": str(uuid4())}]}
    async with open_socket(tmp_path, manifest=MANIFEST) as (_, client):
        params = {"assistant_id": "asking_aside", "input": held}
        await send(client, thread, "run.start", **params)
        async with aclosing(events(client, thread, ["input"])) as stream:
            asked = (await anext(stream)).data["params"]["data"]["interrupt_id"]
        answer = await send(client, thread, "input.respond", interrupt_id=asked, response=1)
        again = await send(client, thread, "input.respond", interrupt_id=asked, response=2)
        await client.post("/runs/wait", json={"assistant_id": "opening", "input": held})
        await client.get(f"/threads/{thread}/runs/{answer['result']['run_id']}/join")
        assert (await values(client, thread))["log"] == ["first 1"]
    assert again["error"] == "no_such_interrupt"


async def test_a_question_of_a_subgraph_that_was_answered_meanwhile_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "_ASKING", 0.0)
    thread, held = str(uuid4()), {"messages": [{"type": "human", "content": str(uuid4())}]}
    async with open_socket(tmp_path, manifest=MANIFEST) as (_, client):
        await send(client, thread, "run.start", assistant_id="asking_aside_within", input=held)
        told: list[Any] = []
        again: Answer = {}
        async with aclosing(events(client, thread, ["input", "lifecycle"], since=0)) as stream:
            async for part in stream:
                params = part.data["params"]
                if part.event == "input.requested":
                    told.append((params["namespace"] != [], params["data"]["payload"]))
                    asked = params["data"]["interrupt_id"]
                    await send(client, thread, "input.respond", interrupt_id=asked, response=1)
                    again = await send(
                        client, thread, "input.respond", interrupt_id=asked, response=2
                    )
                    open_gate = {"assistant_id": "opening", "input": held}
                    await client.post("/runs/wait", json=open_gate)
                if params["namespace"] == [] and params["data"].get("event") == "completed":
                    break
        assert (await values(client, thread))["log"] == ["first 1"]
    assert told == [(True, "first?")]
    assert again["error"] == "no_such_interrupt"


async def test_an_answer_that_was_refused_can_be_given_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "_ASKING", 0.0)
    thread, held = str(uuid4()), {"messages": [{"type": "human", "content": str(uuid4())}]}
    params = {"assistant_id": "asking_aside", "input": held}
    bounds = {"max_concurrent_runs": 1, "queue_capacity": 1}
    async with open_socket(tmp_path, manifest=MANIFEST, **bounds) as (_, client):
        await send(client, thread, "run.start", **params)
        async with aclosing(events(client, thread, ["input"])) as stream:
            asked = (await anext(stream)).data["params"]["data"]["interrupt_id"]
        waiting = (
            await client.post("/runs", json={**params, "multitask_strategy": "enqueue"})
        ).json()
        refused = await send(client, thread, "input.respond", interrupt_id=asked, response=1)
        await client.post("/runs/cancel", json={"run_ids": [waiting["run_id"]]})
        again = await send(client, thread, "input.respond", interrupt_id=asked, response=1)
    assert (refused["status"], again["type"]) == (503, "success")


async def test_an_answer_can_bring_an_update(tmp_path: Path) -> None:
    thread = str(uuid4())
    async with open_socket(tmp_path, "asking") as (_, client):
        await run(client, thread, "asking", {"text": "really?"})
        [asked] = (await questions(client, thread)).values()
        more = {"response": "ok", "update": {"seen": "too"}}
        await send(client, thread, "input.respond", interrupt_id=asked, **more)
        await to_the_end(client, thread)
        assert (await values(client, thread))["seen"] == "too"


async def test_a_question_that_nobody_asked_is_not_answered(tmp_path: Path) -> None:
    thread = str(uuid4())
    async with open_socket(tmp_path, "asking") as (_, client):
        await run(client, thread, "asking", {"text": "really?"})
        answer = await send(client, thread, "input.respond", interrupt_id="none", response=1)
    assert (answer["status"], answer["id"]) == (404, 7)
    assert answer["error"] == "no_such_interrupt"


async def test_a_run_can_begin_at_an_earlier_checkpoint(tmp_path: Path) -> None:
    thread = str(uuid4())
    async with open_socket(tmp_path, "echo") as (_, client):
        await run(client, thread, "echo", {"text": "one"})
        listed = await send(client, thread, "state.listCheckpoints", limit=1)
        [first] = listed["result"]["checkpoints"]
        await run(client, thread, "echo", {"text": "two"})
        config = {"configurable": {"checkpoint_id": first["id"]}}
        await run(client, thread, "echo", {"text": "three"}, config=config)
        assert (await values(client, thread))["log"] == ["one", "three"]
        forked = {"checkpoint_id": first["id"], "input": {"text": "four"}}
        answer = await send(client, thread, "state.fork", **forked)
        await to_the_end(client, thread)
        assert answer["result"]["thread_id"] == thread
        assert (await values(client, thread))["log"] == ["one", "four"]


@pytest.mark.parametrize("latest", [None, ""])
async def test_a_run_begins_at_the_latest_checkpoint_where_it_names_none(
    tmp_path: Path, latest: str | None
) -> None:
    thread, config = str(uuid4()), {"configurable": {"checkpoint_id": latest}}
    async with open_socket(tmp_path, "echo") as (_, client):
        await run(client, thread, "echo", {"text": "one"}, config=config)
        await run(client, thread, "echo", {"text": "two"}, config=config)
        body = {"assistant_id": "echo", "input": {"text": "three"}, "config": config}
        output = (await client.post(f"/threads/{thread}/runs/wait", json=body)).json()
    assert output["log"] == ["one", "two", "three"]


async def test_a_checkpoint_that_is_not_there_cannot_be_forked(tmp_path: Path) -> None:
    thread = str(uuid4())
    async with open_socket(tmp_path, "echo") as (_, client):
        await run(client, thread, "echo", {"text": "one"})
        forked = await send(client, thread, "state.fork", checkpoint_id=NOBODY)
        config = {"configurable": {"checkpoint_id": NOBODY}}
        started = await send(client, thread, "run.start", assistant_id="echo", config=config)
    for answer in (forked, started):
        assert (answer["status"], answer["error"]) == (404, "no_such_checkpoint")


async def test_the_state_is_shown_in_part(tmp_path: Path) -> None:
    thread = str(uuid4())
    async with open_socket(tmp_path, "echo") as (_, client):
        await run(client, thread, "echo", {"text": "one"})
        shown = await send(client, thread, "state.get", namespace=[], keys=["log"])
    assert shown["result"]["values"] == {"log": ["one"]}
    assert shown["result"]["checkpoint"]["ns"] == ""


async def test_the_tree_shows_what_became_of_the_subgraphs(tmp_path: Path) -> None:
    thread = str(uuid4())
    async with open_socket(tmp_path, "nesting") as (_, client):
        await run(client, thread, "nesting", {"text": "one"})
        tree = (await send(client, thread, "agent.getTree"))["result"]["tree"]
    [inner] = tree.pop("children")
    assert tree == {"namespace": [], "status": "completed", "graph_name": "nesting"}
    assert (inner["status"], inner["graph_name"]) == ("completed", "inner")


async def test_the_tree_of_a_thread_without_a_log_is_its_root(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo") as client:
        thread = (await client.post("/threads", json={})).json()["thread_id"]
        tree = (await send(client, thread, "agent.getTree"))["result"]["tree"]
    assert tree == {"namespace": [], "status": "completed", "graph_name": ""}


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        ({"x": 1}, "invalid_argument", "method"),
        ({"id": -1, "method": "run.start"}, "invalid_argument", "id"),
        ({"id": 1, "method": ""}, "invalid_argument", "method"),
        ({"id": 1, "method": "run.stop"}, "unknown_command", "run.start"),
        ({"id": 1, "method": "run.start", "params": []}, "invalid_argument", "params"),
        ({"id": 1, "method": "run.start", "params": {}}, "invalid_argument", "assistant_id"),
        (
            {"id": 1, "method": "run.start", "params": {"assistant_id": "echo", "config": 1}},
            "invalid_argument",
            "config",
        ),
        (
            {"id": 1, "method": "run.start", "params": {"assistant_id": "echo", "metadata": []}},
            "invalid_argument",
            "metadata",
        ),
        ({"id": 1, "method": "input.inject", "params": {}}, "not_supported", "run"),
        ({"id": 1, "method": "subscription.subscribe"}, "not_supported", "stream/events"),
        ({"id": 1, "method": "input.respond", "params": {}}, "invalid_argument", "interrupt_id"),
        ({"id": 1, "method": "state.fork", "params": {}}, "invalid_argument", "checkpoint_id"),
    ],
)
async def test_a_command_that_makes_no_sense_is_refused(
    tmp_path: Path, body: Answer, code: str, said: str
) -> None:
    async with open_client(tmp_path, "echo") as client:
        thread = (await client.post("/threads", json={})).json()["thread_id"]
        response = await client.post(f"/threads/{thread}/commands", json=body)
    problem = response.json()
    assert (response.status_code, problem["type"], problem["error"]) == (400, "error", code)
    assert said in problem["message"]


@pytest.mark.parametrize("auth", [None, "owners", "keys"])
@pytest.mark.parametrize("metadata", [5, [], "x", False])
async def test_metadata_that_are_no_object_are_refused_whoever_is_asked(
    tmp_path: Path, auth: str | None, metadata: Any
) -> None:
    manifest = {"auth": {"path": "tests.api.guards:owners"}} if auth == "owners" else {}
    token = "alice"
    if auth == "keys":
        token = KeyFolder(tmp_path / "data").create("alice", "admin")[1]
    async with open_client(tmp_path, "echo", manifest=manifest) as client:
        client.headers["authorization"] = f"Bearer {token}"
        thread = (await client.post("/threads", json={})).json()["thread_id"]
        refused = [
            await send(client, thread, method, assistant_id="echo", metadata=metadata)
            for method in METHODS
        ]
    assert {(one["status"], one["error"]) for one in refused} == {(400, "invalid_argument")}
    assert all("metadata" in one["message"] for one in refused)


@pytest.mark.parametrize("method", ["agent.getTree", "input.respond", "state.get", "state.fork"])
async def test_a_thread_that_is_not_there_has_nothing_to_show(tmp_path: Path, method: str) -> None:
    async with open_client(tmp_path, "echo") as client:
        answer = await send(client, NOBODY, method, interrupt_id="x", checkpoint_id="x")
    assert (answer["status"], answer["error"]) == (404, "no_such_run")


async def test_an_unknown_graph_is_named_with_those_there_are(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo") as client:
        answer = await send(client, NOBODY, "run.start", assistant_id="ehco", input={})
        assert (await client.get(f"/threads/{NOBODY}")).status_code == 404
    assert (answer["status"], answer["id"]) == (400, 7)
    assert "echo" in answer["message"]
