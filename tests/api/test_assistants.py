"""Assistants over HTTP: those that graphs have by themselves, and those that people make."""

from pathlib import Path
from typing import Any

import pytest

from tests.api.client import NOBODY, PROBLEM, client_of, new_thread, open_client, open_play


async def test_every_graph_has_an_assistant_of_its_name(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo", "looking") as client:
        by_name = (await client.get("/assistants/echo")).json()
        by_id = (await client.get(f"/assistants/{by_name['assistant_id']}")).json()
        found = (await client.post("/assistants/search")).json()
    assert by_name == by_id
    assert (by_name["graph_id"], by_name["metadata"]) == ("echo", {"created_by": "system"})
    assert {one["graph_id"] for one in found} == {"echo", "looking"}


async def test_the_assistant_of_a_graph_cannot_be_deleted_whatever_its_metadata_say(
    tmp_path: Path,
) -> None:
    async with open_client(tmp_path, "echo") as client:
        await client.patch("/assistants/echo", json={"metadata": {"created_by": "me"}})
        refused = await client.delete("/assistants/echo")
        made = await client.post(
            "/assistants", json={"graph_id": "echo", "metadata": {"created_by": "system"}}
        )
        deleted = await client.delete(f"/assistants/{made.json()['assistant_id']}")
        gone = await client.get(f"/assistants/{made.json()['assistant_id']}")
    assert (refused.status_code, deleted.status_code, gone.status_code) == (409, 204, 404)


@pytest.mark.parametrize(
    ("given", "config", "context"),
    [
        ({}, {}, {}),
        ({"context": {"a": 1}}, {"configurable": {"a": 1}}, {"a": 1}),
        ({"config": {"configurable": {"a": 1}}}, {"configurable": {"a": 1}}, {"a": 1}),
        ({"config": {"tags": ["x"]}}, {"tags": ["x"]}, {}),
    ],
)
async def test_context_and_configurable_mirror_each_other(
    tmp_path: Path, given: dict[str, Any], config: dict[str, Any], context: dict[str, Any]
) -> None:
    async with open_client(tmp_path, "echo") as client:
        made = (await client.post("/assistants", json={"graph_id": "echo", **given})).json()
    assert (made["config"], made["context"]) == (config, context)


async def test_giving_both_context_and_configurable_is_refused(tmp_path: Path) -> None:
    both = {"config": {"configurable": {"a": 1}}, "context": {"b": 2}}
    async with open_client(tmp_path, "echo") as client:
        made = await client.post("/assistants", json={"graph_id": "echo", **both})
        patched = await client.patch("/assistants/echo", json=both)
        run = await client.post("/runs/wait", json={"assistant_id": "echo", **both})
    assert [response.status_code for response in (made, patched, run)] == [400, 400, 400]


async def test_a_patch_changes_what_it_names_and_counts_a_version(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo", "looking") as client:
        made = await client.post(
            "/assistants", json={"graph_id": "echo", "name": "first", "metadata": {"a": 1}}
        )
        patched = await client.patch(
            f"/assistants/{made.json()['assistant_id']}",
            json={"graph_id": "looking", "name": "second", "metadata": {"b": 2}},
        )
        unknown = await client.patch("/assistants/echo", json={"graph_id": "nothing"})
    wanted = {"graph_id": "looking", "name": "second", "metadata": {"a": 1, "b": 2}, "version": 2}
    assert {key: patched.json()[key] for key in wanted} == wanted
    assert unknown.status_code == 404


async def test_an_assistant_that_exists_is_refused_unless_the_caller_does_not_mind(
    tmp_path: Path,
) -> None:
    given = {"graph_id": "echo", "assistant_id": NOBODY}
    async with open_client(tmp_path, "echo") as client:
        first = (await client.post("/assistants", json=given)).json()
        again = await client.post("/assistants", json={**given, "name": "other"})
        found = await client.post("/assistants", json={**given, "if_exists": "do_nothing"})
    assert (again.status_code, again.headers["content-type"]) == (409, PROBLEM)
    assert found.json() == first


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", f"/assistants/{NOBODY}", None, 404),
        ("PATCH", f"/assistants/{NOBODY}", {"name": "x"}, 404),
        ("DELETE", f"/assistants/{NOBODY}", None, 404),
        ("GET", "/assistants/nothing", None, 422),
        ("GET", "/assistants/os:system", None, 422),
        ("GET", "/assistants/echo%0a", None, 422),
        ("GET", "/assistants/..%2f..%2fetc%2fpasswd", None, 400),
        ("POST", "/assistants", {"graph_id": "nothing"}, 404),
        ("POST", "/assistants", {"graph_id": "os:system"}, 404),
        ("POST", "/runs/wait", {"assistant_id": "../../etc/passwd"}, 422),
        ("POST", "/runs/wait", {"assistant_id": NOBODY}, 404),
        ("POST", "/assistants/search", {"sort_by": "name; DROP TABLE runs"}, 422),
    ],
)
async def test_an_assistant_or_graph_that_is_not_there_is_refused(
    tmp_path: Path, method: str, path: str, body: Any, status: int
) -> None:
    async with open_client(tmp_path, "echo") as client:
        response = await client.request(method, path, json=body)
    assert (response.status_code, response.headers["content-type"]) == (status, PROBLEM)


async def test_assistants_are_found_counted_sorted_and_paged(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo", "looking") as client:
        for name, mark in (("Beta", 1), ("alpha", 2), ("Gamma", 1)):
            body = {"graph_id": "echo", "name": name, "metadata": {"mark": mark}}
            await client.post("/assistants", json=body)

        async def names(**body: Any) -> list[str]:
            search = {"sort_by": "name", "sort_order": "asc", "select": ["name"], **body}
            return [
                one["name"] for one in (await client.post("/assistants/search", json=search)).json()
            ]

        assert await names(metadata={"mark": 1}) == ["Beta", "Gamma"]
        assert await names(name="ET") == ["Beta"]
        assert await names(graph_id="looking") == ["looking"]
        assert await names(limit=2, offset=1) == ["Gamma", "alpha"]
        counted = await client.post("/assistants/count", json={"metadata": {"mark": 1}})
        assert counted.json() == 2


async def test_graphs_are_drawn_and_described(tmp_path: Path) -> None:
    async with open_client(tmp_path, "nesting", "looking") as client:
        drawing = (await client.get("/assistants/nesting/graph")).json()
        opened = (await client.get("/assistants/nesting/graph", params={"xray": "true"})).json()
        schemas = (await client.get("/assistants/looking/schemas")).json()
        subgraphs = (await client.get("/assistants/nesting/subgraphs")).json()
        one = (await client.get("/assistants/nesting/subgraphs/inner")).json()
    assert {node["id"] for node in drawing["nodes"]} == {"__start__", "inner", "__end__"}
    assert len(opened["nodes"]) > 0
    assert "tone" in schemas["context_schema"]["properties"]
    assert schemas["graph_id"] == "looking"
    assert list(subgraphs) == list(one) == ["inner"]


async def test_an_assistant_whose_graph_is_not_served_any_more_cannot_run(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo", "looking") as client:
        made = (await client.post("/assistants", json={"graph_id": "looking"})).json()
    async with open_play(tmp_path, "echo") as service, client_of(service.app) as client:
        path = f"/assistants/{made['assistant_id']}"
        read = await client.get(path)
        drawn = await client.get(f"{path}/graph")
        run = await client.post("/runs", json={"assistant_id": made["assistant_id"]})
    assert (read.status_code, drawn.status_code, run.status_code) == (200, 404, 404)
    assert run.json()["detail"] == "Graph 'looking' not found; the graphs are echo"


async def test_a_run_is_configured_by_its_assistant_and_then_by_itself(tmp_path: Path) -> None:
    async with open_client(tmp_path, "looking") as client:
        config = {"configurable": {"tone": "dry", "size": 1}, "tags": ["a"], "metadata": {"m": 1}}
        body = {"graph_id": "looking", "config": config}
        assistant = (await client.post("/assistants", json=body)).json()["assistant_id"]
        asked = {"configurable": {"size": 2}, "tags": ["b"], "metadata": {"n": 2}}
        thread = (await client.post("/threads")).json()["thread_id"]
        run = await client.post(
            f"/threads/{thread}/runs",
            json={"assistant_id": assistant, "config": asked, "input": {"text": "x"}},
        )
        output = (await client.get(run.headers["content-location"] + "/join")).json()
        nothing = {"configurable": None, "tags": None, "metadata": None}
        plain = await client.post(
            "/runs/wait",
            json={
                "assistant_id": assistant,
                "config": nothing,
                "context": None,
                "input": {"text": "x"},
            },
        )
    assert run.json()["kwargs"]["config"] == {
        "configurable": {"tone": "dry", "size": 2},
        "tags": ["a", "b"],
        "metadata": {"m": 1, "n": 2},
    }
    assert run.json()["metadata"].items() >= {"m": 1, "n": 2}.items()
    assert output["seen"]["configurable"].items() >= {"tone": "dry", "size": 2}.items()
    assert output["seen"]["context"].items() >= {"tone": "dry", "size": 2}.items()
    assert plain.json()["seen"]["context"].items() >= {"tone": "dry", "size": 1}.items()


@pytest.mark.parametrize("workers", [0, 1])
async def test_a_graph_is_told_the_metadata_of_its_assistant_and_its_thread(
    tmp_path: Path, workers: int
) -> None:
    metadata = {"of": "assistant", "team": "a", "user": "nobody", "graph_id": "other"}
    metadata |= {"prompts": "which hosts of MCP are shown, and every checkpoint would have"}
    async with open_client(tmp_path, "echo", workers=workers) as client:
        made = await client.post("/assistants", json={"graph_id": "echo", "metadata": metadata})
        asked = {
            "assistant_id": made.json()["assistant_id"],
            "input": {"text": "x"},
            "config": {"metadata": {"of": "config", "app": 1}},
            "metadata": {"of": "run"},
            "stream_mode": "tasks",
        }
        thread_id = await new_thread(client, metadata={"of": "thread", "user": "b"})
        tasks = await client.post(f"/threads/{thread_id}/runs/stream", json=asked)
        state = (await client.get(f"/threads/{thread_id}/state")).json()
        [run] = (await client.get(f"/threads/{thread_id}/runs")).json()
    told = {"of": "run", "app": 1, "user": "b", "team": "a", "graph_id": "echo"}
    assert {name: state["metadata"][name] for name in told} == told
    assert '"team":"a"' in tasks.text
    assert "hosts of MCP" not in tasks.text
    assert "prompts" not in state["metadata"]
    assert "created_by" not in state["metadata"]  # which those of a graph by itself say
    assert run["metadata"].keys() == {"of", "app", "graph_id", "assistant_id"}


@pytest.mark.parametrize(
    "made",
    [
        {"context": {"tone": "dry", "size": 1}},
        {"config": {"configurable": {"tone": "dry", "size": 1}}},
    ],
)
async def test_a_nodes_configurable_has_what_the_context_of_its_run_says(
    tmp_path: Path, made: dict[str, Any]
) -> None:
    async with open_client(tmp_path, "looking") as client:
        created = await client.post("/assistants", json={"graph_id": "looking", **made})
        output = await client.post(
            "/runs/wait",
            json={
                "assistant_id": created.json()["assistant_id"],
                "context": {"size": 2},
                "input": {"text": "x"},
            },
        )
    expected = {"tone": "dry", "size": 2}.items()
    seen = output.json()["seen"]
    assert seen["context"].items() >= expected
    assert seen["configurable"].items() >= expected


@pytest.mark.parametrize(
    "nothing",
    [
        {"configurable": {}, "tags": [], "metadata": {}},
        {"configurable": None, "tags": None, "metadata": None, "recursion_limit": None},
        {},
        None,
    ],
)
async def test_a_run_that_configures_nothing_changes_nothing(tmp_path: Path, nothing: Any) -> None:
    config = {
        "configurable": {"tone": "dry"}, "tags": ["a"], "metadata": {"m": 1}, "recursion_limit": 9,
    }  # fmt: skip
    async with open_client(tmp_path, "looking") as client:
        body = {"graph_id": "looking", "config": config}
        assistant = (await client.post("/assistants", json=body)).json()["assistant_id"]
        run = await client.post("/runs", json={"assistant_id": assistant, "config": nothing})
    assert run.json()["kwargs"]["config"] == config
    assert run.json()["metadata"]["m"] == 1
