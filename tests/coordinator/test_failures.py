"""Steps that fail side by side: what puts one right is done in full, and all are told of."""

import asyncio
from typing import Any

import pytest
from langgraph.types import Command, interrupt

from coordinator.crew import Crew
from coordinator.errors import StepFailed
from coordinator.toolbox import Use
from tests.coordinator.stage import Stage, Tools, echo, step, workflow
from tests.simulation.simloop import SimLoop, simulate

UNDO = {"compensate": "undo"}


class Clock:
    """Tools that take the seconds that they are given; ``log`` has what began and ended when."""

    def __init__(self, loop: SimLoop) -> None:
        self.log: list[tuple[str, float]] = []
        self.crew = Crew(tools=Tools(work=self._work, fail=self._fail, echo=echo))
        self._time = loop.time

    async def _work(self, seconds: float, use: Use) -> Any:
        self.log.append((f"{use.step} begins", self._time()))
        await asyncio.sleep(seconds)
        self.log.append((f"{use.step} ends", self._time()))
        return seconds

    async def _fail(self, seconds: float, use: Use) -> Any:
        await self._work(seconds, use)
        raise ValueError(f"{use.step} broke")


@pytest.mark.parametrize("mode", ["parallel", "adaptive"])
def test_a_compensation_ends_before_another_failure_ends_the_workflow(mode: str) -> None:
    async def main(loop: SimLoop) -> None:
        clock = Clock(loop)
        steps = [
            step("a", "fail", input=1, on_error=UNDO),
            step("b", "fail", input=2),
            step("c", "work", input=3),
            step("undo", "work", input=9),
            step("later", "work", input=1, needs=["c"]),
        ]
        with pytest.raises(StepFailed) as failed:
            await Stage(workflow(*steps, mode=mode), clock.crew).play({})
        assert {"step 'a': ValueError: a broke", "step 'b': ValueError: b broke"} == set(
            str(failed.value).split("; ")
        )
        assert clock.log[-3:] == [("b ends", 2), ("c ends", 3), ("undo ends", 10)]
        assert ("undo begins", 1) in clock.log

    simulate(0, main)


class Asking:
    """A graph as a step, which works for the seconds that it is given before it asks."""

    names = ("asking",)

    async def run(self, name: str, given: Any) -> Any:
        await asyncio.sleep(given["seconds"])
        return interrupt("well?")


def test_a_compensation_that_asks_holds_up_no_other_failure() -> None:
    async def main(loop: SimLoop) -> None:
        crew = Crew(tools=Clock(loop).crew.tools, graphs=Asking())
        steps = [
            step("a", "fail", input=1, on_error=UNDO),
            step("b", "fail", input=2),
            {"id": "undo", "graph": "asking", "input": {"seconds": 9}},
        ]
        with pytest.raises(StepFailed, match="'b': ValueError: b broke"):
            async with asyncio.timeout(60):
                await Stage(workflow(*steps), crew).play({})
        assert loop.time() == 10

    simulate(0, main)


def test_a_compensation_that_comes_after_one_that_asks_is_waited_for_as_well() -> None:
    async def main(loop: SimLoop) -> None:
        steps = [
            step("a", "fail", input=1, on_error={"compensate": "asks"}),
            step("b", "fail", input=3, on_error=UNDO),
            step("c", "fail", input=4),
            {"id": "asks", "graph": "asking", "input": {"seconds": 1}},
            step("undo", "work", input=9),
        ]
        crew = Crew(tools=Clock(loop).crew.tools, graphs=Asking())
        with pytest.raises(StepFailed):
            await Stage(workflow(*steps), crew).play({})
        assert loop.time() == 12

    simulate(0, main)


def test_who_cancels_the_run_does_not_wait_for_a_compensation() -> None:
    async def main(loop: SimLoop) -> None:
        clock = Clock(loop)
        steps = [
            step("a", "fail", input=1, on_error=UNDO),
            step("b", "fail", input=2),
            step("undo", "work", input=9),
        ]
        run = asyncio.create_task(Stage(workflow(*steps), clock.crew).play({}))
        await asyncio.sleep(3)
        run.cancel()
        await asyncio.wait({run})
        assert (run.cancelled(), loop.time()) == (True, 3)
        assert ("undo ends", 10) not in clock.log

    simulate(0, main)


@pytest.mark.parametrize("seed", range(8))
def test_a_compensation_that_begins_is_not_cut_off_by_what_fails_in_the_same_moment(
    seed: int,
) -> None:
    async def main(loop: SimLoop) -> None:
        clock = Clock(loop)
        steps = [
            step("b", "fail", input=1),
            step("a", "fail", input=1, on_error=UNDO),
            step("undo", "work", input=9),
        ]
        with pytest.raises(StepFailed, match="'b': ValueError: b broke"):
            await Stage(workflow(*steps), clock.crew).play({})
        undone = [event for event, _ in clock.log if event.startswith("undo")]
        assert undone in ([], ["undo begins", "undo ends"])

    simulate(seed, main)


@pytest.mark.parametrize("mode", ["parallel", "sequential"])
async def test_a_compensation_is_given_what_ended_while_the_other_step_worked(mode: str) -> None:
    ended = asyncio.Event()
    undone: list[Any] = []

    async def quick(arguments: Any, use: Use) -> Any:
        return {"id": 7}

    async def fail(arguments: Any, use: Use) -> Any:
        await ended.wait()
        raise ValueError("as it was told")

    async def undo(arguments: Any, use: Use) -> None:
        undone.append(arguments)

    async def after(arguments: Any, use: Use) -> Any:
        ended.set()
        if mode == "parallel":
            await asyncio.Event().wait()

    steps = [
        step("b", "quick"),
        step("c", "after", needs=["b"]),
        step("a", "fail", on_error=UNDO),
        step("undo", "undo", input="{{ steps.b.output.id }}"),
    ]
    tools = Tools(quick=quick, fail=fail, undo=undo, after=after)
    with pytest.raises(StepFailed) as failed:
        await Stage(workflow(*steps, mode=mode), Crew(tools=tools)).play({})
    assert str(failed.value) == "step 'a': ValueError: as it was told"
    assert undone == [7]


@pytest.mark.parametrize("mode", ["parallel", "sequential"])
async def test_what_is_done_again_and_fails_again_is_put_right_again(mode: str) -> None:
    done: list[str] = []

    async def fail(number: int, use: Use) -> None:
        done.append(use.step)
        raise ValueError("as it was told")

    async def undo(arguments: Any, use: Use) -> None:
        done.append(use.step)

    steps = [step("a", "fail", on_error=UNDO), step("undo", "undo")]
    stage = Stage(workflow(*steps, mode=mode), Crew(tools=Tools(fail=fail, undo=undo)))
    for given in (dict[str, Any](), None, None):
        with pytest.raises(StepFailed, match="as it was told"):
            await stage.play(given)
    assert done == ["a", "undo"] * 3


async def test_what_was_not_done_again_is_not_put_right_again() -> None:
    done: list[str] = []

    async def undo(arguments: Any, use: Use) -> None:
        done.append(use.step)

    steps = [step("a", approval=True, on_error=UNDO), step("undo", "undo")]
    stage = Stage(workflow(*steps), Crew(tools=Tools(undo=undo)))
    await stage.play({})
    reject: Any = Command(resume={"decision": "reject"})
    for given in (reject, None):
        with pytest.raises(StepFailed, match="it was not approved"):
            await stage.play(given)
    assert done == ["undo"]
