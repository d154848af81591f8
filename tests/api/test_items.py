"""The store that graphs share, over HTTP."""

from pathlib import Path
from typing import Any

import pytest

from tests.api.client import PROBLEM, open_client

ITEMS = "/store/items"


async def test_an_item_is_kept_read_found_and_forgotten(tmp_path: Path) -> None:
    item = {"namespace": ["users", "ada"], "key": "k", "value": {"a": 1, "b": None}}
    async with open_client(tmp_path, "echo") as client:
        assert (await client.put(ITEMS, json=item)).status_code == 204
        read = await client.get(ITEMS, params={"namespace": "users.ada", "key": "k"})
        found = await client.post(f"{ITEMS}/search", json={"namespace_prefix": ["users"]})
        names = await client.post("/store/namespaces", json={"prefix": ["users"], "max_depth": 2})
        gone = await client.request(
            "DELETE", ITEMS, json={"namespace": ["users", "ada"], "key": "k"}
        )
        missing = await client.get(ITEMS, params={"namespace": "users.ada", "key": "k"})
    assert {key: read.json()[key] for key in item} == item
    assert [{key: one[key] for key in item} for one in found.json()["items"]] == [item]
    assert names.json() == {"namespaces": [["users", "ada"]]}
    assert (gone.status_code, missing.status_code) == (204, 404)


async def test_items_are_filtered_and_paged(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo") as client:
        for number in range(4):
            item = {"namespace": ["n"], "key": str(number), "value": {"odd": number % 2}}
            await client.put(ITEMS, json=item)

        async def keys(**body: Any) -> set[str]:
            found = await client.post(f"{ITEMS}/search", json=body)
            return {item["key"] for item in found.json()["items"]}

        assert await keys(filter={"odd": 1}) == {"1", "3"}
        assert await keys(filter={"odd": {"$gt": 0}}) == {"1", "3"}
        assert len(await keys(limit=1, offset=1)) == 1
        assert await keys(namespace_prefix=["%"]) == set()


async def test_a_namespace_holds_its_own_items_and_not_those_of_longer_names(
    tmp_path: Path,
) -> None:
    async with open_client(tmp_path, "echo") as client:
        for name in ("users", "users2", "Users"):
            await client.put(ITEMS, json={"namespace": [name], "key": "k", "value": {}})
        found = await client.post(f"{ITEMS}/search", json={"namespace_prefix": ["users"]})
    assert [item["namespace"] for item in found.json()["items"]] == [["users"]]


async def test_graphs_and_clients_share_the_store(tmp_path: Path) -> None:
    async with open_client(tmp_path, "noting") as client:
        await client.post("/runs/wait", json={"assistant_id": "noting", "input": {"text": "hi"}})
        read = await client.get(ITEMS, params={"namespace": "notes", "key": "latest"})
    assert read.json()["value"] == {"text": "hi"}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", ITEMS, {"namespace": ["langgraph"], "key": "k", "value": {}}),
        ("PUT", ITEMS, {"namespace": [], "key": "k", "value": {}}),
        ("PUT", ITEMS, {"namespace": [".."], "key": "k", "value": {}}),
        ("PUT", ITEMS, {"namespace": ["a\0"], "key": "k", "value": {}}),
        ("PUT", ITEMS, {"namespace": ["a"], "key": "", "value": {}}),
        ("PUT", ITEMS, {"namespace": ["a"], "key": "k", "value": [1]}),
        ("PUT", ITEMS, {"namespace": ["a"] * 17, "key": "k", "value": {}}),
        ("GET", f"{ITEMS}?namespace=..&key=k", None),
        ("GET", f"{ITEMS}?namespace=a", None),
        ("POST", f"{ITEMS}/search", {"filter": {"a') OR 1=1 --": 1}}),
        ("POST", f"{ITEMS}/search", {"filter": {"a": {"$foo": 1}}}),
        ("POST", f"{ITEMS}/search", {"limit": -1}),
        ("POST", "/store/namespaces", {"max_depth": 0}),
    ],
)
async def test_what_the_store_does_not_take_is_the_caller_s_mistake(
    tmp_path: Path, method: str, path: str, body: Any
) -> None:
    async with open_client(tmp_path, "echo") as client:
        response = await client.request(method, path, json=body)
    assert (response.status_code, response.headers["content-type"]) == (422, PROBLEM)
    assert response.json()["detail"]
