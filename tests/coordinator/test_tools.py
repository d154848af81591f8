"""Tools, and chains of them: what is done when, by whom, and what of what fails."""

import asyncio
import threading
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, cast

import pytest

from agents.client import AgentClient
from agents.network.message import Origin
from agents.network.network import AgentNetwork
from agents.pools import AgentPools
from coordinator.errors import BudgetSpent, ToolFailed
from coordinator.events import ToolFellBack, ToolLeft
from coordinator.spec import BudgetSection
from operations.errors import ConfigurationError
from tests.agents.puppets import Stage
from tests.api.client import open_play
from tests.coordinator.workbench import GRACE, NO, Workbench, function, now, working

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
SINCE = "{{ input.name }} since {{ input.since }}"


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


@pytest.mark.parametrize(
    ("most", "done"),
    [
        (BudgetSection(tool_calls=2), {"bottom": 1, "left": 1}),
        (BudgetSection(seconds=1.5), {"bottom": 1}),
    ],
)
def test_a_spent_budget_stops_the_chain_whatever_its_fallbacks(
    most: BudgetSection, done: dict[str, int]
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


def test_one_that_does_not_stop_is_left_behind_and_counted_until_it_ends() -> None:
    ends = asyncio.Event()

    async def stubborn(_: Any) -> str:
        while not ends.is_set():
            with suppress(asyncio.CancelledError):
                await ends.wait()
        raise NO

    async def play(bench: Workbench) -> None:
        assert await bench.use("stubborn") == {"by": "spare", "given": None}
        assert (now(), len(bench.zombies)) == (2.0 + GRACE, 1)
        assert bench.left == [ToolLeft("stubborn", "w", "s", "run")]
        ends.set()
        await asyncio.sleep(0.1)  # on virtual time
        assert len(bench.zombies) == 0

    tools = {
        "stubborn": function("stubborn", timeout=2.0, fallback="spare"),
        "spare": function("spare"),
    }
    working(tools, play, {"stubborn": stubborn})


@pytest.mark.parametrize("error", [None, NO])
def test_one_that_stops_within_the_grace_is_waited_for(error: Exception | None) -> None:
    async def careful(_: Any) -> str:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(GRACE - 1)
        if error is not None:
            raise error
        return "too late"

    async def play(bench: Workbench) -> None:
        async def use() -> Any:
            async with asyncio.timeout(2.5):  # another deadline passes while it stops
                return await bench.use("careful", deadline=2.0)

        with pytest.raises(TimeoutError):
            await use()
        assert (now(), bench.left, len(bench.zombies)) == (2.0 + GRACE - 1, [], 0)

    working({"careful": function("careful")}, play, {"careful": careful})


class Panic(BaseException):
    """What a library in another language raises when it breaks."""


@pytest.mark.parametrize("error", [asyncio.CancelledError(), Panic("no"), SystemExit(2)])
def test_a_function_that_raises_what_is_no_error_has_failed(error: BaseException) -> None:
    async def broken(_: Any) -> None:
        raise error

    async def play(bench: Workbench) -> None:
        assert await bench.use("broken") == {"by": "spare", "given": None}
        fell_back = next(event for event in bench.events if isinstance(event, ToolFellBack))
        assert type(error).__name__ in fell_back.error

    tools = {"broken": function("broken", fallback="spare"), "spare": function("spare")}
    working(tools, play, {"broken": broken})


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
