"""Namespaces are listed as LangGraph lists them, without a look at their items."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langgraph.store.base import ListNamespacesOp, MatchCondition

from operations.database import READERS
from operations.migrations import load_migrations, migrate
from orchestration.store import bounded
from orchestration.store.bounded import SearchTooWide
from orchestration.store.item_namespaces import as_text, from_text, list_namespaces
from tests.store.items import open_items

NAMESPACES = [("a",), ("a", "b"), ("a", "b", "c"), ("a", "x", "c"), ("b", "c"), ("ab",)]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, [("a",), ("a", "b"), ("a", "b", "c"), ("a", "x", "c"), ("ab",), ("b", "c")]),
        ({"prefix": ("a",)}, [("a",), ("a", "b"), ("a", "b", "c"), ("a", "x", "c")]),
        ({"suffix": ("c",)}, [("a", "b", "c"), ("a", "x", "c"), ("b", "c")]),
        ({"prefix": ("a", "*", "c")}, [("a", "b", "c"), ("a", "x", "c")]),
        ({"prefix": ("*", "c")}, [("b", "c")]),
        ({"suffix": ("b", "*")}, [("a", "b", "c"), ("b", "c")]),
        ({"prefix": ("a",), "suffix": ("c",)}, [("a", "b", "c"), ("a", "x", "c")]),
        ({"max_depth": 1}, [("a",), ("ab",), ("b",)]),
        ({"max_depth": 2}, [("a",), ("a", "b"), ("a", "x"), ("ab",), ("b", "c")]),
        ({"suffix": ("c",), "max_depth": 1}, [("a",), ("b",)]),
        ({"limit": 2, "offset": 1}, [("a", "b"), ("a", "b", "c")]),
        ({"max_depth": 1, "limit": 1, "offset": 2}, [("b",)]),
        ({"limit": 0}, []),
        ({"prefix": ("a", "b", "c", "d")}, []),
    ],
)
async def test_namespaces_are_found(
    tmp_path: Path, asked: dict[str, Any], found: list[tuple[str, ...]]
) -> None:
    async with open_items(tmp_path) as shop:
        for namespace in NAMESPACES:
            await shop.store.aput(namespace, "k", {})
            await shop.store.aput(namespace, "l", {})
        assert await shop.store.alist_namespaces(**asked) == found


labels = st.sampled_from(["a", "b", "a-", "/", "é", "\U0010ffff", "\x01"])
paths = st.lists(labels, min_size=1, max_size=4).map(tuple)
patterns = st.lists(labels | st.just("*"), min_size=1, max_size=3).map(tuple)


@given(st.lists(paths, max_size=12), st.data())
def test_namespaces_are_those_that_a_plain_look_at_all_of_them_finds(
    namespaces: list[tuple[str, ...]], data: st.DataObject
) -> None:
    prefix, suffix = (data.draw(st.none() | patterns) for _ in range(2))
    max_depth = data.draw(st.none() | st.integers(1, 4))
    offset, limit = data.draw(st.integers(0, 3)), data.draw(st.integers(0, 5))
    conditions = [
        *([] if prefix is None else [MatchCondition("prefix", prefix)]),
        *([] if suffix is None else [MatchCondition("suffix", suffix)]),
    ]
    op = ListNamespacesOp(tuple(conditions), max_depth, limit, offset)
    matching = {
        namespace[:max_depth]
        for namespace in namespaces
        if (prefix is None or _fits(prefix, namespace))
        and (suffix is None or _fits(suffix[::-1], namespace[::-1]))
    }
    wanted = sorted(matching, key=as_text)[offset : offset + limit]
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection, load_migrations("orchestration.store.migrations"))
        connection.executemany(
            "INSERT OR IGNORE INTO items (namespace, key, created_at, updated_at, value) "
            "VALUES (?, 'k', '', '', '{}')",
            [(as_text(namespace),) for namespace in namespaces],
        )
        assert list_namespaces(op, 0.0, connection) == wanted


def _fits(pattern: tuple[str, ...], namespace: tuple[str, ...]) -> bool:
    return len(pattern) <= len(namespace) and all(
        asked in ("*", label) for asked, label in zip(pattern, namespace, strict=False)
    )


@given(paths)
def test_a_namespace_comes_back_as_it_was_kept(namespace: tuple[str, ...]) -> None:
    assert from_text(as_text(namespace)) == namespace


async def test_a_list_that_takes_too_long_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_items(tmp_path) as shop:
        for namespace in NAMESPACES:
            await shop.store.aput(namespace, "k", {})
        monkeypatch.setattr(bounded, "PATIENCE", 0.0)
        with pytest.raises(SearchTooWide, match="or below a longer namespace"):
            await shop.store.alist_namespaces(suffix=("nobody",))


async def test_long_lists_hold_up_no_other_reads(tmp_path: Path) -> None:
    begun, opened = Event(), Event()

    class Slow(str):
        """A label that is long in being compared."""

        __slots__ = ()
        __hash__ = str.__hash__

        def __eq__(self, other: object) -> bool:
            begun.set()
            opened.wait()
            return super().__eq__(other)

    async with open_items(tmp_path) as shop, asyncio.TaskGroup() as lists, asyncio.timeout(10):
        await shop.store.aput(("a",), "k", {})
        try:
            for _ in range(READERS):
                lists.create_task(shop.store.alist_namespaces(suffix=(Slow("a"),)))
            await asyncio.to_thread(begun.wait)
            found = await shop.store.asearch(("a",))
        finally:
            opened.set()
    assert [item.key for item in found] == ["k"]
