"""Who steps in for a step that failed, in their order."""

from typing import Any

import pytest
from langgraph.types import interrupt

from coordinator.crew import Crew
from coordinator.errors import StepFailed
from coordinator.step_events import AttemptFailed
from tests.coordinator.stage import MODES, Calls, Stage, step, told, workflow


@pytest.mark.parametrize("mode", MODES)
async def test_the_first_fallback_that_can_does_it(mode: str) -> None:
    fallbacks = [{"tool": "fail"}, {"tool": "note", "input": "instead"}, {"tool": "hang"}]
    spec = workflow(step("a", "fail", fallbacks=fallbacks), mode=mode)
    result = (await Stage(spec, Calls().crew).play({}))["steps"]["a"]
    assert (result["output"], result["by"], result["attempts"]) == ("instead", "tool note", 3)


async def test_each_fallback_that_fails_is_told_and_the_last_one_is_why() -> None:
    one = step("a", "fail", fallbacks=[{"tool": "fail"}, {"tool": "nobody"}])
    stage = Stage(workflow(one), Calls().crew)
    with pytest.raises(StepFailed, match="nobody"):
        await stage.play({})
    failed = filter(told(AttemptFailed), stage.events)
    assert [(one.by, one.attempt) for one in failed] == [
        ("tool fail", 1),
        ("tool fail", 2),
        ("tool nobody", 3),
    ]


class Asking:
    """A graph as a step, which asks."""

    names = ("asking",)

    async def run(self, name: str, given: Any) -> Any:
        return interrupt("well?")


@pytest.mark.parametrize("mode", MODES)
async def test_a_fallback_that_asks_is_answered_and_no_other_takes_its_place(mode: str) -> None:
    crew = Crew(tools=Calls().crew.tools, graphs=Asking())
    fallbacks = [{"graph": "asking"}, {"tool": "echo"}]
    stage = Stage(workflow(step("a", "fail", fallbacks=fallbacks), mode=mode), crew)
    await stage.play({})
    assert stage.questions == ["well?"]
    result = (await stage.answer("yes"))["steps"]["a"]
    assert (result["output"], result["by"]) == ("yes", "graph asking")
