"""Answers of tools that are kept: for their key and their time, within bounds."""

import asyncio

from coordinator.caching import MOST_OF_ONE, AnswerCache
from coordinator.spec import BudgetSection
from tests.coordinator.workbench import NO, Workbench, function, working


def test_an_answer_counts_for_its_key_until_its_time_is_over() -> None:
    tools = {
        "a": function("a", needs=["b"], cache={"key": "{{ input.id }}", "ttl": 60}),
        "b": function("b"),
    }

    async def play(bench: Workbench) -> None:
        most = BudgetSection(tool_calls=2)
        first = await bench.use("a", {"id": 1, "x": 1}, most)
        first["given"]["x"] = "changed by whoever got it"
        one = BudgetSection(tool_calls=1)
        assert (await bench.use("a", {"id": 1, "x": 2}, one))["given"]["x"] == 1
        await bench.use("a", {"id": 2})
        bench.owners["hers"] = "alice"
        await bench.use("a", {"id": 1}, run_id="hers")
        assert bench.calls == {"a": 3, "b": 3}
        await asyncio.sleep(60)
        await bench.use("a", {"id": 1})
        assert bench.calls == {"a": 4, "b": 4}

    working(tools, play)


def test_what_failed_or_was_given_by_a_fallback_is_not_kept() -> None:
    tools = {"a": function("a", cache={}, fallback="b"), "b": function("b")}

    async def play(bench: Workbench) -> None:
        bench.scripts = {"a": [NO, 0.0]}
        assert [(await bench.use("a"))["by"] for _ in range(3)] == ["b", "a", "a"]
        assert bench.calls == {"a": 2, "b": 1}

    working(tools, play)


def test_answers_are_bounded_in_number_and_size() -> None:
    cache = AnswerCache(lambda: 0.0, most=2, most_bytes=40)
    for key in ("a", "b"):
        cache.put(key, key * 8, 1.0)
    assert cache.get("a") == ("a" * 8, True)
    cache.put("c", "c", 1.0)
    assert [cache.get(key)[1] for key in ("a", "b", "c")] == [True, False, True]
    cache.put("d", "d" * 38, 1.0)  # as JSON, just the 40 bytes
    assert [cache.get(key)[1] for key in ("a", "c", "d")] == [False, False, True]


def test_an_answer_that_is_too_large_or_no_json_is_not_kept() -> None:
    cache = AnswerCache(lambda: 0.0)
    cache.put("a", "x" * (MOST_OF_ONE - 2), 1.0)  # and two quotes
    assert cache.get("a")[1]
    cache.put("a", "x" * (MOST_OF_ONE - 1), 1.0)
    cache.put("b", object(), 1.0)
    assert [cache.get(key)[1] for key in "ab"] == [False, False]
