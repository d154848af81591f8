"""What is shown for an approval: all that would be done, and no more than one value may be."""

from typing import Any

import pytest

from coordinator.crew import Crew
from coordinator.errors import StepFailed
from coordinator.proposal import MOST_PROPOSED
from coordinator.sandbox import MOST_EFFORT
from tests.coordinator.stage import Stage, Tools, echo, step, workflow


def asking(**more: Any) -> Stage:
    return Stage(workflow(step("a", approval=True, **more)), Crew(tools=Tools(echo=echo)))


async def test_every_input_is_shown_of_everybody_who_may_do_it() -> None:
    fallback = {"tool": "echo", "input": "{{ index }}"}
    stage = asking(map={"over": ["x", "y"]}, input="{{ item }}", fallbacks=[fallback])
    await stage.play({})
    assert stage.questions[0]["does"] == [
        {"tool": "echo", "input": ["x", "y"]},
        {"tool": "echo", "input": [0, 1]},
    ]


async def test_a_map_over_nothing_is_approved_as_such() -> None:
    stage = asking(map={"over": []}, input="{{ item }}")
    await stage.play({})
    assert stage.questions[0]["does"] == [{"tool": "echo", "input": []}]


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ({"map": {"over": list(range(50))}, "input": {"t": "{{ input.big }}"}}, "input 4 of 50"),
        ({"input": ["{{ input.big }}"] * 5}, "give it less, or map over fewer items"),
        ({"input": "{{ input.big }}", "fallbacks": [{"tool": "echo"}] * 4}, "input 4 of 5"),
    ],
)
async def test_what_is_too_large_to_be_looked_at_is_not_asked(what: Any, said: str) -> None:
    stage = asking(**what)
    with pytest.raises(StepFailed, match=f"ExpressionFailed: .*{MOST_PROPOSED} at most.*{said}"):
        await stage.play({"big": "x" * (MOST_PROPOSED // 4)})
    assert stage.questions == []


async def test_what_is_approved_together_may_take_no_more_effort_than_one_value() -> None:
    stage = asking(map={"over": list(range(50))}, input="{{ input.many | sum }}")
    with pytest.raises(StepFailed, match=f"it takes more than {MOST_EFFORT} .*of 50 that are to"):
        await stage.play({"many": [0] * (MOST_EFFORT // 40)})
    assert stage.questions == []
