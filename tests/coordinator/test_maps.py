"""Steps that are done for each item of a list: in order, so many at a time, each by itself."""

import asyncio
from typing import Any

import pytest
from langgraph.errors import GraphDrained
from langgraph.runtime import RunControl

from coordinator import work
from coordinator.crew import Crew
from coordinator.errors import StepFailed
from coordinator.toolbox import Use
from tests.coordinator.stage import MODES, Calls, Stage, Tools, echo, step, workflow
from tests.simulation.simloop import SimLoop, simulate


@pytest.mark.parametrize("mode", MODES)
async def test_a_map_does_each_item_and_keeps_their_order(mode: str) -> None:
    each = {"over": "input.list", "concurrency": 2}
    spec = workflow(step("a", map=each, input="{{ index }}:{{ item.x }}"), mode=mode)
    result = await Stage(spec, Calls().crew).play({"list": [{"x": "p"}, {"x": "q"}, {"x": "r"}]})
    assert result["steps"]["a"]["output"] == ["0:p", "1:q", "2:r"]
    assert result["steps"]["a"]["attempts"] == 3


def test_a_map_does_no_more_at_a_time_than_it_says() -> None:
    async def main(loop: SimLoop) -> None:
        working, most = 0, 0

        async def do(item: Any, use: Use) -> Any:
            nonlocal working, most
            working += 1
            most = max(most, working)
            await asyncio.sleep(1)
            working -= 1

        each = {"over": [1, 2, 3, 4, 5, 6, 7], "concurrency": 3}
        await Stage(workflow(step("a", "work", map=each)), Crew(tools=Tools(work=do))).play({})
        assert (most, loop.time()) == (3, 3)

    simulate(0, main)


async def test_items_that_fail_are_told_and_the_others_kept_if_that_may_be() -> None:
    each = {"over": [0, 1, 2, 3], "concurrency": 1}
    spec = workflow(step("a", "odd", map=each, input="{{ item }}", on_error="continue"))
    result = (await Stage(spec, Calls().crew).play({}))["steps"]["a"]
    assert (result["status"], result["output"]) == ("failed", [0, None, 2, None])
    assert result["error"]["error"] == "KeyError"
    assert result["error"]["message"] == "item 1: KeyError: 1 (and 1 more)"


async def test_the_first_item_that_fails_for_good_ends_a_map() -> None:
    calls = Calls()
    each = {"over": [0, 1, 2, 3, 4], "concurrency": 1}
    with pytest.raises(StepFailed, match="step 'a': KeyError: item 1: KeyError: 1"):
        await Stage(workflow(step("a", "odd", map=each, input="{{ item }}")), calls.crew).play({})
    assert calls.made == [0, 1]


async def test_each_item_is_tried_again_by_itself() -> None:
    tried: list[int] = []

    async def once(number: int, use: Use) -> Any:
        tried.append(number)
        if tried.count(number) == 1:
            raise ValueError(number)
        return number

    each = {"over": [1, 2]}
    one = step("a", "once", map=each, input="{{ item }}", retry={"attempts": 2, "first": 0.01})
    result = (await Stage(workflow(one), Crew(tools=Tools(once=once))).play({}))["steps"]["a"]
    assert (result["output"], sorted(tried)) == ([1, 2], [1, 1, 2, 2])


@pytest.mark.parametrize(("over", "said"), [("input.n", "is int, not a list")])
async def test_what_is_no_list_cannot_be_mapped(over: str, said: str) -> None:
    with pytest.raises(StepFailed, match=said):
        await Stage(workflow(step("a", map={"over": over})), Calls().crew).play({"n": 1})


async def test_a_map_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "MOST_ITEMS", 2)
    calls = Calls()
    stage = Stage(workflow(step("a", "note", map={"over": "input.all"})), calls.crew)
    await stage.play({"all": [1, 2]})
    with pytest.raises(StepFailed, match="there are 3 items, 2 at most"):
        await stage.play({"all": [1, 2, 3]})
    assert len(calls.made) == 2


@pytest.mark.parametrize("mode", MODES)
async def test_a_map_that_is_to_stop_begins_no_more_items_and_goes_on_with_the_rest(
    mode: str,
) -> None:
    made, control = [], RunControl()

    async def do(number: int, use: Use) -> Any:
        made.append(number)
        if number == 2:
            control.request_drain()
            await asyncio.sleep(0)
        return number

    each = {"over": [1, 2, 3, 4, 5], "concurrency": 2}
    spec = workflow(step("a", "work", map=each, input="{{ item }}"), step("b"), mode=mode)
    stage = Stage(spec, Crew(tools=Tools(work=do, echo=echo)))
    with pytest.raises(GraphDrained):
        await stage.play({}, control)
    assert set(made) <= {1, 2, 3}
    steps = (await stage.play(None))["steps"]
    assert steps["a"]["output"] == [1, 2, 3, 4, 5]
    assert steps["b"]["status"] == "done"
    assert sorted(made) == [1, 2, 3, 4, 5]


async def test_a_map_over_nothing_gives_nothing() -> None:
    values = await Stage(workflow(step("a", map={"over": []})), Calls().crew).play({})
    assert values["steps"]["a"]["output"] == []
