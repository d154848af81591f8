"""Variants that are graphs: whoever was chosen goes on when the run is taken up again."""

import asyncio
import operator
from typing import Annotated, Any

import pytest
from langgraph.config import get_config
from langgraph.graph import START, StateGraph
from langgraph.types import interrupt
from typing_extensions import TypedDict

from coordinator.advice import Decision, Question
from coordinator.crew import Crew
from coordinator.errors import StepFailed
from tests.coordinator.stage import FirstArm, Stage, workflow


class InTurn(FirstArm):
    """Advises the first arm, then the second, and so on."""

    def choose(self, question: Question) -> Decision:
        decision = super().choose(question)
        arm = question.arms[(len(self.asked) - 1) % len(question.arms)]
        return Decision(decision.decision_id, arm, "it is its turn")


class State(TypedDict):
    log: Annotated[list[str], operator.add]


class Pair:
    """Two graphs of two nodes each: the second node does what the test says, by name."""

    names = ("A", "B")

    def __init__(self, **does: Any) -> None:
        self._does = does

    async def run(self, name: str, given: Any) -> Any:
        async def one(_: State) -> Any:
            return {"log": [f"{name}1"]}

        async def two(_: State) -> Any:
            return {"log": [f"{name}2 {await self._does[name]()}"]}

        builder: Any = StateGraph(State)
        builder.add_node("one", one).add_node("two", two)
        builder.add_edge(START, "one").add_edge("one", "two")
        return (await builder.compile().ainvoke(given, get_config()))["log"]


async def ask() -> Any:
    return interrupt("well?")


async def fail() -> Any:
    raise ValueError("as it was told")


def stage(graphs: Pair, **more: Any) -> Stage:
    variants = [{"id": name.lower(), "graph": name} for name in graphs.names]
    one = {"id": "s", "variants": variants, "input": {"log": []}, **more}
    return Stage(workflow(one, mode="adaptive"), Crew(graphs=graphs), advisor=InTurn())


@pytest.mark.parametrize(
    ("more", "whole"), [({}, list), ({"map": {"over": [1]}}, lambda log: [log])]
)
async def test_an_answer_reaches_the_graph_that_asked(more: Any, whole: Any) -> None:
    played = stage(Pair(A=ask, B=ask), **more)
    await played.play({})
    steps = (await played.answer("yes"))["steps"]
    assert steps["s"]["output"] == whole(["A1", "A2 yes"])
    assert steps["s"]["by"] == "graph A (a)"


async def test_an_answer_reaches_the_graph_that_asked_after_another_had_failed() -> None:
    retry = {"attempts": 2, "first": 0.01, "jitter": False}
    played = stage(Pair(A=fail, B=ask), retry=retry)
    await played.play({})
    assert (await played.answer("yes"))["steps"]["s"]["output"] == ["B1", "B2 yes"]


async def test_the_graph_that_was_cut_off_goes_on_where_it_was() -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def wait() -> str:
        begun.set()
        await go_on.wait()
        return "at last"

    played = stage(Pair(A=wait, B=wait))
    first = asyncio.create_task(played.play({}))
    await begun.wait()
    first.cancel()
    await asyncio.wait({first})
    go_on.set()
    assert (await played.play(None))["steps"]["s"]["output"] == ["A1", "A2 at last"]


async def test_what_one_graph_has_begun_is_not_given_to_another_if_it_is_gone() -> None:
    played = stage(Pair(A=ask, B=ask))
    await played.play({})
    played.document["steps"][0]["variants"][0]["id"] = "c"
    with pytest.raises(StepFailed, match="begun by variant 'a', which is no longer there"):
        await played.answer("yes")
