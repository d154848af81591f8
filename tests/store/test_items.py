"""The item store: what is put is found, in order, through an index, from every kind of thread."""

import asyncio
import sqlite3
from functools import partial
from pathlib import Path

import pytest
from langgraph.store.base import GetOp, InvalidNamespaceError, PutOp, SearchOp
from langgraph.store.base.embed import ensure_embeddings

from orchestration.store import bounded
from orchestration.store.bounded import SearchTooWide, TooMuchFound
from orchestration.store.item_filters import FilterRefused
from orchestration.store.item_rows import Search
from tests.store.items import open_items


async def test_a_put_keeps_the_time_an_item_was_made_and_moves_the_time_it_was_changed(
    tmp_path: Path,
) -> None:
    async with open_items(tmp_path) as shop:
        await shop.store.aput(("a",), "k", {"v": 1})
        first = await shop.store.aget(("a",), "k")
        await shop.store.aput(("a",), "k", {"v": 2})
        second = await shop.store.aget(("a",), "k")
    assert first is not None
    assert second is not None
    assert (first.value, second.value) == ({"v": 1}, {"v": 2})
    assert second.created_at == first.created_at
    assert second.updated_at > first.updated_at
    assert first.created_at.tzinfo is not None


async def test_a_namespace_holds_what_is_below_it_and_nothing_of_a_similar_name(
    tmp_path: Path,
) -> None:
    async with open_items(tmp_path) as shop:
        for namespace in (("u",), ("u", "x"), ("u2",), ("U",), ("u-",), ("u/",), ("*",), ("%",)):
            await shop.store.aput(namespace, "k", {})
        found = await shop.store.asearch(("u",))
        wild = await shop.store.asearch(("*",))
    assert sorted(item.namespace for item in found) == [("u",), ("u", "x")]
    assert [item.namespace for item in wild] == [("*",)]


async def test_what_was_put_last_is_found_first_and_pages_do_not_overlap(tmp_path: Path) -> None:
    async with open_items(tmp_path) as shop:
        for number in range(7):
            await shop.store.aput(("n", str(number % 2)), str(number), {})
        await shop.store.aput(("n", "0"), "0", {"again": True})
        pages = [
            [item.key for item in await shop.store.asearch(("n",), limit=3, offset=offset)]
            for offset in (0, 3, 6)
        ]
    assert pages == [["0", "6", "5"], ["4", "3", "2"], ["1"]]


async def test_reads_of_a_batch_come_before_its_puts_of_which_the_last_counts(
    tmp_path: Path,
) -> None:
    async with open_items(tmp_path) as shop:
        await shop.store.aput(("a",), "old", {"v": 0})
        results = await shop.store.abatch(
            [
                PutOp(("a",), "k", {"v": 1}),
                PutOp(("a",), "old", None),
                PutOp(("a",), "k", {"v": 2}),
                GetOp(("a",), "old"),
                SearchOp(("a",)),
            ]
        )
        left = await shop.store.asearch(("a",))
    assert [type(result).__name__ for result in results] == [
        *["NoneType"] * 3,
        "Item",
        "list",
    ]
    assert [(item.key, item.value) for item in left] == [("k", {"v": 2})]


async def test_a_mistake_of_one_caller_is_not_felt_by_the_others(tmp_path: Path) -> None:
    async with open_items(tmp_path) as shop:
        results = await asyncio.gather(
            shop.store.asearch(("a",), filter={"a') --": 1}),
            shop.store.aput(("a",), "k", {"v": 1}),
            shop.store.aput(("a.b",), "k", {"v": 1}),
            return_exceptions=True,
        )
        kept = await shop.store.aget(("a",), "k")
    assert [type(result) for result in results] == [
        FilterRefused,
        type(None),
        InvalidNamespaceError,
    ]
    assert kept is not None


async def test_a_sync_node_uses_the_store_from_its_thread(tmp_path: Path) -> None:
    async with open_items(tmp_path) as shop:

        def node() -> object:
            shop.store.put(("a",), "k", {"v": 1})
            item = shop.store.get(("a",), "k")
            shop.store.delete(("a",), "k")
            return item and item.value, shop.store.search(("a",)), shop.store.list_namespaces()

        done = await asyncio.to_thread(node)
        with pytest.raises(asyncio.InvalidStateError, match="aput"):
            shop.store.get(("a",), "k")
    assert done == ({"v": 1}, [], [])


@pytest.mark.parametrize("count", [10, 2_000])
async def test_a_search_goes_through_an_index_however_many_items_there_are(
    tmp_path: Path, count: int
) -> None:
    async with open_items(tmp_path) as shop:
        puts = [PutOp(("n", str(number)), "k", {}) for number in range(count)]
        await shop.store.abatch(puts)
        plan = await shop.database.read(partial(_plan, Search(("n",), {}, 0.0)))
    assert ("items_by_name" if count == 10 else "items_by_update") in plan
    assert "SCAN items USING" in plan if count > 10 else "SEARCH items USING" in plan


def _plan(search: Search, connection: sqlite3.Connection) -> str:
    sql, parameters = search.statement(connection)
    rows = connection.execute(f"EXPLAIN QUERY PLAN {sql}", [*parameters, 10, 0]).fetchall()
    return "; ".join(row["detail"] for row in rows)


async def test_a_page_of_many_items_costs_what_a_page_of_a_few_does(tmp_path: Path) -> None:
    """Counted in steps of SQLite's machine, which no other process can make more of."""
    async with open_items(tmp_path) as shop:
        steps: list[int] = []
        for count in (2_000, 20_000):
            puts = [PutOp(("n", str(number)), "k", {}) for number in range(count)]
            await shop.store.abatch(puts)
            steps.append(await shop.database.read(_steps))
    assert steps[1] < 1.2 * steps[0]


def _steps(connection: sqlite3.Connection) -> int:
    taken = 0

    def step() -> int:
        nonlocal taken
        taken += 1
        return 0

    connection.set_progress_handler(step, 10)
    sql, parameters = Search(("n",), {}, 0.0).statement(connection)
    connection.execute(sql, [*parameters, 10, 0]).fetchall()
    connection.set_progress_handler(None, 0)
    return taken


async def test_a_search_that_has_too_much_to_look_through_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_items(tmp_path) as shop:
        await shop.store.abatch([PutOp(("n", str(number)), "k", {}) for number in range(10)])
        monkeypatch.setattr(bounded, "PATIENCE", 0.0)
        monkeypatch.setattr(bounded, "STEPS", 1)
        with pytest.raises(SearchTooWide, match="or below a longer namespace"):
            await shop.store.asearch(("n",), filter={"a": 1})


async def test_a_page_whose_values_are_too_large_is_refused_and_fewer_items_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded, "MOST", 2_500)
    embeddings = ensure_embeddings(lambda texts: [[1.0, 0.0] for _ in texts])
    async with open_items(tmp_path, embeddings=embeddings) as shop:
        for number in range(3):
            await shop.store.aput(("n",), str(number), {"a": "x" * 1_000})
        await shop.store.aput(("large",), "k", {"a": "x" * 3_000})
        for query in (None, "by meaning"):
            with pytest.raises(TooMuchFound, match="more than 2500 characters: ask for fewer"):
                await shop.store.asearch(("n",), query=query)
            pages = [
                await shop.store.asearch(("n",), query=query, limit=2, offset=offset)
                for offset in (0, 2)
            ]
            assert list(map(len, pages)) == [2, 1]
            assert len(await shop.store.asearch(("large",), query=query)) == 1
