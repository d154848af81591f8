"""Steps to which a run does not come in their turn: it fails and says so, and waits for nobody."""

import asyncio
from typing import Any

import pytest
from langgraph.types import Command, Send

from coordinator.crew import Crew
from coordinator.errors import (
    CoordinatorError,
    NeedsUnmet,
    StepsAtOnce,
    StepsLeftOut,
    StepsRepeated,
    StepsSentTwice,
)
from coordinator.toolbox import Use
from tests.coordinator.stage import Stage, Tools, echo, step, workflow
from tests.simulation.simloop import SimLoop, simulate

MODES = ["parallel", "adaptive"]
DURABILITIES = ["sync", "async", "exit"]
RETRY = {"attempts": 2, "first": 1, "jitter": False}


class Chain:
    """A workflow in which ``b`` needs ``a``, which is tried twice; `goes_on` with a command."""

    def __init__(self, mode: str, durability: str, **of_b: Any) -> None:
        self.failures = 0
        of_a = {"retry": RETRY}
        steps = [step("b", needs=["a"], **of_b), step("a", "flaky", **of_a), step("beside")]
        crew = Crew(tools=Tools(echo=echo, flaky=self._flaky))
        self.stage = Stage(workflow(*steps, mode=mode), crew, durability=durability)

    async def _flaky(self, arguments: Any, use: Any) -> Any:
        self.failures += 1
        if self.failures % 2:
            raise ValueError("not yet")
        return arguments

    async def goes_on(self, command: Command[Any]) -> dict[str, Any]:
        async with asyncio.timeout(60):
            return await self.stage.play(command)

    @property
    def ended(self) -> list[str]:
        return [name for update in self.stage.updates for name in update]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("durability", DURABILITIES)
def test_a_step_that_was_made_to_need_another_while_it_asked_says_that_it_is_not_there(
    mode: str, durability: str
) -> None:
    async def main(_: SimLoop) -> None:
        chain = Chain(mode, durability, approval=True)
        await chain.stage.play({})
        answer = {"decision": "approve", "hash": chain.stage.questions[0]["hash"]}
        before = chain.stage.document
        first, *others = before["steps"]
        added = [{**first, "needs": ["a", "c"]}, *others, step("c")]
        chain.stage.document = {**before, "steps": added}
        with pytest.raises(NeedsUnmet, match="step 'b' needs 'c', to which this run does not"):
            await chain.goes_on(Command(resume=answer))
        chain.stage.document = before
        values = await chain.goes_on(Command(resume=answer))
        assert values["steps"]["b"]["status"] == "done"

    simulate(0, main)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("durability", DURABILITIES)
def test_a_run_that_is_sent_past_what_a_step_needs_says_so(mode: str, durability: str) -> None:
    async def main(_: SimLoop) -> None:
        chain = Chain(mode, durability)
        await chain.stage.play({})
        with pytest.raises(NeedsUnmet, match="step 'b' needs 'a'"):
            await chain.goes_on(Command(goto="b"))

    simulate(0, main)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("durability", DURABILITIES)
@pytest.mark.parametrize(
    ("goto", "ended"),
    [
        ("beside", ["beside"]),
        (["b", "a"], ["a", "b"]),
        ([Send("b", {}), Send("a", {})], ["a", "b"]),
    ],
)
def test_a_run_that_is_sent_to_all_that_its_steps_need_does_them(
    mode: str, durability: str, goto: Any, ended: list[str]
) -> None:
    async def main(_: SimLoop) -> None:
        chain = Chain(mode, durability)
        await chain.stage.play({})
        chain.stage.updates.clear()
        await chain.goes_on(Command(goto=goto))
        assert chain.ended == ended

    simulate(0, main)


@pytest.mark.parametrize("mode", ["sequential", *MODES])
@pytest.mark.parametrize("durability", DURABILITIES)
@pytest.mark.parametrize(
    "goto",
    [[Send("a", {}), Send("a", {})], ["a", Send("a", {})], [Send("a", {}), Send("a", {}), "b"]],
)
def test_a_run_that_is_sent_to_a_step_twice_says_so(mode: str, durability: str, goto: Any) -> None:
    async def main(_: SimLoop) -> None:
        chain = Chain(mode, durability)
        await chain.stage.play({})
        chain.stage.updates.clear()
        with pytest.raises(StepsSentTwice, match="sent to steps 'a' more than once"):
            await chain.goes_on(Command(goto=goto))
        assert chain.ended == []

    simulate(0, main)


def listed(mode: str, **of_a: Any) -> dict[str, Any]:
    return workflow(step("c"), step("a", **of_a), step("b", needs=["a"]), mode=mode)


def asking(mode: str, *added: Any) -> dict[str, Any]:
    return workflow(step("before"), step("asks", approval=True), step("after"), *added, mode=mode)


async def test_a_run_that_began_side_by_side_does_no_step_in_sequence() -> None:
    did: list[str] = []

    async def note(arguments: Any, use: Use) -> None:
        did.append(use.step)

    stage = Stage(listed("parallel", approval=True), Crew(tools=Tools(echo=note)))
    await stage.play({})
    before, stage.document = stage.document, listed("sequential", approval=True)
    answer = {"decision": "approve", "hash": stage.questions[0]["hash"]}
    with pytest.raises(StepsAtOnce, match="steps 'c', 'a', 'b' are to begin at once"):
        await stage.answer(answer)
    stage.document = before
    await stage.answer(answer)
    assert did == ["c", "a", "b"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("durability", DURABILITIES)
async def test_a_run_that_began_in_sequence_leaves_out_no_step_side_by_side(
    mode: str, durability: str
) -> None:
    stage = Stage(asking("sequential"), Crew(tools=Tools(echo=echo)), durability=durability)
    await stage.play({})
    before, stage.document = stage.document, asking(mode)
    answer = {"decision": "approve", "hash": stage.questions[0]["hash"]}
    with pytest.raises(StepsLeftOut, match="does not come to steps 'before', 'after': it began"):
        await stage.answer(answer)
    stage.document = before
    values = await stage.answer(answer)
    assert set(values["steps"]) == {"before", "asks", "after"}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("durability", DURABILITIES)
async def test_a_run_leaves_out_no_step_that_was_added_while_it_asked(
    mode: str, durability: str
) -> None:
    stage = Stage(asking(mode), Crew(tools=Tools(echo=echo)), durability=durability)
    await stage.play({})
    stage.document = asking(mode, step("added"))
    answer = {"decision": "approve", "hash": stage.questions[0]["hash"]}
    with pytest.raises(StepsLeftOut, match="does not come to steps 'added'"):
        await stage.answer(answer)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("durability", DURABILITIES)
async def test_a_run_that_was_sent_to_a_step_is_answered_there(mode: str, durability: str) -> None:
    stage = Stage(asking(mode), Crew(tools=Tools(echo=echo)), durability=durability)
    await stage.play({})
    answer = {"decision": "approve", "hash": stage.questions[0]["hash"]}
    await stage.answer(answer)
    stage.updates.clear()
    await stage.play(Command(goto="asks"))
    await stage.answer(answer)
    assert [name for update in stage.updates for name in update] == ["__interrupt__", "asks"]


async def test_a_sequential_run_is_sent_to_one_step_at_most() -> None:
    stage = Stage(listed("sequential"), Crew(tools=Tools(echo=echo)))
    await stage.play({})
    stage.updates.clear()
    with pytest.raises(StepsAtOnce, match="steps 'a', 'b' are to begin at once"):
        await stage.play(Command(goto=["a", "b"]))
    assert stage.updates == []


async def test_a_sequential_run_goes_on_from_the_step_that_it_is_sent_to() -> None:
    stage = Stage(listed("sequential"), Crew(tools=Tools(echo=echo)))
    await stage.play({})
    stage.updates.clear()
    await stage.play(Command(goto="a"))
    assert [name for update in stage.updates for name in update] == ["a", "b"]


def in_turn(names: str) -> dict[str, Any]:
    """One step after the other; ``x`` asks first."""
    steps = [step(name, "note", **({"approval": True} if name == "x" else {})) for name in names]
    return workflow(*steps, mode="sequential")


class InTurn:
    """A sequential workflow that waits at ``x``; `goes_on` with another one."""

    def __init__(self, names: str, durability: str = "sync", **more: Any) -> None:
        self.did = ""
        document = {**in_turn(names), **more}
        self.stage = Stage(document, Crew(tools=Tools(note=self._note)), durability=durability)

    async def _note(self, arguments: Any, use: Use) -> None:
        self.did += use.step

    async def goes_on(self, names: str) -> str:
        """Answer what ``x`` asks, and return all that has been done by then."""
        self.stage.document = in_turn(names)
        question = self.stage.questions[0]
        await self.stage.answer({"decision": "approve", "hash": question["hash"]})
        return self.did


@pytest.mark.parametrize("durability", DURABILITIES)
@pytest.mark.parametrize(
    ("names", "error", "said"),
    [
        ("xabc", StepsRepeated, "would do steps 'a', 'b' again: it began with another workflow"),
        ("axbc", StepsRepeated, "would do steps 'b' again"),
        ("dabxc", StepsLeftOut, "does not come to steps 'd'"),
        ("abcx", StepsLeftOut, "does not come to steps 'c'"),
    ],
)
async def test_a_sequential_run_does_no_step_twice_or_never_when_the_order_has_changed(
    names: str, error: type[CoordinatorError], said: str, durability: str
) -> None:
    run = InTurn("abxc", durability)
    await run.stage.play({})
    with pytest.raises(error, match=said):
        await run.goes_on(names)
    assert run.did == "ab"
    assert await run.goes_on("abxc") == "abxc"


@pytest.mark.parametrize("names", ["abxcd", "bax", "bxc", "axdc"])
async def test_a_sequential_run_goes_on_with_changes_of_what_is_over_or_to_come(
    names: str,
) -> None:
    run = InTurn("abxc" if "b" in names else "axc")
    await run.stage.play({})
    before = run.did
    assert await run.goes_on(names) == before + names[names.index("x") :]


async def test_a_sequential_run_leaves_out_no_step_that_was_added_before_its_first() -> None:
    run = InTurn("x", mode="parallel")
    await run.stage.play({})
    with pytest.raises(StepsLeftOut, match="does not come to steps 'a'"):
        await run.goes_on("ax")


async def test_a_sequential_run_that_was_sent_back_does_again_what_comes_then() -> None:
    run = InTurn("abxc")
    await run.stage.play({})
    await run.goes_on("abxc")
    await run.stage.play(Command(goto="a"))
    assert await run.goes_on("abxc") == "abxc" + "abxc"


@pytest.mark.parametrize("mode", ["sequential", *MODES])
@pytest.mark.parametrize("durability", DURABILITIES)
async def test_a_run_says_what_is_left_when_the_step_that_asked_is_no_longer_there(
    mode: str, durability: str
) -> None:
    run = InTurn("ax", durability, mode=mode)
    await run.stage.play({})
    before = run.stage.document
    answer = {"decision": "approve", "hash": run.stage.questions[0]["hash"]}
    ways: list[Command[Any] | None] = [Command(resume=answer), None]
    for given in ways:
        run.stage.document = {**in_turn("ay"), "mode": mode}
        with pytest.raises(StepsLeftOut, match="does not come to steps 'y'"):
            await run.stage.play(given)
    run.stage.document = before
    await run.stage.answer(answer)
    assert run.did == "ax"


@pytest.mark.parametrize("mode", ["sequential", *MODES])
async def test_a_run_begins_anew_with_another_workflow_whatever_was_asked_before(mode: str) -> None:
    run = InTurn("ax", mode=mode)
    await run.stage.play({})
    run.stage.document = {**in_turn("ay"), "mode": mode}
    await run.stage.play({})
    assert run.did in {"aay", "aya"}
    await run.stage.play(None)
    assert len(run.did) == 3, "nothing is left of it"


@pytest.mark.parametrize("mode", ["sequential", *MODES])
async def test_a_run_ends_whose_last_step_was_taken_out_while_it_asked(mode: str) -> None:
    run = InTurn("abx", mode=mode)
    await run.stage.play({})
    run.stage.document = {**in_turn("ab"), "mode": mode}
    await run.stage.play(None)
    assert run.did == "ab"


@pytest.mark.parametrize(("as_node", "question"), [(None, "x"), ("a", "x"), ("x", "y")])
async def test_a_sequential_run_goes_on_behind_the_step_as_which_its_state_was_changed(
    as_node: str | None, question: str
) -> None:
    said: list[Any] = []

    async def note(arguments: Any, use: Use) -> None:
        said.append(arguments)

    more: dict[str, Any] = {"input": "{{ input.word }}", "approval": True}
    steps = [step("a", "note", input="{{ input.word }}")]
    steps += [step(name, "note", **more) for name in ("x", "y")]
    stage = Stage(workflow(*steps, mode="sequential"), Crew(tools=Tools(note=note)))
    await stage.play({"word": "first"})
    await stage.update({"word": "second"}, as_node)
    await stage.play(None)
    asked = stage.questions[-1]
    assert (asked["step"], said) == (question, ["first"])
    await stage.answer({"decision": "approve", "hash": asked["hash"]})
    assert said == ["first", "second"]


@pytest.mark.parametrize("mode", MODES)
async def test_a_run_whose_steps_gave_way_to_a_change_of_its_state_is_not_taken_for_finished(
    mode: str,
) -> None:
    run = InTurn("ax", mode=mode)
    await run.stage.play({})
    await run.stage.update({}, "a")
    with pytest.raises(StepsLeftOut, match="does not come to steps 'a', 'x'"):
        await run.stage.play(None)
    await run.stage.update({}, "__start__")
    await run.stage.play(None)
    answer = {"decision": "approve", "hash": run.stage.questions[-1]["hash"]}
    await run.stage.answer(answer)
    await run.stage.play(None)
    assert run.did == "aax", "nothing is left of it"
