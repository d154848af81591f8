"""Steps that a human approves: asked once, of exactly what is done."""

from typing import Any

import pytest
from langgraph.types import Command

from coordinator.crew import Crew
from coordinator.errors import StepFailed
from coordinator.step_events import ApprovalAsked
from coordinator.toolbox import Use
from tests.coordinator.stage import MODES, Calls, Stage, Tools, step, told, workflow


@pytest.mark.parametrize("mode", MODES)
async def test_a_human_approves_exactly_what_is_done(mode: str) -> None:
    calls = Calls()
    spec = workflow(
        step("a", "note", input={"to": "{{ input.to }}"}, approval="Send to {{ input.to }}?"),
        step("b", "note", input="after", needs=["a"]),
        step("beside", "note", input="beside"),
        mode=mode,
    )
    stage = Stage(spec, calls.crew)
    await stage.play({"to": "Ada"})
    assert "after" not in calls.made
    (asked,) = stage.questions
    assert (asked["question"], asked["does"]) == (
        "Send to Ada?",
        [{"tool": "note", "input": {"to": "Ada"}}],
    )
    assert len(list(filter(told(ApprovalAsked), stage.events))) == 1
    values = await stage.answer({"decision": "approve", "hash": asked["hash"]})
    assert {"to": "Ada"} in calls.made
    assert values["steps"]["b"]["status"] == "done"
    assert calls.made.count("beside") == 1


async def test_an_approval_of_something_else_is_asked_again() -> None:
    calls = Calls()
    stage = Stage(workflow(step("a", "note", approval=True, input="x")), calls.crew)
    await stage.play({})
    await stage.answer({"decision": "approve", "hash": "of something else"})
    await stage.answer("yes")
    first, second, third = stage.questions
    assert (first["problem"], calls.made) == (None, [])
    assert "hash" in second["problem"]
    assert "decision" in third["problem"]
    await stage.answer({"decision": "approve", "hash": third["hash"]})
    assert calls.made == ["x"]


async def test_arguments_that_changed_since_they_were_approved_are_not_used() -> None:
    calls = Calls()
    stage = Stage(workflow(step("a", "note", approval=True, input="{{ input.x }}")), calls.crew)
    await stage.play({"x": "harmless"})
    approved = stage.questions[0]["hash"]
    await stage.play(
        Command(update={"x": "harmful"}, resume={"decision": "approve", "hash": approved})
    )
    assert calls.made == []
    assert stage.questions[-1]["does"][0]["input"] == "harmful"


async def test_a_refusal_fails_the_step() -> None:
    calls = Calls()
    stage = Stage(workflow(step("a", "note", approval=True)), calls.crew)
    await stage.play({})
    with pytest.raises(StepFailed, match="ApprovalRefused: it was not approved: too early"):
        await stage.answer({"decision": "reject", "reason": "too early"})
    assert calls.made == []


async def test_what_was_approved_is_not_asked_again_when_it_is_tried_again() -> None:
    tried: list[Any] = []

    async def flaky(arguments: Any, use: Use) -> Any:
        tried.append(arguments)
        if len(tried) == 1:
            raise ValueError("not yet")
        return "done"

    retry = {"attempts": 2, "first": 0.01}
    spec = workflow(step("a", "flaky", approval=True, retry=retry))
    stage = Stage(spec, Crew(tools=Tools(flaky=flaky)))
    await stage.play({})
    values = await stage.answer({"decision": "approve", "hash": stage.questions[0]["hash"]})
    assert (values["steps"]["a"]["output"], len(stage.questions)) == ("done", 1)
