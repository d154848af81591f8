"""What a workflow keeps: of steps that others asked for too, and of a run that does not end."""

import asyncio
from typing import Any

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointTuple
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import interrupt

from coordinator.crew import Crew
from coordinator.errors import StepFailed
from coordinator.toolbox import Use
from tests.coordinator.stage import Stage, Tools, echo, step, workflow


async def test_items_that_ask_something_wait_for_the_others_and_all_are_answered_at_once() -> None:
    did: list[int] = []

    async def ask(number: int, use: Use) -> Any:
        answer = interrupt(f"{number}?") if number % 2 else None
        await asyncio.sleep(0)
        did.append(number)
        return answer

    each = {"over": [1, 2, 3, 4], "concurrency": 1}
    spec = workflow(step("a", "ask", map=each, input="{{ item }}"))
    stage = Stage(spec, Crew(tools=Tools(ask=ask)))
    await stage.play({})
    assert (did, stage.questions) == ([2, 4], ["1?", "3?"])
    asked = stage.updates[-1]["__interrupt__"]
    values = await stage.answer({question.id: question.value for question in asked})
    assert values["steps"]["a"]["output"] == ["1?", None, "3?", None]
    assert did == [2, 4, 1, 3]


async def test_no_step_works_when_what_was_done_cannot_be_read() -> None:
    class Unreadable(InMemorySaver):
        async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
            if "checkpoint_id" in config["configurable"]:  # asked for by the conductor
                await asyncio.sleep(0)
                raise OSError("it cannot be read")
            return await super().aget_tuple(config)

    did: list[Any] = []

    async def note(arguments: Any, use: Use) -> None:
        did.append(arguments)

    steps = [step(name, "note") for name in "abc"]
    stage = Stage(workflow(*steps), Crew(tools=Tools(note=note)), saver=Unreadable())
    with pytest.raises(OSError, match="it cannot be read"):
        await stage.play({})
    assert did == []


async def test_nobody_changes_what_another_is_given_from_the_cache() -> None:
    async def make(arguments: Any, use: Use) -> Any:
        return {"of": "make"}

    async def spoil(arguments: Any, use: Use) -> Any:
        arguments["of"] = "spoil"

    made = step("a", "make", cache={})
    spec = workflow(made, step("b", "spoil", input="{{ steps.a.output }}"))
    stage = Stage(spec, Crew(tools=Tools(make=make, spoil=spoil)))
    await stage.play({})
    again = Stage(workflow(made), stage.crew, cache=stage.cache)
    assert (await again.play({}))["steps"]["a"]["output"] == {"of": "make"}


@pytest.mark.parametrize("mode", ["sequential", "parallel"])
@pytest.mark.parametrize(("broken", "left"), [("a", {}), ("b", {"a": "second"})])
async def test_a_run_that_fails_shows_nothing_of_the_run_before(
    mode: str, broken: str, left: dict[str, str]
) -> None:
    async def say(word: str, use: Use) -> Any:
        if (word, use.step) == ("second", broken):
            raise ValueError("on purpose")
        return word

    names = ["a", "b", "c"]
    steps = [
        step(name, "say", input="{{ input.word }}", needs=names[:number])
        for number, name in enumerate(names)
    ]
    stage = Stage(workflow(*steps, mode=mode), Crew(tools=Tools(say=say)))
    await stage.play({"word": "first"})
    for given in ({"word": "second"}, None):  # and taken up again
        with pytest.raises(StepFailed, match=f"step '{broken}'"):
            await stage.play(given)
        steps_shown = (await stage.state())["steps"]
        assert {name: one["output"] for name, one in steps_shown.items()} == left


async def test_what_grows_from_step_to_step_is_stopped_before_it_fills_the_memory() -> None:
    steps = [step("s0", input="{{ input.x }}")]
    steps += [step(f"s{n}", input=[f"{{{{ steps.s{n - 1}.output }}}}"] * 20) for n in range(1, 12)]
    stage = Stage(workflow(*steps), Crew(tools=Tools(echo=echo)))
    with pytest.raises(StepFailed, match="step 's4': ExpressionFailed"):
        await stage.play({"x": "y" * 100})


@pytest.mark.parametrize("mode", ["sequential", "parallel"])
async def test_what_is_done_with_an_argument_changes_neither_results_nor_the_next_attempt(
    mode: str,
) -> None:
    seen: list[Any] = []

    async def add(numbers: list[int], use: Use) -> Any:
        numbers.append(len(seen))
        seen.append(numbers)
        if len(seen) == 1:
            raise ValueError("once more")
        return numbers

    again = {"attempts": 2, "first": 0.01}
    spec = workflow(
        step("a", input=[7]), step("b", "add", input="{{ steps.a.output }}", retry=again), mode=mode
    )
    steps = (await Stage(spec, Crew(tools=Tools(echo=echo, add=add))).play({}))["steps"]
    assert (steps["a"]["output"], steps["b"]["output"]) == ([7], [7, 1])
