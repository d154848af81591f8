"""The state of threads over HTTP: now, at a checkpoint, over time, changed from outside."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from orchestration.graphs.jsontext import DEPTH_LIMIT
from tests.api import plays
from tests.api.client import NOBODY, PROBLEM, new_run, new_thread, open_client


async def worked(client: httpx.AsyncClient, graph: str, *texts: Any) -> str:
    thread_id = await new_thread(client)
    for text in texts:
        await client.get(await new_run(client, thread_id, graph, text) + "/join")
    return thread_id


async def test_the_state_of_a_thread_is_that_of_its_latest_checkpoint(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo") as client:
        thread_id = await worked(client, "echo", "one", "two")
        state = (await client.get(f"/threads/{thread_id}/state")).json()
        history = (await client.get(f"/threads/{thread_id}/history", params={"limit": 100})).json()
        older = history[3]["checkpoint_id"]
        by_id = (await client.get(f"/threads/{thread_id}/state/{older}")).json()
        at = {"checkpoint": {"checkpoint_id": older}}
        by_body = (await client.post(f"/threads/{thread_id}/state/checkpoint", json=at)).json()
    assert state["values"] == {"text": "two", "log": ["one", "two"]}
    assert [one["values"].get("log") for one in history] == [
        ["one", "two"], ["one"], ["one"], ["one"], [], [],
    ]  # fmt: skip
    assert by_id == by_body == history[3]


async def test_the_state_of_a_run_that_works_is_as_far_as_the_run_is(tmp_path: Path) -> None:
    async def looked_at(client: httpx.AsyncClient, gate: str) -> Any:
        thread_id = await new_thread(client)
        run = await new_run(client, thread_id, "holder", gate)
        await plays.gates[gate].reached.wait()
        state = (await client.get(f"/threads/{thread_id}/state")).json()
        [latest] = (await client.get(f"/threads/{thread_id}/history", params={"limit": 1})).json()
        plays.gates[gate].opened.set()
        await client.get(f"{run}/join")
        return state["next"], state["values"]["log"], latest["values"]["log"]

    names = [f"looked at {number}" for number in range(50)]
    async with open_client(tmp_path, "holder") as client:
        seen = await asyncio.gather(*(looked_at(client, name) for name in names))
    assert seen == [(["hold"], [name], [name]) for name in names]


async def test_the_history_goes_back_from_a_checkpoint_in_whatever_form_it_is_named(
    tmp_path: Path,
) -> None:
    async with open_client(tmp_path, "echo") as client:
        thread_id = await worked(client, "echo", "one")
        path = f"/threads/{thread_id}/history"
        history = (await client.post(path)).json()
        first = history[0]["checkpoint_id"]
        configurable = {"configurable": {"checkpoint_id": first}}
        forms: list[Any] = [first, {"checkpoint_id": first}, configurable]
        pages = [(await client.post(path, json={"before": form})).json() for form in forms]
        plain = (await client.get(path, params={"before": first, "limit": 1})).json()
        steps = (await client.post(path, json={"metadata": {"step": 1}})).json()
        there = (await client.post(path, json={"checkpoint": {"checkpoint_id": first}})).json()
    assert pages == [history[1:]] * 3
    assert plain == history[1:2]
    assert [state["metadata"]["step"] for state in steps] == [1]
    assert there == history[:1]


@pytest.mark.parametrize(
    "body",
    [
        {"before": {"configurable": "x"}},
        {"before": {"configurable": {"checkpoint_id": 5}}},
        {"before": {"checkpoint_id": None}},
        {"before": {"nothing": 1}},
        {"metadata": {"a') OR 1=1 --": 1}},
        {"metadata": {"$where": 1}},
        {"metadata": {"a": {"deep": 1}}},
        {"metadata": {f"key{number}": 1 for number in range(1_000)}},
        {"limit": 0},
    ],
)
async def test_a_history_that_cannot_be_meant_is_refused(
    tmp_path: Path, body: dict[str, Any]
) -> None:
    async with open_client(tmp_path, "echo") as client:
        threads = [await worked(client, "echo", "one"), await new_thread(client)]
        for thread_id in threads:
            response = await client.post(f"/threads/{thread_id}/history", json=body)
            assert (response.status_code, response.headers["content-type"]) == (422, PROBLEM)


async def test_a_thread_without_runs_has_an_empty_state_and_no_history(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo") as client:
        thread_id = await new_thread(client)
        state = (await client.get(f"/threads/{thread_id}/state")).json()
        history = (await client.get(f"/threads/{thread_id}/history")).json()
        refused = await client.post(f"/threads/{thread_id}/state", json={"values": {"log": [1]}})
    assert (state["values"], state["next"], state["checkpoint"]) == ({}, [], None)
    assert history == []
    assert (refused.status_code, "no graph yet" in refused.json()["detail"]) == (409, True)


async def test_an_update_writes_a_checkpoint_that_the_thread_shows(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo") as client:
        thread_id = await new_thread(client, metadata={"graph_id": "echo"})
        path = f"/threads/{thread_id}/state"
        first = (await client.post(path, json={"values": {"log": ["by hand"]}})).json()
        body = {"values": {"log": ["again"]}, "as_node": "echo"}
        await client.post(path, json=body)
        fork = {"values": {"log": ["fork"]}, "checkpoint_id": first["checkpoint_id"]}
        await client.post(path, json=fork)
        thread = (await client.get(f"/threads/{thread_id}")).json()
        state = (await client.get(path)).json()
    assert thread["values"] == state["values"] == {"log": ["by hand", "fork"]}
    assert first["configurable"] == first["checkpoint"]
    assert first["configurable"]["checkpoint_id"] == first["checkpoint_id"]


@pytest.mark.parametrize(
    ("body", "status", "detail"),
    [
        ({"values": "x"}, 409, "InvalidUpdateError: Expected dict, got x"),
        ({"values": {"log": 5}}, 409, "TypeError: can only concatenate list"),
        ({"values": {}, "as_node": "nothing"}, 409, "Node nothing does not exist"),
        ({"values": {}, "checkpoint_id": "made up"}, 404, "Checkpoint made up not found"),
        ({"values": {}, "checkpoint": {"checkpoint_ns": "no:1"}}, 409, "Subgraph no not found"),
        ({"values": {}, "checkpoint": {"checkpoint_id": "x" * 300}}, 404, "not found"),
    ],
)
async def test_an_update_that_the_graph_refuses_is_the_caller_s_mistake_and_changes_nothing(
    tmp_path: Path, body: dict[str, Any], status: int, detail: str
) -> None:
    async with open_client(tmp_path, "echo") as client:
        thread_id = await worked(client, "echo", "one")
        refused = await client.post(f"/threads/{thread_id}/state", json=body)
        state = (await client.get(f"/threads/{thread_id}/state")).json()
    assert (refused.status_code, refused.headers["content-type"]) == (status, PROBLEM)
    assert detail in refused.json()["detail"]
    assert state["values"] == {"text": "one", "log": ["one"]}


async def test_a_busy_thread_cannot_be_changed_from_outside(tmp_path: Path) -> None:
    async with open_client(tmp_path, "holder") as client:
        thread_id = await new_thread(client)
        run = await new_run(client, thread_id, "holder", "busy")
        await plays.gates["busy"].reached.wait()
        refused = await client.post(f"/threads/{thread_id}/state", json={"values": {"log": [1]}})
        plays.gates["busy"].opened.set()
        await client.get(f"{run}/join")
    assert refused.status_code == 409


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("mode", ["values", "updates"])
@pytest.mark.parametrize("graph", ["stopping_within", "stopping_unseen", "stopping_in_a_thread"])
async def test_a_thread_that_waits_at_a_breakpoint_in_a_subgraph_is_interrupted(
    tmp_path: Path, graph: str, mode: str, workers: int
) -> None:
    async with open_client(tmp_path, graph, workers=workers) as client:
        thread_id = await new_thread(client)
        run = {"assistant_id": graph, "stream_mode": mode}
        await client.post(f"/threads/{thread_id}/runs/wait", json={**run, "input": {"text": "x"}})
        thread = (await client.get(f"/threads/{thread_id}")).json()
        state = (await client.get(f"/threads/{thread_id}/state")).json()
        passed = await client.post(f"/threads/{thread_id}/runs/wait", json={**run, "input": None})
        after = (await client.get(f"/threads/{thread_id}")).json()
    assert (thread["status"], state["next"]) == ("interrupted", ["inner"])
    assert (passed.json()["log"], after["status"]) == (["x"], "idle")


async def test_a_question_waits_in_the_state_until_it_is_answered(tmp_path: Path) -> None:
    async with open_client(tmp_path, "asking") as client:
        thread_id = await new_thread(client)
        asked = (
            await client.get(await new_run(client, thread_id, "asking", "why?") + "/join")
        ).json()
        thread = (await client.get(f"/threads/{thread_id}")).json()
        state = (await client.get(f"/threads/{thread_id}/state")).json()
        answered = await client.post(
            f"/threads/{thread_id}/runs/wait",
            json={"assistant_id": "asking", "command": {"resume": "because"}},
        )
        after = (await client.get(f"/threads/{thread_id}")).json()
    question = {"question": "why?"}
    assert asked["__interrupt__"][0]["value"] == question
    assert thread["status"] == "interrupted"
    assert [one[0]["value"] for one in thread["interrupts"].values()] == [question]
    assert (state["next"], state["interrupts"][0]["value"]) == (["ask"], question)
    assert answered.json()["log"] == ["because"]
    assert (after["status"], after["interrupts"]) == ("idle", {})


async def test_a_run_without_a_thread_cannot_be_resumed(tmp_path: Path) -> None:
    async with open_client(tmp_path, "asking") as client:
        response = await client.post(
            "/runs/wait", json={"assistant_id": "asking", "command": {"resume": 1}}
        )
    assert response.status_code == 400


async def test_null_is_a_value_like_any_other(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo") as client:
        given = {"a": None, "b": [None, {"c": None}]}
        output = await client.post(
            "/runs/wait", json={"assistant_id": "echo", "input": {"text": given}}
        )
    assert output.json() == {"text": given, "log": [given]}


async def test_all_that_a_run_may_end_with_is_shown_however_deep_it_is(tmp_path: Path) -> None:
    async with open_client(tmp_path, "delving") as client:
        thread_id = await worked(client, "delving", DEPTH_LIMIT - 2)
        path, asked = f"/threads/{thread_id}", {"id": 1, "method": "state.get", "params": {}}
        values = (await client.get(path)).json()["values"]
        state = (await client.get(f"{path}/state")).json()
        history = (await client.get(f"{path}/history")).json()
        by_command = (await client.post(f"{path}/commands", json=asked)).json()
    assert state["values"] == history[0]["values"] == by_command["result"]["values"] == values
    assert history[2]["tasks"][0]["result"]["seen"] == values["seen"]


async def test_a_state_that_is_too_deep_to_be_shown_is_refused_with_the_reason(
    tmp_path: Path,
) -> None:
    async with open_client(tmp_path, "delving") as client:
        thread_id = await worked(client, "delving", DEPTH_LIMIT - 1)
        path, asked = f"/threads/{thread_id}", {"id": 1, "method": "state.get", "params": {}}
        answers = [await client.get(f"{path}/{what}") for what in ("state", "history")]
        answers.append(await client.post(f"{path}/commands", json=asked))
        some = await client.get(f"{path}/state", params={"select": ["values.text"]})
    assert [one.status_code for one in answers] == [422, 422, 400]
    assert all("deeper than 254 levels" in one.text for one in answers)
    assert some.json() == {"values": {"text": DEPTH_LIMIT - 1}}


async def test_the_state_of_a_subgraph_is_shown_when_asked_for(tmp_path: Path) -> None:
    async with open_client(tmp_path, "nesting") as client:
        thread_id = await worked(client, "nesting", "deep")
        state = await client.get(f"/threads/{thread_id}/state", params={"subgraphs": "true"})
        nowhere = {"checkpoint": {"checkpoint_ns": "nothing|of:1"}, "subgraphs": True}
        empty = await client.post(f"/threads/{thread_id}/state/checkpoint", json=nowhere)
        unknown = await client.get(f"/threads/{thread_id}/state/{NOBODY}")
    assert state.json()["values"]["log"] == ["deep"]
    assert empty.json()["values"] == unknown.json()["values"] == {}


async def test_only_what_is_selected_of_a_state_is_sent(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo") as client:
        thread_id = await worked(client, "echo", "one")
        empty = await new_thread(client)
        path, select = f"/threads/{thread_id}", ["next", "values.log", "values.none"]
        asked = {"select": select}
        repeated = (await client.get(f"{path}/state", params=asked)).json()
        as_json = (await client.get(f"{path}/state", params={"select": json.dumps(select)})).json()
        whole = (
            await client.get(f"{path}/state", params={"select": ["values", "values.log"]})
        ).json()
        everything = (await client.get(f"{path}/state")).json()
        checkpoint = everything["checkpoint"]
        by_id = await client.get(f"{path}/state/{checkpoint['checkpoint_id']}", params=asked)
        by_body = await client.post(
            f"{path}/state/checkpoint", json={"checkpoint": checkpoint, **asked}
        )
        pages = [
            (await client.get(f"{path}/history", params=asked)).json(),
            (await client.post(f"{path}/history", json=asked)).json(),
        ]
        nothing = (await client.get(f"/threads/{empty}/state", params=asked)).json()
        refused = await client.get(f"{path}/state", params={"select": ["value"]})
    wanted = {"next": [], "values": {"log": ["one"]}}
    assert [repeated, as_json, by_id.json(), by_body.json()] == [wanted] * 4
    assert whole == {"values": everything["values"]}
    assert [page[0] for page in pages] == [wanted] * 2
    assert nothing == {"next": [], "values": {}}
    assert (refused.status_code, refused.headers["content-type"]) == (422, PROBLEM)


async def test_patching_the_state_merges_metadata(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo") as client:
        thread_id = await new_thread(client, metadata={"a": 1})
        body = {"metadata": {"b": 2}}
        patched = await client.patch(f"/threads/{thread_id}/state", json=body)
        unknown = await client.patch(f"/threads/{NOBODY}/state", json=body)
    assert patched.json()["metadata"] == {"a": 1, "b": 2}
    assert unknown.status_code == 404


@pytest.mark.parametrize("path", ["/threads/{}/state", "/threads/{}/state/bulk", "/threads"])
async def test_a_state_is_not_changed_whose_graph_cannot_be_made(tmp_path: Path, path: str) -> None:
    async with open_client(tmp_path, "broken") as client:
        thread_id = await new_thread(client, metadata={"graph_id": "broken"})
        steps: Any = [{"updates": [{"values": {}, "as_node": "echo"}]}]
        body: Any = {"supersteps": steps}
        if path == "/threads":
            body["metadata"] = {"graph_id": "broken"}
        elif path.endswith("/state"):
            body = steps[0]["updates"][0]
        refused = await client.post(path.format(thread_id), json=body)
    assert (refused.status_code, refused.headers["content-type"]) == (424, PROBLEM)
    assert "graph 'broken' could not be made" in refused.json()["detail"]


@pytest.mark.parametrize(
    "asked",
    [
        {"checkpoint_id": NOBODY},
        {"checkpoint": {"checkpoint_id": NOBODY}},
        {"checkpoint": {"checkpoint_id": NOBODY, "checkpoint_ns": "inner"}},
        {"config": {"configurable": {"checkpoint_id": NOBODY}}},
    ],
)
@pytest.mark.parametrize("where", ["/threads/{}/runs", "/threads/{}/runs/stream"])
async def test_a_run_that_is_to_begin_at_no_checkpoint_is_refused(
    tmp_path: Path, asked: dict[str, Any], where: str
) -> None:
    async with open_client(tmp_path, "echo") as client:
        thread_id = await worked(client, "echo", "one")
        body = {"assistant_id": "echo", "input": {"text": "x"}, **asked}
        refused = await client.post(where.format(thread_id), json=body)
        runs = (await client.get(f"/threads/{thread_id}/runs")).json()
    assert (refused.status_code, refused.headers["content-type"]) == (404, PROBLEM)
    assert refused.json()["detail"] == f"Checkpoint {NOBODY} not found"
    assert len(runs) == 1


async def test_a_run_without_a_thread_has_no_checkpoint_to_begin_at(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo") as client:
        body = {"assistant_id": "echo", "checkpoint_id": NOBODY}
        refused = await client.post("/runs/wait", json=body)
    assert (refused.status_code, refused.headers["content-type"]) == (404, PROBLEM)


async def test_a_run_begins_at_the_checkpoint_that_it_names(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo") as client:
        thread_id = await worked(client, "echo", "one", "two")
        history = (await client.get(f"/threads/{thread_id}/history")).json()
        first = next(one for one in history if one["values"].get("log") == ["one"])
        body = {
            "assistant_id": "echo", "input": {"text": "else"}, "checkpoint": first["checkpoint"],
        }  # fmt: skip
        forked = await client.post(f"/threads/{thread_id}/runs/wait", json=body)
    assert forked.json()["log"] == ["one", "else"]
