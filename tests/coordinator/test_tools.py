"""Tools, and chains of them: what is done when, by whom, and what of what fails."""

import asyncio
import threading
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, cast

import pytest

from agents.client import AgentClient
from agents.errors import TaskRejected
from agents.network.message import Origin
from agents.network.network import AgentNetwork
from agents.pools import AgentPools
from coordinator.advice import Result
from coordinator.budget import Most
from coordinator.caching import MOST_OF_ONE, AnswerCache
from coordinator.errors import BudgetSpent, ToolFailed
from coordinator.events import CircuitClosed, CircuitOpened, ToolFellBack
from operations.errors import ConfigurationError
from tests.agents.puppets import Stage
from tests.api.client import open_play
from tests.coordinator.workbench import Workbench, function, working

DIAMOND = {
    "top": function(
        "top",
        needs=["left", "right"],
        input={"l": "{{ needs.left.by }}", "r": "{{ needs.right.by }}"},
    ),
    "left": function("left", needs=["bottom"]),
    "right": function("right", needs=["bottom"]),
    "bottom": function("bottom"),
}
BREAKER = {"failures": 2, "rest": 10}
NO = ValueError("no")
SINCE = "{{ input.name }} since {{ input.since }}"


def now() -> float:
    return asyncio.get_running_loop().time()


def test_a_chain_is_done_by_dependency_and_what_is_independent_at_once() -> None:
    async def play(bench: Workbench) -> None:
        bench.scripts = {name: [1.0] for name in DIAMOND}
        given = await bench.use("top", {"x": 1})
        assert given == {"by": "top", "given": {"l": "left", "r": "right"}}
        assert now() == 3.0
        assert bench.most_working == 2
        assert bench.log[0] == "bottom begins"
        assert bench.log[-2:] == ["top begins", "top ends"]
        assert bench.calls == dict.fromkeys(DIAMOND, 1)

    working(DIAMOND, play)


def test_what_fails_cancels_what_goes_on_beside_it() -> None:
    async def play(bench: Workbench) -> None:
        bench.scripts = {"left": [NO], "right": [50.0]}
        with pytest.raises(ToolFailed, match="tool 'left': ValueError: no"):
            await bench.use("top")
        assert (now(), bench.working) == (0.0, 0)

    working(DIAMOND, play)


def test_the_fallback_is_used_on_an_error_with_what_the_chain_was_given() -> None:
    tools = {"a": function("a", fallback="b"), "b": function("b", fallback="c"), "c": function("c")}

    async def play(bench: Workbench) -> None:
        bench.scripts = {"a": [NO], "b": [NO]}
        assert await bench.use("a", {"x": 1}) == {"by": "c", "given": {"x": 1}}
        assert bench.events == [
            ToolFellBack("a", "b", "w", "run", "tool 'a': ValueError: no"),
            ToolFellBack("b", "c", "w", "run", "tool 'b': ValueError: no"),
        ]

    working(tools, play)


def test_a_fallback_may_need_what_was_cancelled_and_has_it_done_again() -> None:
    tools = {
        "top": function("top", needs=["bad", "slow"], fallback="other"),
        "bad": function("bad", timeout=1),
        "slow": function("slow"),
        "other": function("other", needs=["slow"]),
    }

    async def play(bench: Workbench) -> None:
        bench.scripts = {"bad": [60.0], "slow": [5.0]}
        assert (await bench.use("top"))["by"] == "other"
        assert (now(), bench.calls["slow"], bench.log.count("slow ends")) == (6.0, 2, 1)

    working(tools, play)


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


def test_an_answer_counts_for_its_key_until_its_time_is_over() -> None:
    tools = {
        "a": function("a", needs=["b"], cache={"key": "{{ input.id }}", "ttl": 60}),
        "b": function("b"),
    }

    async def play(bench: Workbench) -> None:
        most = Most(tool_calls=2)
        first = await bench.use("a", {"id": 1, "x": 1}, most)
        first["given"]["x"] = "changed by whoever got it"
        assert (await bench.use("a", {"id": 1, "x": 2}, Most(tool_calls=1)))["given"]["x"] == 1
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
    cache.put("d", "d" * 36, 1.0)
    assert [cache.get(key)[1] for key in ("a", "c", "d")] == [False, False, True]
    cache.put("d", "x" * MOST_OF_ONE, 1.0)
    assert cache.get("d") == (None, False)


@pytest.mark.parametrize(
    ("most", "done"),
    [(Most(tool_calls=2), {"bottom": 1, "left": 1}), (Most(seconds=1.5), {"bottom": 1})],
)
def test_a_spent_budget_stops_the_chain_whatever_its_fallbacks(
    most: Most, done: dict[str, int]
) -> None:
    tools = {
        **DIAMOND,
        "left": {**DIAMOND["left"], "fallback": "spare"},
        "spare": function("spare"),
        "top": {**DIAMOND["top"], "fallback": "spare"},
    }

    async def play(bench: Workbench) -> None:
        bench.scripts = {name: [1.0] for name in DIAMOND}
        with pytest.raises(BudgetSpent):
            await bench.use("top", None, most)
        assert bench.calls["spare"] == bench.calls["top"] == 0
        assert bench.calls["bottom"] == done["bottom"]
        assert bench.working == 0

    working(tools, play)


def test_a_tool_has_a_budget_for_all_that_it_needs() -> None:
    tools = {**DIAMOND, "top": {**DIAMOND["top"], "budget": {"tool_calls": 3}}}

    async def play(bench: Workbench) -> None:
        with pytest.raises(BudgetSpent, match="the budget of tool 'top' is spent: 3 tool calls"):
            await bench.use("top")
        assert bench.calls["top"] == 0

    working(tools, play)
    tools["top"]["budget"] = {"seconds": 1}

    async def slow(bench: Workbench) -> None:
        bench.scripts = {"bottom": [5.0]}
        with pytest.raises(BudgetSpent, match="1 seconds"):
            await bench.use("top")
        assert now() == 1.0

    working(tools, slow)


def test_nothing_goes_on_beyond_the_deadline_of_the_step() -> None:
    async def play(bench: Workbench) -> None:
        bench.scripts = {"bottom": [5.0]}
        with pytest.raises(ToolFailed, match="tool 'top': TimeoutError"):
            await bench.use("top", deadline=2.0)
        assert (now(), bench.working) == (2.0, 0)

    working(DIAMOND, play)


def test_cancelled_it_returns_when_the_work_has_stopped() -> None:
    async def play(bench: Workbench) -> None:
        bench.scripts = {"left": [5.0], "right": [7.0]}
        task = asyncio.create_task(bench.use("top"))
        await asyncio.sleep(1)
        assert bench.working == 2
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()
        assert bench.working == 0

    working(DIAMOND, play)


def test_views_and_lookups_are_filled_in_and_looked_up() -> None:
    country = {
        "kind": "lookup",
        "table": {"de": {"name": "Germany"}},
        "input": "{{ input.code }}",
    }
    card = {
        "kind": "view",
        "needs": ["country"],
        "input": {"country": "{{ needs.country.name }}", "who": "{{ input.who }}"},
        "view": {"title": "{{ input.who }} from {{ input.country }}", "by": ["{{ input.who }}"]},
    }
    tools = {"country": country, "card": card}

    async def play(bench: Workbench) -> None:
        shown = await bench.use("card", {"code": "de", "who": "Ada"})
        assert shown == {"title": "Ada from Germany", "by": ["Ada"]}
        with pytest.raises(ToolFailed, match="there is no 'dx' in the table"):
            await bench.use("card", {"code": "dx", "who": "Ada"})
        with pytest.raises(ToolFailed, match="tool 'country': ExpressionFailed"):
            await bench.use("card", {"who": "Ada"})
        with pytest.raises(LookupError, match="there is no tool 'cards'"):
            await bench.use("cards")

    working(tools, play)


def test_what_was_looked_up_may_be_changed_and_the_table_stays() -> None:
    async def play(bench: Workbench) -> None:
        (await bench.use("country", "de"))["name"] = "changed by whoever got it"
        assert await bench.use("country", "de") == {"name": "Germany"}

    working({"country": {"kind": "lookup", "table": {"de": {"name": "Germany"}}}}, play)


def test_an_agent_does_what_it_is_given_and_is_left_alone_when_it_fails() -> None:
    section = {"kind": "agent", "agent": "play", "breaker": {"failures": 1}, "input": 2}

    async def play(bench: Workbench) -> None:
        stage = Stage()
        async with stage.open():
            network = cast("AgentNetwork", None)  # of which tools need nothing
            agents = AgentClient(AgentPools({"play": stage.pool}), network, Origin(sender="test"))
            assert await bench.use("a", agents=agents) == 0
            (puppet,) = stage.puppets
            assert puppet.done == [2]
            puppet.fails = True
            with pytest.raises(ToolFailed, match="tool 'a': TaskFailed: no"):
                await bench.use("a", agents=agents)
            with pytest.raises(ToolFailed, match="agent play has failed too often"):
                await bench.use("a", agents=agents)

    working({"a": section}, play)


async def test_a_function_that_does_not_wait_works_in_a_thread_and_gives_json() -> None:
    bench = Workbench(
        {"a": function("a"), "b": function("b")},
        {"a": lambda text: [text, threading.current_thread().name], "b": lambda **_: object()},
    )
    text, thread = await bench.use("a", "x")
    assert text == "x"
    assert thread != threading.current_thread().name
    with pytest.raises(ToolFailed, match="tool 'b': TypeError: Type is not JSON serializable"):
        await bench.use("b", {})


@pytest.mark.parametrize("more", [{}, {"cache": {}}])
def test_what_a_function_gives_is_json_to_those_who_need_it(more: Any) -> None:
    @dataclass
    class Place:
        name: str
        since: date

    async def found() -> Place:
        return Place("Bonn", date(1949, 5, 10))

    async def play(bench: Workbench) -> list[Any]:
        return [await bench.use("told", {}) for _ in range(2)]

    tools = {
        "told": {"kind": "view", "needs": ["at"], "input": "{{ needs.at }}", "view": SINCE},
        "at": function("found", **more),
    }
    assert working(tools, play, {"found": found}) == ["Bonn since 1949-05-10"] * 2


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("math:pi", "masterloop.tools.t.function: 'math:pi' is of float. Name a function."),
        ("math:pie", "masterloop.tools.t.function: module 'math' has no attribute 'pie'"),
    ],
)
async def test_a_service_does_not_start_without_the_functions_of_its_tools(
    tmp_path: Path, target: str, said: str
) -> None:
    section = {"tools": {"t": {"kind": "function", "function": target}}}
    with pytest.raises(ConfigurationError) as caught:
        async with open_play(tmp_path, "echo", manifest={"masterloop": section}):
            pass
    assert said in str(caught.value)


def test_without_agents_a_tool_that_needs_one_fails() -> None:
    async def play(bench: Workbench) -> None:
        with pytest.raises(ToolFailed, match="this service has no agents"):
            await bench.use("a")

    working({"a": {"kind": "agent", "agent": "summarise"}}, play)
