"""The store that graphs share, over HTTP."""

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from langgraph.store.base import SearchItem

from orchestration.api import items
from orchestration.store import bounded
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
    assert (gone.status_code, missing.status_code, missing.json()) == (204, 200, None)


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


async def test_a_page_that_is_too_large_is_refused_with_what_would_help(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded, "MOST", 10)
    async with open_client(tmp_path, "echo") as client:
        for key in ("a", "b"):
            await client.put(ITEMS, json={"namespace": ["n"], "key": key, "value": {"v": 1}})
        refused = await client.post(f"{ITEMS}/search", json={})
        found = await client.post(f"{ITEMS}/search", json={"limit": 1})
    assert (refused.status_code, refused.headers["content-type"]) == (422, PROBLEM)
    assert refused.json()["errors"][0]["pointer"] == "/limit"
    assert [item["key"] for item in found.json()["items"]] == ["b"]


async def test_a_large_page_is_written_while_others_are_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, opened = Event(), Event()

    def slow(found: Sequence[SearchItem]) -> bytes:
        begun.set()
        assert opened.wait(5), "nobody else has had a turn"
        return b"%d" % len(found)

    async with open_client(tmp_path, "echo") as client:
        await client.put(ITEMS, json={"namespace": ["n"], "key": "k", "value": {"v": 1}})
        monkeypatch.setattr(items, "_found", slow)
        search = asyncio.create_task(client.post(f"{ITEMS}/search", json={}))
        await asyncio.to_thread(begun.wait)
        meanwhile = await client.post("/store/namespaces", json={})
        opened.set()
        found = (await search).json()
    assert meanwhile.json() == {"namespaces": [["n"]]}
    assert found == 1


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
        ("GET", f"{ITEMS}?namespace=&key=k", None),
        ("GET", f"{ITEMS}?namespace=a%00&key=k", None),
        ("GET", f"{ITEMS}?key=k", None),
        ("PUT", ITEMS, {"namespace": ["a", ""], "key": "k", "value": {}}),
        ("PUT", ITEMS, {"namespace": ["a"], "key": "k", "value": {}, "ttl": 0}),
        ("PUT", ITEMS, {"namespace": ["a"], "key": "k", "value": {}, "index": "a"}),
        ("DELETE", ITEMS, {"namespace": [], "key": "k"}),
        ("POST", f"{ITEMS}/search", {"filter": {"a.b.c": 1}}),
        ("POST", f"{ITEMS}/search", {"filter": {"$where": 1}}),
        ("POST", f"{ITEMS}/search", {"query": "what"}),
        ("POST", f"{ITEMS}/search", {"namespace_prefix": ["a.b"]}),
        ("POST", "/store/namespaces", {"suffix": [""]}),
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
    assert response.json()["errors"][0]["pointer"].startswith("/")


async def test_a_refused_filter_is_pointed_to_and_so_is_a_search_without_an_index(
    tmp_path: Path,
) -> None:
    async with open_client(tmp_path, "echo") as client:
        bad = {"filter": {"a": {"$regex": "x"}}}
        refused = (await client.post(f"{ITEMS}/search", json=bad)).json()
        query = (await client.post(f"{ITEMS}/search", json={"query": "what"})).json()
    assert refused["errors"][0]["pointer"] == "/filter/a/$regex"
    assert refused["detail"] == (
        "filter/a/$regex: '$regex' is no operator; there are $eq, $ne, $gt, $gte, $lt, $lte"
    )
    assert "store.index of langgraph.json" in query["detail"]


async def test_the_sdk_keeps_finds_and_lists_items(tmp_path: Path) -> None:
    from langgraph_sdk.client import LangGraphClient

    async with open_client(tmp_path, "echo") as http:
        store = LangGraphClient(http).store
        await store.put_item(["u", "ada"], "k", {"n": 1}, index=False, ttl=60)
        await store.put_item(["u", "bob"], "k", {"n": 2})
        nothing = await store.get_item(["u", "eve"], "k", refresh_ttl=True)
        found = await store.search_items(["u"], filter={"n": {"$gte": 2}}, refresh_ttl=False)
        names = await store.list_namespaces(prefix=["u"], suffix=["*", "bob"], max_depth=2)
        await store.delete_item(["u", "bob"], "k")
        left = await store.search_items(["u"])
    assert nothing is None
    assert [item["namespace"] for item in found["items"]] == [["u", "bob"]]
    assert names["namespaces"] == [["u", "bob"]]
    assert [item["namespace"] for item in left["items"]] == [["u", "ada"]]


async def test_a_label_that_looks_like_json_is_a_label(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo") as client:
        for label in ('["a"]', "[a", "{", "null"):
            await client.put(ITEMS, json={"namespace": [label], "key": "k", "value": {}})
            read = await client.get(ITEMS, params={"namespace": label, "key": "k"})
            assert read.json()["namespace"] == [label]


async def test_items_outlive_the_service(tmp_path: Path) -> None:
    item = {"namespace": ["a"], "key": "k", "value": {"v": 1}}
    async with open_client(tmp_path, "echo") as client:
        await client.put(ITEMS, json=item)
    async with open_client(tmp_path, "echo") as client:
        read = await client.get(ITEMS, params={"namespace": "a", "key": "k"})
    assert read.json()["value"] == {"v": 1}


MEANINGS = """
def embed(texts):
    return [[float("cat" in text), float("dog" in text)] for text in texts]

def fail(texts):
    raise ConnectionError("no model there")
"""


async def test_items_are_found_by_meaning_when_a_function_is_configured(tmp_path: Path) -> None:
    (tmp_path / "meanings_of_items.py").write_text(MEANINGS)
    index = {"embed": "./meanings_of_items.py:embed", "dims": 2, "fields": ["text"]}
    async with open_client(tmp_path, "noting", manifest={"store": {"index": index}}) as client:
        await client.post("/runs/wait", json={"assistant_id": "noting", "input": {"text": "cat"}})
        put = {"namespace": ["notes"], "key": "d", "value": {"text": "dog"}}
        await client.put(ITEMS, json=put)
        found = await client.post(f"{ITEMS}/search", json={"query": "a cat", "limit": 2})
    scores = [(item["key"], item["score"]) for item in found.json()["items"]]
    assert scores == [("latest", 1.0), ("d", 0.0)]


async def test_a_failing_function_for_vectors_is_named_with_its_error(tmp_path: Path) -> None:
    (tmp_path / "failing_meanings.py").write_text(MEANINGS)
    index = {"embed": "./failing_meanings.py:fail", "dims": 2}
    item = {"namespace": ["a"], "key": "k", "value": {"v": 1}}
    async with open_client(tmp_path, "echo", manifest={"store": {"index": index}}) as client:
        put = await client.put(ITEMS, json=item)
        search = await client.post(f"{ITEMS}/search", json={"query": "x"})
    assert (put.status_code, search.status_code) == (424, 424)
    assert "store.index" in put.json()["detail"]
    assert "ConnectionError: no model there" in put.json()["detail"]


async def test_an_item_with_more_texts_than_it_may_have_is_refused(tmp_path: Path) -> None:
    (tmp_path / "many_meanings.py").write_text(MEANINGS)
    index = {"embed": "./many_meanings.py:embed", "dims": 2}
    item = {"namespace": ["a"], "key": "k", "value": {"t": ["x"] * 300}, "index": ["t[*]"]}
    async with open_client(tmp_path, "echo", manifest={"store": {"index": index}}) as client:
        put = await client.put(ITEMS, json=item)
    assert put.status_code == 422
    assert put.json()["errors"][0]["pointer"] == "/index"


async def test_the_service_sweeps_what_has_expired(tmp_path: Path) -> None:
    ttl = {"default_ttl": 1e-9, "sweep_interval_minutes": 1e-5}
    item = {"namespace": ["a"], "key": "k", "value": {}}
    async with open_client(tmp_path, "echo", manifest={"store": {"ttl": ttl}}) as client:
        await client.put(ITEMS, json=item)
        await asyncio.to_thread(_wait_for_the_sweep, tmp_path / "data" / "masterloop.db")


def _wait_for_the_sweep(database: Path) -> None:
    with closing(sqlite3.connect(database)) as beside:
        while beside.execute("SELECT 1 FROM items").fetchone():
            pass


@pytest.mark.parametrize(("given", "shown"), [({}, False), ({"ttl": None}, True)])
async def test_items_expire_as_the_configuration_says_unless_they_say_otherwise(
    tmp_path: Path, given: dict[str, Any], shown: bool
) -> None:
    ttl = {"default_ttl": 1e-9, "sweep_interval_minutes": 60}
    item = {"namespace": ["a"], "key": "k", "value": {}, **given}
    async with open_client(tmp_path, "echo", manifest={"store": {"ttl": ttl}}) as client:
        await client.put(ITEMS, json=item)
        read = await client.get(ITEMS, params={"namespace": "a", "key": "k"})
    assert (read.json() is not None) == shown
