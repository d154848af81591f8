"""A project's own store in the place of the one that comes with the server."""

import json
from pathlib import Path
from typing import Any

import pytest

from operations.errors import ConfigurationError
from orchestration.graphs.manifest import load_manifest
from tests.api.client import open_client, open_play

STORES = """
from contextlib import asynccontextmanager, contextmanager
from langgraph.store.memory import InMemoryStore

closed = []

@asynccontextmanager
async def later():
    yield InMemoryStore()
    closed.append("later")

@contextmanager
def sync():
    yield InMemoryStore()
    closed.append("sync")

async def plain():
    return InMemoryStore()

here = InMemoryStore()
nothing = 3

def broken():
    raise ConnectionError("no database there")
"""


def _store(folder: Path, name: str) -> dict[str, Any]:
    module = f"own_stores_{name}"
    (folder / f"{module}.py").write_text(STORES)
    return {"store": {"path": f"./{module}.py:{name}"}}


@pytest.mark.parametrize("name", ["later", "sync", "plain", "here"])
async def test_graphs_and_clients_share_a_store_of_the_project_s_own(
    tmp_path: Path, name: str
) -> None:
    async with open_client(tmp_path, "noting", manifest=_store(tmp_path, name)) as client:
        await client.post("/runs/wait", json={"assistant_id": "noting", "input": {"text": "hi"}})
        where = {"namespace": "notes", "key": "latest"}
        read = await client.get("/store/items", params=where)
        found = await client.post("/store/items/search", json={"query": "hi"})
        lasting = {"namespace": ["a"], "key": "k", "value": {}, "ttl": 1}
        refused = await client.put("/store/items", json=lasting)
    assert read.json()["value"] == {"text": "hi"}
    assert [item["key"] for item in found.json()["items"]] == ["latest"]
    assert refused.status_code == 422
    assert "TTL" in refused.json()["detail"]


async def test_a_store_of_the_project_s_own_is_closed_with_the_service(tmp_path: Path) -> None:
    import sys

    async with open_play(tmp_path, "echo", manifest=_store(tmp_path, "later")):
        pass
    name = next(name for name in reversed(sys.modules) if name.endswith("own_stores_later"))
    assert sys.modules[name].closed[-1] == "later"


@pytest.mark.parametrize(
    ("name", "said"),
    [("nothing", "gives an object of type int"), ("broken", "ConnectionError: no database there")],
)
async def test_what_is_no_store_stops_the_start(tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=r"store\.path") as refused:
        async with open_play(tmp_path, "echo", manifest=_store(tmp_path, name)):
            pass
    assert said in str(refused.value)


@pytest.mark.parametrize(
    "key", [{"ttl": {"default_ttl": 1}}, {"index": {"dims": 2, "embed": "a:b"}}]
)
def test_our_store_is_not_configured_where_there_is_another(
    tmp_path: Path, key: dict[str, Any]
) -> None:
    file = tmp_path / "langgraph.json"
    store = {"path": "./a.py:store", **key}
    file.write_text(json.dumps({"graphs": {"a": "./a.py:a"}, "store": store}))
    with pytest.raises(ConfigurationError, match=rf"store\.{next(iter(key))}"):
        load_manifest(file)
