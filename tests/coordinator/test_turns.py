"""Steps side by side: who begins when a run is to stop, asks, is not recorded or is taken up."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphDrained
from langgraph.runtime import RunControl

from coordinator.crew import Crew
from coordinator.place import RESULTS
from coordinator.toolbox import Use
from tests.coordinator.stage import Calls, Stage, Tools, step, workflow
from tests.simulation.simloop import SimLoop, simulate

MODES = ["parallel", "adaptive"]


@pytest.mark.parametrize("mode", MODES)
async def test_a_run_that_is_to_stop_begins_no_other_step_and_goes_on_with_the_rest(
    mode: str,
) -> None:
    did, control = list[str](), RunControl()

    async def work(arguments: Any, use: Use) -> None:
        did.append(use.step)
        control.request_drain()

    steps = step("a", "work"), step("b", "work", needs=["a"]), step("c", "work", needs=["b"])
    stage = Stage(workflow(*steps, mode=mode), Crew(tools=Tools(work=work)))
    with pytest.raises(GraphDrained):
        await stage.play({}, control)
    assert did == ["a"]
    await stage.play(None)
    assert did == ["a", "b", "c"]


@pytest.mark.parametrize("mode", MODES)
def test_a_run_that_asks_waits_for_nothing_that_comes_of_the_answer(mode: str) -> None:
    async def main(_: SimLoop) -> None:
        steps = step("a", approval=True), step("b", needs=["a"]), step("c", needs=["b"])
        stage = Stage(workflow(*steps, mode=mode), Calls().crew)
        async with asyncio.timeout(60):
            await stage.play({})
        assert [question["step"] for question in stage.questions] == ["a"]

    simulate(0, main)


class FullDisk(InMemorySaver):
    """Keeps no result."""

    async def aput_writes(self, config: Any, writes: Any, *more: Any) -> None:
        if any(channel == RESULTS for channel, _ in writes):
            raise OSError("no space left")
        await super().aput_writes(config, writes, *more)


@pytest.mark.parametrize("mode", MODES)
def test_what_needs_a_result_that_could_not_be_recorded_does_not_wait_for_it(mode: str) -> None:
    async def main(_: SimLoop) -> None:
        calls = Calls()
        spec = workflow(step("a", "note"), step("b", "note", needs=["a"]), mode=mode)
        stage = Stage(spec, calls.crew, saver=FullDisk())
        with pytest.raises(OSError, match="no space left"):
            async with asyncio.timeout(60):
                await stage.play({})
        assert len(calls.made) == 1

    simulate(0, main)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("budget", "done"), [(2, 2), (3, 3)])
def test_what_was_done_before_a_run_was_cut_off_is_there_and_counts_once(
    mode: str, budget: int, done: int
) -> None:
    async def main(_: SimLoop) -> None:
        cut_off = False

        async def work(arguments: Any, use: Use) -> Any:
            if use.step != "a" and not cut_off:
                await asyncio.sleep(60)
            return arguments

        a = step("a", "work", input="of a")
        b, c = (step(n, "work", input="{{ steps.a.output }}", on_error="continue") for n in "bc")
        stage = Stage(workflow(a, b, c, mode=mode), Crew(tools=Tools(work=work)))
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                await stage.play({})
        cut_off = True
        stage.document = {**stage.document, "budget": {"steps": budget}}
        values = await stage.play(None)
        outputs = [result["output"] for result in values["steps"].values()]
        assert outputs.count("of a") == done

    simulate(0, main)


@pytest.mark.parametrize("mode", MODES)
def test_no_more_steps_work_at_once_than_a_service_lets(mode: str) -> None:
    async def main(loop: SimLoop) -> None:
        async def work(arguments: Any, use: Use) -> None:
            await asyncio.sleep(1)

        spec = workflow(step("a", "work"), step("b", "work"), step("c", "work"), mode=mode)
        await Stage(spec, Crew(tools=Tools(work=work)), most=1).play({})
        assert loop.time() == 3

    simulate(0, main)
