"""Items are found by what their texts mean, to a function of the user's."""

import asyncio
import math
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from langchain_core.embeddings import Embeddings
from langgraph.store.base import PutOp, get_text_at_path
from langgraph.store.base.embed import ensure_embeddings

from orchestration.store import item_vectors
from orchestration.store.item_rows import Search
from orchestration.store.item_vectors import EmbeddingFailed, MeaningIndex, TooManyTexts
from tests.store.items import open_items

REPLACE = """
DELETE FROM items;
INSERT INTO items (namespace, key, created_at, updated_at, value)
VALUES ('others.', 'k', '', '', '{}');
"""


def direction(text: str) -> list[float]:
    """Turn a text into a direction: by its first number, in degrees; longer for longer texts."""
    number = "".join(letter for letter in text if letter.isdigit() or letter == "-") or "0"
    angle = math.radians(float(number))
    return [len(text) * math.cos(angle), len(text) * math.sin(angle)]


def embed(texts: Sequence[str]) -> list[list[float]]:
    return [direction(text) for text in texts]


async def embed_later(texts: Sequence[str]) -> list[list[float]]:
    await asyncio.sleep(0)
    return embed(texts)


class Meanings(Embeddings):
    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return embed(texts)

    def embed_query(self, text: str) -> list[float]:
        return direction(text)


@pytest.mark.parametrize("given", [embed, embed_later, Meanings()])
async def test_the_nearest_come_first_with_their_scores(tmp_path: Path, given: Any) -> None:
    async with open_items(tmp_path, embeddings=ensure_embeddings(given), fields=("text",)) as shop:
        for angle in (0, 30, 90, 180):
            await shop.store.aput(("n", str(angle)), "k", {"text": f"{angle}"})
        await shop.store.aput(("n", "none"), "k", {"other": "0"})
        await shop.store.aput(("other",), "k", {"text": "0"})
        found = await shop.store.asearch(("n",), query="about 0")
        second = await shop.store.asearch(("n",), query="about 0", limit=2, offset=1)
        listed = await shop.store.asearch(("n",))
    assert [item.namespace[1] for item in found] == ["0", "30", "90", "180"]
    assert [item.score for item in found] == pytest.approx([1, 3**0.5 / 2, 0, -1], abs=1e-6)
    assert [item.namespace[1] for item in second] == ["30", "90"]
    assert {item.score for item in listed} == {None}
    assert len(listed) == 5


async def test_an_item_is_as_near_as_the_nearest_of_its_texts_and_each_is_found_once(
    tmp_path: Path,
) -> None:
    embeddings = ensure_embeddings(embed)
    async with open_items(tmp_path, embeddings=embeddings, fields=("a", "b[*]")) as shop:
        await shop.store.aput(("n",), "many", {"a": "180", "b": ["90", "10", "170"]})
        await shop.store.aput(("n",), "one", {"a": "20"})
        found = await shop.store.asearch(("n",), query="0")
        vectors = await shop.rows("item_vectors")
    assert [item.key for item in found] == ["many", "one"]
    assert vectors == 5


async def test_a_put_says_what_of_it_is_indexed_and_leaves_nothing_of_what_was(
    tmp_path: Path,
) -> None:
    async with open_items(tmp_path, embeddings=ensure_embeddings(embed), fields=("a",)) as shop:
        await shop.store.aput(("n",), "k", {"a": "0", "b": "90"}, index=["b"])
        by_b = await shop.store.asearch(("n",), query="90")
        await shop.store.aput(("n",), "k", {"a": "0", "b": "90"}, index=False)
        hidden = await shop.store.asearch(("n",), query="90")
        await shop.store.aput(("n",), "k", {"a": "0", "b": "90"})
        by_a = await shop.store.asearch(("n",), query="0")
        await shop.store.adelete(("n",), "k")
        vectors = await shop.rows("item_vectors")
    assert [item.score for item in by_b + by_a] == pytest.approx([1, 1])
    assert (hidden, vectors) == ([], 0)


async def test_a_search_by_meaning_is_filtered_and_sees_nothing_that_expired(
    tmp_path: Path,
) -> None:
    async with open_items(tmp_path, embeddings=ensure_embeddings(embed), fields=("a",)) as shop:
        await shop.store.aput(("n",), "1", {"a": "0", "kind": "x"})
        await shop.store.aput(("n",), "2", {"a": "5", "kind": "y"})
        await shop.store.aput(("n",), "3", {"a": "5", "kind": "x"}, ttl=60)
        shop.clock.at += 3600
        found = await shop.store.asearch(("n",), query="0", filter={"kind": {"$ne": "y"}})
        await shop.store.sweep()
        vectors = await shop.rows("item_vectors")
    assert [item.key for item in found] == ["1"]
    assert vectors == 2


async def test_what_gets_the_id_of_an_item_that_is_deleted_meanwhile_is_not_found_for_it(
    tmp_path: Path,
) -> None:
    embeddings = ensure_embeddings(embed)
    index = MeaningIndex(embeddings, dims=2, fields=("a",))
    async with open_items(tmp_path, embeddings=embeddings, fields=("a",)) as shop:
        await shop.store.aput(("mine",), "k", {"a": "0"})
        vector = await index.of_query("0")

        def nearest(connection: sqlite3.Connection) -> list[str]:
            with closing(sqlite3.connect(tmp_path / "test.db")) as another:

                def give_away(statement: str) -> None:
                    if "item_id = wanted" in statement:  # what reads the items that were ranked
                        another.executescript(REPLACE)

                connection.set_trace_callback(give_away)
                search = Search(("mine",), {}, shop.clock.at)
                found, _ = index.nearest(search, vector, 10, 0, connection)
                connection.set_trace_callback(None)
            return [row["namespace"] for row in found]

        assert await shop.database.read(nearest) == ["mine."]
        assert await shop.rows("items WHERE namespace = 'others.'") == 1


async def test_a_slow_embedding_holds_up_nobody_else(tmp_path: Path) -> None:
    asked, answered = asyncio.Event(), asyncio.Event()

    async def slow(texts: Sequence[str]) -> list[list[float]]:
        asked.set()
        await answered.wait()
        return embed(texts)

    async with open_items(tmp_path, embeddings=ensure_embeddings(slow)) as shop:
        waiting = asyncio.create_task(shop.store.aput(("n",), "slow", {"a": "0"}))
        await asked.wait()
        await shop.store.aput(("n",), "quick", {"a": "0"}, index=False)
        meanwhile = [item.key for item in await shop.store.asearch(("n",))]
        answered.set()
        await waiting
        afterwards = {item.key for item in await shop.store.asearch(("n",))}
    assert (meanwhile, afterwards) == (["quick"], {"slow", "quick"})


async def test_the_texts_of_a_batch_are_embedded_together_each_once(tmp_path: Path) -> None:
    calls: list[list[str]] = []

    async def noted(texts: Sequence[str]) -> list[list[float]]:
        calls.append(list(texts))
        return embed(texts)

    async with open_items(tmp_path, embeddings=ensure_embeddings(noted), fields=("a",)) as shop:
        await shop.store.abatch(
            [
                PutOp(("n",), "1", {"a": "0"}),
                PutOp(("n",), "2", {"a": "90"}),
                PutOp(("n",), "3", {"a": "0"}),
                PutOp(("n",), "4", {}),
            ]
        )
    assert calls == [["0", "90"]]


def _raises(_: Sequence[str]) -> list[list[float]]:
    raise ConnectionError("no model there")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (_raises, "it raised ConnectionError: no model there"),
        (lambda _: [], "it made 0 vectors of 1 texts"),
        (lambda _: None, "it raised TypeError"),
        (lambda _: [[1.0]], "it made a vector of 1 numbers, and store.index.dims is 2"),
        (lambda _: [["a", "b"]], "it made a vector of something else"),
        (lambda _: [[math.nan, 1.0]], "it made a vector that is not finite"),
        (lambda _: [[1e300, 1.0]], "it made a vector that is not finite"),
    ],
)
async def test_a_function_that_makes_no_vectors_is_told_of_and_nothing_is_kept(
    tmp_path: Path, given: Any, said: str
) -> None:
    async with open_items(tmp_path, embeddings=ensure_embeddings(given)) as shop:
        with pytest.raises(EmbeddingFailed, match=said):
            await shop.store.aput(("n",), "k", {"a": "0"})
        with pytest.raises(EmbeddingFailed):
            await shop.store.asearch(("n",), query="0")
        assert await shop.rows("items") == 0


async def test_a_vector_of_nothing_is_near_to_nothing(tmp_path: Path) -> None:
    embeddings = ensure_embeddings(lambda texts: [[0.0, 0.0] for _ in texts])
    async with open_items(tmp_path, embeddings=embeddings) as shop:
        await shop.store.aput(("n",), "k", {"a": "0"})
        found = await shop.store.asearch(("n",), query="0")
    assert [item.score for item in found] == [0]


async def test_vectors_of_another_length_are_passed_over(tmp_path: Path) -> None:
    async with open_items(tmp_path, embeddings=ensure_embeddings(embed)) as shop:
        await shop.store.aput(("n",), "old", {"a": "0"})
    longer = ensure_embeddings(lambda texts: [[1.0, 0.0, 0.0] for _ in texts])
    async with open_items(tmp_path, embeddings=longer, dims=3) as shop:
        await shop.store.aput(("n",), "new", {"a": "0"})
        found = await shop.store.asearch(("n",), query="0")
    assert [item.key for item in found] == ["new"]


async def test_an_item_has_no_more_texts_than_it_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(item_vectors, "_TEXTS", 2)
    async with open_items(tmp_path, embeddings=ensure_embeddings(embed)) as shop:
        with pytest.raises(TooManyTexts, match="3 texts"):
            await shop.store.aput(("n",), "k", {"a": ["1", "2", "3"]}, index=["a[*]"])


async def test_the_texts_of_an_item_have_no_more_characters_than_they_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(item_vectors, "_CHARACTERS", 5)
    async with open_items(tmp_path, embeddings=ensure_embeddings(embed)) as shop:
        await shop.store.aput(("n",), "k", {"a": "123", "b": "45"}, index=["a", "b"])
        with pytest.raises(TooManyTexts, match="6 characters"):
            await shop.store.aput(("n",), "k", {"a": "123", "b": "456"}, index=["a", "b"])
        assert await shop.rows("item_vectors") == 2


async def test_a_field_that_is_named_many_times_is_one_text(tmp_path: Path) -> None:
    many = "{" + ",".join(["a", " a", "a."] * 40) + "}"
    async with open_items(tmp_path, embeddings=ensure_embeddings(embed)) as shop:
        await shop.store.aput(("n",), "k", {"a": [10]}, index=[many] * 64)
        found = await shop.store.asearch(("n",), query="10")
        vectors = await shop.rows("item_vectors")
    assert [item.score for item in found] == pytest.approx([1])
    assert vectors == 1


steps = ["a", "b", "*", "[0]", "[-1]", "[*]", "{a,b}", "{b,a, a,a.,a.b}", "{a", "{}", "$", "."]
paths = st.lists(st.sampled_from(steps), max_size=3).map("".join)
parts = st.recursive(
    st.none() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner),
)


@given(st.dictionaries(st.sampled_from("ab"), parts), paths)
@example({"a": 1}, "$")
@example({"a": [{"b": "x", "a": {"b": "y"}}]}, "a[*].{b,a, a,a.,a.b}")
async def test_a_path_leads_to_what_langgraph_finds_there(value: dict[str, Any], path: str) -> None:
    asked: list[str] = []

    async def noted(texts: Sequence[str]) -> list[list[float]]:
        asked.extend(texts)
        return [[1.0, 0.0] for _ in texts]

    index = MeaningIndex(ensure_embeddings(noted), dims=2, fields=("$",))
    await index.of_items({("n.", "k"): PutOp(("n",), "k", value, index=[path])})
    assert asked == list(dict.fromkeys(get_text_at_path(value, path)))


async def test_an_item_whose_texts_are_long_in_being_found_holds_up_nobody(
    tmp_path: Path,
) -> None:
    begun, opened = Event(), Event()

    class Slow(dict[str, Any]):
        def __getitem__(self, name: str) -> Any:
            begun.set()
            assert opened.wait(5), "nobody else has had a turn"
            return super().__getitem__(name)

    async with open_items(tmp_path, embeddings=ensure_embeddings(embed), fields=("a",)) as shop:
        waiting = asyncio.create_task(shop.store.aput(("n",), "slow", Slow(a="0")))
        await asyncio.to_thread(begun.wait)
        await shop.store.aput(("n",), "quick", {"a": "0"}, index=False)
        meanwhile = [item.key for item in await shop.store.asearch(("n",))]
        opened.set()
        await waiting
    assert meanwhile == ["quick"]


async def test_without_a_function_a_query_is_passed_over_as_by_langgraphs_stores(
    tmp_path: Path,
) -> None:
    async with open_items(tmp_path) as shop:
        await shop.store.aput(("n",), "k", {}, index=["a"])
        found = await shop.store.asearch(("n",), query="0")
    assert [(item.key, item.score) for item in found] == [("k", None)]
