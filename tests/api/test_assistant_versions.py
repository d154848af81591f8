"""Versions of assistants over HTTP."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.client import NOBODY, PROBLEM, new_run, new_thread, open_client


async def _assistant_of_three_versions(client: httpx.AsyncClient) -> str:
    first = {
        "graph_id": "echo",
        "name": "one",
        "description": "the first",
        "context": {"tone": "dry"},
        "metadata": {"a": 1},
    }
    assistant_id: str = (await client.post("/assistants", json=first)).json()["assistant_id"]
    path = f"/assistants/{assistant_id}"
    second = {"graph_id": "looking", "name": "two", "config": {"configurable": {"tone": "wet"}}}
    await client.patch(path, json={**second, "metadata": {"b": 2}})
    await client.patch(path, json={"description": "the third", "context": {}})
    return path


async def test_a_version_put_back_is_whole_and_later_ones_are_numbered_after_the_highest(
    tmp_path: Path,
) -> None:
    async with open_client(tmp_path, "echo", "looking") as client:
        path = await _assistant_of_three_versions(client)
        third = (await client.get(path)).json()
        back = (await client.post(f"{path}/latest", json={"version": 1})).json()
        read = (await client.get(path)).json()
        fourth = (await client.patch(path, json={"name": "four"})).json()
        versions = (await client.post(f"{path}/versions")).json()
    assert (third["version"], third["description"], third["context"]) == (3, "the third", {})
    wanted = {
        "graph_id": "echo",
        "name": "one",
        "description": "the first",
        "config": {"configurable": {"tone": "dry"}},
        "context": {"tone": "dry"},
        "metadata": {"a": 1},
        "version": 1,
    }
    assert {key: back[key] for key in wanted} == wanted
    assert read == back
    assert (fourth["version"], fourth["graph_id"], fourth["metadata"]) == (4, "echo", {"a": 1})
    assert [version["version"] for version in versions] == [4, 3, 2, 1]
    assert {key: versions[3][key] for key in wanted} == wanted
    assert versions[2]["metadata"] == {"a": 1, "b": 2}


async def test_versions_are_paged_and_found_by_their_metadata(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo", "looking") as client:
        path = await _assistant_of_three_versions(client)

        async def numbers(**body: Any) -> list[int]:
            found = await client.post(f"{path}/versions", json=body)
            return [version["version"] for version in found.json()]

        assert await numbers(limit=1, offset=1) == [2]
        assert await numbers(metadata={"b": 2}) == [3, 2]
        assert await numbers(metadata={"b": 3}) == []


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        (f"/assistants/{NOBODY}/versions", {}, 404),
        (f"/assistants/{NOBODY}/latest", {"version": 1}, 404),
        ("/assistants/echo/latest", {"version": 2}, 404),
        ("/assistants/echo/latest", {"version": 0}, 422),
        ("/assistants/echo/latest", {"version": "1; drop"}, 422),
        ("/assistants/echo/latest", {}, 422),
        ("/assistants/echo/versions", {"limit": 0}, 422),
    ],
)
async def test_a_version_that_is_not_there_is_refused(
    tmp_path: Path, path: str, body: Any, status: int
) -> None:
    async with open_client(tmp_path, "echo") as client:
        response = await client.post(path, json=body)
    assert (response.status_code, response.headers["content-type"]) == (status, PROBLEM)


async def test_patches_at_once_lose_none_of_their_metadata(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo") as client:
        patches = [
            client.patch("/assistants/echo", json={"metadata": {str(number): number}})
            for number in range(20)
        ]
        await asyncio.gather(*patches)
        assistant = (await client.get("/assistants/echo")).json()
    assert assistant["metadata"].keys() == {"created_by", *map(str, range(20))}
    assert assistant["version"] == 21


async def test_a_config_and_a_context_that_are_patched_at_once_are_both_kept(
    tmp_path: Path,
) -> None:
    async with open_client(tmp_path, "echo") as client:
        patches = [{"config": {"tags": ["x"]}}, {"context": {"tone": "wet"}}]
        await asyncio.gather(*(client.patch("/assistants/echo", json=each) for each in patches))
        assistant = (await client.get("/assistants/echo")).json()
    assert assistant["config"] == {"tags": ["x"], "configurable": {"tone": "wet"}}
    assert assistant["context"] == {"tone": "wet"}


async def test_a_context_replaces_what_was_configurable_and_leaves_the_rest_of_the_config(
    tmp_path: Path,
) -> None:
    config = {"configurable": {"tone": "dry"}, "tags": ["x"]}
    async with open_client(tmp_path, "echo") as client:
        made = await client.post("/assistants", json={"graph_id": "echo", "config": config})
        path = f"/assistants/{made.json()['assistant_id']}"
        patched = (await client.patch(path, json={"context": {"tone": "wet"}})).json()
        emptied = (await client.patch(path, json={"context": {}})).json()
    assert patched["config"] == {"configurable": {"tone": "wet"}, "tags": ["x"]}
    assert patched["context"] == {"tone": "wet"}
    assert (emptied["config"], emptied["context"]) == ({"tags": ["x"]}, {})


async def test_a_config_that_says_nothing_of_the_context_leaves_it(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo") as client:
        given = {"graph_id": "echo", "context": {"tone": "dry"}}
        made = await client.post("/assistants", json=given)
        path = f"/assistants/{made.json()['assistant_id']}"
        patched = (await client.patch(path, json={"config": {"recursion_limit": 7}})).json()
        emptied = (await client.patch(path, json={"config": {"configurable": {}}})).json()
    assert patched["context"] == {"tone": "dry"}
    assert patched["config"] == {"recursion_limit": 7, "configurable": {"tone": "dry"}}
    assert (emptied["config"], emptied["context"]) == ({"configurable": {}}, {})


@pytest.mark.parametrize("gone", [True, False])
async def test_an_assistant_takes_the_threads_it_ran_last_along_when_asked(
    tmp_path: Path, gone: bool
) -> None:
    async with open_client(tmp_path, "echo", "holder") as client:
        made = (await client.post("/assistants", json={"graph_id": "echo"})).json()
        mine, other = [await new_thread(client) for _ in range(2)]
        run = await new_run(client, mine, made["assistant_id"], "x")
        await client.get(f"{run}/join")
        await client.get(f"{await new_run(client, other, 'echo', 'x')}/join")
        await client.delete(f"/assistants/{made['assistant_id']}", params={"delete_threads": gone})
        statuses = [(await client.get(path)).status_code for path in (f"/threads/{mine}", run)]
        left = (await client.get(f"/threads/{other}")).status_code
    assert statuses == ([404, 404] if gone else [200, 200])
    assert left == 200


async def test_a_page_names_the_offset_of_the_next_while_there_is_more(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo", "looking", "holder") as client:
        search = {"limit": 2, "sort_by": "name", "sort_order": "asc", "select": ["name"]}
        first = await client.post("/assistants/search", json=search)
        second = await client.post("/assistants/search", json={**search, "offset": 2})
    assert first.headers["x-pagination-next"] == "2"
    assert "x-pagination-next" not in second.headers
    assert [one["name"] for one in first.json() + second.json()] == ["echo", "holder", "looking"]


async def test_the_sdk_reads_pages_and_versions(tmp_path: Path) -> None:
    from langgraph_sdk.client import LangGraphClient

    async with open_client(tmp_path, "echo", "looking") as http:
        client = LangGraphClient(http)
        page = await client.assistants.search(limit=1, response_format="object")
        await client.assistants.update(page["assistants"][0]["assistant_id"], name="new")
        versions = await client.assistants.get_versions(page["assistants"][0]["assistant_id"])
    assert page["next"] == "1"
    assert [version["version"] for version in versions] == [2, 1]


async def test_a_function_that_cannot_make_its_graph_is_named_with_its_error(
    tmp_path: Path,
) -> None:
    async with open_client(tmp_path, "broken") as client:
        made = await client.post(
            "/assistants", json={"graph_id": "broken", "context": {"key": "there"}}
        )
        good = f"/assistants/{made.json()['assistant_id']}"
        drawn = await client.get(f"{good}/graph")
        refused = [
            await client.get(f"/assistants/broken/{what}")
            for what in ("graph", "schemas", "subgraphs", "subgraphs/inner")
        ]
        run = await client.post("/runs/wait", json={"assistant_id": "broken", "input": {}})
    assert drawn.status_code == 200
    assert {(one.status_code, one.headers["content-type"]) for one in refused} == {(424, PROBLEM)}
    assert refused[0].json()["detail"] == (
        "graph 'broken' could not be made: "
        "its function raised LookupError: config.configurable.key is missing"
    )
    assert run.json()["__error__"]["error"] == "LookupError"
