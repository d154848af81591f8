"""Targets of tools that fail: left alone, tried again, and not chosen meanwhile."""

import asyncio

import pytest

from agents.errors import TaskRejected
from coordinator.advice import Result
from coordinator.errors import ToolFailed
from coordinator.events import CircuitClosed, CircuitOpened
from tests.coordinator.workbench import NO, Workbench, function, now, working

BREAKER = {"failures": 2, "rest": 10}


def test_a_timeout_is_a_failure() -> None:
    tools = {"a": function("a", timeout=2, fallback="b", breaker=BREAKER), "b": function("b")}

    async def play(bench: Workbench) -> None:
        bench.scripts = {"a": [60.0]}
        for _ in range(3):
            assert (await bench.use("a"))["by"] == "b"
        assert now() == 4.0  # the third time it was left alone
        assert bench.calls["a"] == 2

    working(tools, play)


def test_a_target_that_fails_is_left_alone_and_then_tried_once() -> None:
    tools = {"a": function("a", breaker=BREAKER)}

    async def play(bench: Workbench) -> None:
        bench.scripts = {"a": [NO, NO, 5.0]}
        for _ in range(2):
            with pytest.raises(ToolFailed, match="ValueError"):
                await bench.use("a")
        with pytest.raises(ToolFailed, match="function test:a has failed too often; it is tried"):
            await bench.use("a")
        await asyncio.sleep(10)
        probe = asyncio.create_task(bench.use("a"))
        await asyncio.sleep(1)
        with pytest.raises(ToolFailed, match="CircuitOpen"):  # one probe at a time
            await bench.use("a")
        await probe
        await bench.use("a")
        assert bench.calls["a"] == 4
        assert bench.events == [
            CircuitOpened("function test:a", 2, "no", 10),
            CircuitClosed("function test:a"),
        ]

    working(tools, play)


def test_a_probe_that_fails_leaves_it_alone_again_and_one_that_is_cancelled_does_not() -> None:
    tools = {"a": function("a", breaker=BREAKER)}

    async def play(bench: Workbench) -> None:
        bench.scripts = {"a": [NO, NO, 60.0, NO, 0.0]}
        for _ in range(2):
            with pytest.raises(ToolFailed):
                await bench.use("a")
        await asyncio.sleep(10)
        probe = asyncio.create_task(bench.use("a"))
        await asyncio.sleep(1)
        probe.cancel()
        await asyncio.wait({probe})
        with pytest.raises(ToolFailed, match="ValueError"):
            await bench.use("a")
        with pytest.raises(ToolFailed, match="CircuitOpen"):
            await bench.use("a")
        await asyncio.sleep(10)
        assert (await bench.use("a"))["by"] == "a"

    working(tools, play)


def test_tools_with_one_target_share_its_breaker() -> None:
    tools = {"one": function("a", breaker=BREAKER), "two": function("a", breaker=BREAKER)}

    async def play(bench: Workbench) -> None:
        bench.scripts = {"a": [NO]}
        for name in ("one", "two"):
            with pytest.raises(ToolFailed, match="ValueError"):
                await bench.use(name)
        with pytest.raises(ToolFailed, match="CircuitOpen"):
            await bench.use("one")

    working(tools, play)


def test_a_task_that_was_refused_as_it_was_given_speaks_for_its_target() -> None:
    tools = {"a": function("a", breaker=BREAKER)}

    async def play(bench: Workbench) -> None:
        bench.scripts = {"a": [TaskRejected("no such field")]}
        for _ in range(5):
            with pytest.raises(ToolFailed, match="TaskRejected: no such field"):
                await bench.use("a")
        assert bench.calls["a"] == 5

    working(tools, play)


def test_variants_are_chosen_by_experience_and_those_left_alone_are_not() -> None:
    tools = {
        "any": {"kind": "choice", "variants": ["quick", "slow"], "fallback": "last"},
        "quick": function("quick", breaker={"failures": 1, "rest": 1000}),
        "slow": function("slow"),
        "last": function("last"),
    }

    async def play(bench: Workbench) -> None:
        bench.scripts = {"quick": [0.1], "slow": [20.0]}
        used = [(await bench.use("any", run_id=f"r{n}"))["by"] for n in range(40)]
        assert used.count("quick") > 30
        assert used.count("slow") > 0
        record = bench.advisor.history.latest()[0]
        assert (record.workflow, record.step) == ("w", "s.any")
        bench.scripts["quick"] = [NO]
        after = [(await bench.use("any", run_id=f"s{n}"))["by"] for n in range(10)]
        assert after.count("last") == 1
        assert after.count("slow") == 9

    working(tools, play)


def test_a_variant_that_fails_is_not_chosen_for_how_well_its_fallback_does() -> None:
    tools = {
        "any": {"kind": "choice", "variants": ["inner", "good"]},
        "inner": {"kind": "choice", "variants": ["bad"]},
        "bad": function("bad", fallback="rescue"),
        "good": function("good"),
        "rescue": function("rescue"),
    }

    async def play(bench: Workbench) -> None:
        bench.scripts = {"bad": [NO], "good": [0.5], "rescue": [0.001]}
        used = [(await bench.use("any", run_id=f"r{n}"))["by"] for n in range(60)]
        assert used.count("good") > 40
        judged = [(one.arm.variant, one.result) for one in bench.advisor.history.latest()]
        of_bad = [result for variant, result in judged if variant in {"inner", "bad"}]
        assert of_bad
        assert not any(result is None or result.success for result in of_bad)

    working(tools, play)


def test_an_answer_from_a_cache_teaches_nothing_of_who_gave_it() -> None:
    tools = {
        "any": {"kind": "choice", "variants": ["inner"]},
        "inner": {"kind": "choice", "variants": ["slow"]},
        "slow": function("slow", cache={}),
    }

    async def play(bench: Workbench) -> None:
        bench.scripts = {"slow": [5.0]}
        for n in range(3):
            await bench.use("any", "same", run_id=f"r{n}")
        results = [one.result for one in reversed(bench.advisor.history.latest())]
        assert results == [Result(5.0, True)] * 2 + [None] * 4

    working(tools, play)


def test_when_all_variants_are_left_alone_the_fallback_is_used() -> None:
    one = {"failures": 1, "rest": 1000}
    tools = {
        "any": {"kind": "choice", "variants": ["a"], "fallback": "last"},
        "a": function("a", breaker=one),
        "last": function("last"),
    }

    async def play(bench: Workbench) -> None:
        bench.scripts = {"a": [NO]}
        assert [(await bench.use("any"))["by"] for _ in range(3)] == ["last"] * 3
        assert bench.calls["a"] == 1

    working(tools, play)
