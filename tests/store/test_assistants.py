"""The assistant store: versions, and a memory that never shows what was changed."""

import asyncio
import sqlite3
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from orchestration.store import assistants
from orchestration.store.assistants import AssistantExists, AssistantQuery
from tests.store.shelf import open_shelf


async def test_an_assistant_is_made_once_changed_and_deleted(tmp_path: Path) -> None:
    async with open_shelf(tmp_path) as shelf:
        store = shelf.assistants
        await store.create("a", {"graph_id": "g", "name": "one", "config": {"tags": ["x"]}})
        with pytest.raises(AssistantExists):
            await store.create("a", {"graph_id": "g", "name": "two"})
        first = store.get("a")
        assert await store.update("a", {"name": "three", "context": {"c": 1}})
        second = store.get("a")
        assert not await store.update("b", {"name": "x"})
        assert await store.delete("a")
        assert not await store.delete("a")
        assert store.get("a") is None
    assert first is not None
    assert second is not None
    assert (first.name, first.version, first.config) == ("one", 1, {"tags": ["x"]})
    assert (second.name, second.version, second.context) == ("three", 2, {"c": 1})
    assert first.updated_at < second.updated_at


async def test_no_more_assistants_are_remembered_than_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assistants, "_CACHED", 2)
    async with open_shelf(tmp_path) as shelf:
        for name in "abc":
            await shelf.assistants.create(name, {"graph_id": "g", "name": name})
        names = [found.name for name in "abca" if (found := shelf.assistants.get(name))]
    assert names == ["a", "b", "c", "a"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, ["c", "b", "a"]),
        ({"graph_id": "g"}, ["b", "a"]),
        ({"name": "ET"}, ["b"]),
        ({"name": "ÉTA"}, ["b"]),
        ({"metadata": {"n": [2]}}, ["b"]),
        ({"sort_by": "name", "descending": False, "limit": 2}, ["c", "a"]),
    ],
)
async def test_assistants_are_found(
    tmp_path: Path, query: dict[str, Any], found: list[str]
) -> None:
    async with open_shelf(tmp_path) as shelf:
        for number, (name, graph) in enumerate((("alpha", "g"), ("bétaet", "g"), ("Gamma", "h"))):
            fields = {"graph_id": graph, "name": name, "metadata": {"n": [number + 1]}}
            await shelf.assistants.create("abc"[number], fields)
        rows = await shelf.assistants.search(AssistantQuery(**query))
        counted = await shelf.assistants.count(AssistantQuery(**query))
    assert [row.assistant_id for row in rows] == found
    assert counted == (3 if "limit" in query else len(found))


async def test_an_order_that_is_no_column_is_refused(tmp_path: Path) -> None:
    async with open_shelf(tmp_path) as shelf:
        with pytest.raises(ValueError, match="drop"):
            await shelf.assistants.search(AssistantQuery(sort_by="name; drop table runs"))


async def test_a_change_whose_caller_went_away_is_noticed_all_the_same(tmp_path: Path) -> None:
    async with open_shelf(tmp_path) as shelf:
        store = shelf.assistants
        await store.create("a", {"graph_id": "g", "name": "before"})
        opened = threading.Event()
        shelf.database.write(lambda _: opened.wait())
        change = asyncio.create_task(store.update("a", {"name": "after"}))
        await asyncio.sleep(0)
        change.cancel()
        await asyncio.wait({change})
        remembered = store.get("a")
        opened.set()
        await shelf.database.settled()
        changed = store.get("a")
    assert remembered is not None
    assert changed is not None
    assert (remembered.name, changed.name) == ("before", "after")


@pytest.mark.parametrize("descending", [True, False])
@pytest.mark.parametrize("graph_id", [None, "g"])
@pytest.mark.parametrize("sort_by", ["created_at", "updated_at", "name", "graph_id"])
async def test_a_page_comes_from_an_index_in_its_order(
    tmp_path: Path, sort_by: str, graph_id: str | None, descending: bool
) -> None:
    query = AssistantQuery(sort_by=sort_by, graph_id=graph_id, descending=descending)
    async with open_shelf(tmp_path) as shelf:
        plan = await shelf.database.read(partial(_plan, query))
    assert "USING INDEX assistants_" in plan
    assert "TEMP B-TREE" not in plan


def _plan(query: AssistantQuery, connection: sqlite3.Connection) -> str:
    sql, parameters = query.sql()
    rows = connection.execute(f"EXPLAIN QUERY PLAN {sql}", parameters).fetchall()
    return "; ".join(row["detail"] for row in rows)
