"""The items of a map when its run is taken up again: what was recorded is there, and counts."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphDrained
from langgraph.runtime import RunControl

from coordinator.crew import Crew
from coordinator.errors import StepFailed
from coordinator.toolbox import Use
from tests.coordinator.stage import Stage, Tools, echo, step, workflow

MODES = ["sequential", "parallel"]


class Failure:
    """A map of 20 whose item 7 fails while 8 to 14 are under way, and what puts it right."""

    def __init__(self, mode: str) -> None:
        self.begun: list[int] = []
        self.undone: list[Any] = []
        self.undoing = asyncio.Event()
        self.hold = asyncio.Event()
        self._all, self._failed = asyncio.Event(), asyncio.Event()
        each = {"over": list(range(20)), "concurrency": 8}
        work = step("a", "work", map=each, input="{{ item }}", on_error={"compensate": "undo"})
        spec = workflow(work, step("undo", "undo", input="{{ steps.a.output }}"), mode=mode)
        self.stage = Stage(spec, Crew(tools=Tools(work=self._work, undo=self._undo)))

    async def _work(self, number: int, use: Use) -> int:
        self.begun.append(number)
        if number == 7:
            await self._all.wait()
            self._failed.set()
            raise ValueError(number)
        if number == 14:
            self._all.set()
        if number > 7:
            await self._failed.wait()
        return number

    async def _undo(self, given: Any, use: Use) -> None:
        self.undone.append(given)
        self.undoing.set()
        await self.hold.wait()


@pytest.mark.parametrize("mode", MODES)
async def test_a_compensation_that_was_cut_off_is_given_the_same_again(mode: str) -> None:
    failure = Failure(mode)
    first = asyncio.create_task(failure.stage.play({}))
    await failure.undoing.wait()
    first.cancel()
    await asyncio.wait({first})
    failure.hold.set()
    with pytest.raises(StepFailed, match="item 7: ValueError: 7"):
        await failure.stage.play(None)
    given = [*range(7), None, *range(8, 15), *[None] * 5]
    assert failure.undone == [given, given]
    assert sorted(failure.begun) == list(range(15))


@pytest.mark.parametrize("mode", MODES)
async def test_a_compensation_that_was_recorded_is_not_done_again(mode: str) -> None:
    failure = Failure(mode)
    failure.hold.set()
    with pytest.raises(StepFailed, match="item 7: ValueError: 7"):
        await failure.stage.play({})
    for _ in range(2):
        with pytest.raises(StepFailed, match="item 7: ValueError: 7"):
            await failure.stage.play(None)
    assert len(failure.undone) == 1
    assert sorted(failure.begun) == list(range(15))


@pytest.mark.parametrize("mode", MODES)
async def test_a_compensation_is_told_of_all_that_was_done_before_the_run_was_cut_off(
    mode: str,
) -> None:
    waiting, undone, again = asyncio.Event(), list[Any](), False

    async def work(number: int, use: Use) -> int:
        if number % 10 == 0 and not again:
            if number:
                waiting.set()
            await asyncio.Event().wait()
        if number == 0:
            raise ValueError(number)
        return number

    async def undo(given: Any, use: Use) -> None:
        undone.append(given)

    each = {"over": list(range(15)), "concurrency": 2}
    one = step("a", "work", map=each, input="{{ item }}", on_error={"compensate": "undo"})
    spec = workflow(one, step("undo", "undo", input="{{ steps.a.output }}"), mode=mode)
    stage = Stage(spec, Crew(tools=Tools(work=work, undo=undo)))
    first = asyncio.create_task(stage.play({}))
    await waiting.wait()
    first.cancel()
    await asyncio.wait({first})
    again = True
    with pytest.raises(StepFailed, match="item 0: ValueError: 0"):
        await stage.play(None)
    assert undone == [[None, *range(1, 10), *[None] * 5]]


@pytest.mark.parametrize("mode", MODES)
async def test_no_item_is_begun_after_one_that_is_known_to_have_failed(mode: str) -> None:
    begun, failed = list[int](), asyncio.Event()

    async def work(number: int, use: Use) -> int:
        begun.append(number)
        if number == 3:
            failed.set()
            raise ValueError(number)
        if number:
            await failed.wait()
        return number

    each = {"over": list(range(9)), "concurrency": 3}
    spec = workflow(step("a", "work", map=each, input="{{ item }}"), mode=mode)
    stage = Stage(spec, Crew(tools=Tools(work=work)))
    for given in (dict[str, Any](), None):
        with pytest.raises(StepFailed, match="item 3: ValueError: 3"):
            await stage.play(given)
    assert begun == [0, 1, 2, 3]


async def test_an_item_that_is_tried_again_goes_on_after_another_has_failed() -> None:
    tried: list[int] = []

    async def work(number: int, use: Use) -> int:
        tried.append(number)
        if number == 1:
            raise KeyError(number)
        if tried.count(0) == 1:
            raise ValueError(number)
        return number

    retry = {"attempts": 2, "first": 0.01, "on": ["ValueError"]}
    one = step("a", "work", map={"over": [0, 1]}, input="{{ item }}", retry=retry)
    with pytest.raises(StepFailed, match="item 1: KeyError: 1"):
        await Stage(workflow(one), Crew(tools=Tools(work=work))).play({})
    assert tried == [0, 1, 0]


class Stopped:
    """A map of 20 that stopped, of itself, after 9 items; each uses its tool twice."""

    def __init__(self, saver: InMemorySaver, mode: str, **more: Any) -> None:
        self.made: list[int] = []
        self._control = RunControl()
        each = {"over": list(range(20)), "concurrency": 3}
        one = step("a", "work", map=each, input="{{ item }}", **more.pop("of_step", {}))
        spec = workflow(one, mode=mode, **more)
        self.stage = Stage(spec, Crew(tools=Tools(work=self._work)), saver=saver)

    async def _work(self, number: int, use: Use) -> int:
        use.budget.spend_tool_call()
        self.made.append(number)
        if number == 8:
            self._control.request_drain()
        return number

    async def stop(self) -> None:
        with pytest.raises(GraphDrained):
            await self.stage.play({}, self._control)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "more",
    [
        {"budget": {"steps": 12}},
        {"budget": {"tool_calls": 24}},
        {"of_step": {"budget": {"steps": 12}}},
        {"of_step": {"budget": {"tool_calls": 24}}},
    ],
)
async def test_what_recorded_items_used_is_spent(mode: str, more: Any) -> None:
    stopped = Stopped(InMemorySaver(), mode, **more)
    await stopped.stop()
    with pytest.raises(StepFailed, match=r"BudgetSpent: .* is spent: (12 steps|24 tool calls)"):
        await stopped.stage.play(None)
    assert sorted(stopped.made) == list(range(12))


@pytest.mark.parametrize("mode", MODES)
async def test_what_was_used_before_a_stop_is_told_with_the_rest(mode: str) -> None:
    stopped = Stopped(InMemorySaver(), mode)
    await stopped.stop()
    result = (await stopped.stage.play(None))["steps"]["a"]
    assert sorted(stopped.made) == list(range(20))
    assert (result["attempts"], result["tool_calls"]) == (20, 40)


async def test_items_recorded_before_their_tool_calls_were_are_taken_up_too() -> None:
    class Older(InMemorySaver):
        async def aput_writes(
            self,
            config: RunnableConfig,
            writes: Sequence[tuple[str, Any]],
            task_id: str,
            task_path: str = "",
        ) -> None:
            for channel, value in writes:
                if channel == "__return__":
                    value.pop("tool_calls")
            await super().aput_writes(config, writes, task_id, task_path)

    stopped = Stopped(Older(), "parallel")
    await stopped.stop()
    result = (await stopped.stage.play(None))["steps"]["a"]
    assert (result["output"], sorted(stopped.made)) == ([*range(20)], [*range(20)])


async def test_an_item_for_which_nothing_is_left_takes_nothing() -> None:
    each = {"over": [0, 1, 2], "concurrency": 1}
    one = step("a", map=each, on_error="continue", budget={"steps": 2})
    result = (await Stage(workflow(one), Crew(tools=Tools(echo=echo))).play({}))["steps"]["a"]
    assert (result["status"], result["attempts"]) == ("failed", 2)


async def test_items_that_begin_together_let_others_work_in_between() -> None:
    turns, begun = 0, list[int]()

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def work(number: int, use: Use) -> None:
        begun.append(turns)

    each = {"over": list(range(50)), "concurrency": 50}
    steps = [step(name, "work", map=each) for name in ("a", "b")]
    beside = asyncio.create_task(others())
    await Stage(workflow(*steps), Crew(tools=Tools(work=work))).play({})
    beside.cancel()
    assert len(set(begun)) == len(begun) == 100
