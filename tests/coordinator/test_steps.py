"""What a step does with its condition, its failures, its approval, its cache, its budget."""

import asyncio
from typing import Any

import pytest
from langgraph.config import get_config
from langgraph.errors import GraphDrained
from langgraph.graph import START, StateGraph
from langgraph.runtime import RunControl
from langgraph.types import Command
from typing_extensions import TypedDict

from coordinator.crew import Crew
from coordinator.errors import StepFailed
from coordinator.step_events import ApprovalAsked, AttemptFailed, StepCached
from coordinator.toolbox import Use
from tests.coordinator.stage import Stage, Tools, echo, step, workflow
from tests.simulation.simloop import SimLoop, simulate

MODES = ["sequential", "parallel"]


class Calls:
    """Tools that remember how they were used."""

    def __init__(self) -> None:
        self.made: list[Any] = []

    async def note(self, arguments: Any, use: Use) -> Any:
        self.made.append(arguments)
        return arguments

    async def fail(self, arguments: Any, use: Use) -> Any:
        self.made.append(arguments)
        raise ValueError("as it was told")

    async def odd(self, number: int, use: Use) -> Any:
        self.made.append(number)
        if number % 2:
            raise KeyError(number)
        return number

    async def hang(self, arguments: Any, use: Use) -> Any:
        await asyncio.Event().wait()

    @property
    def crew(self) -> Crew:
        tools = Tools(note=self.note, fail=self.fail, odd=self.odd, hang=self.hang, echo=echo)
        return Crew(tools=tools)


def told(event: type) -> Any:
    return lambda one: isinstance(one, event)


@pytest.mark.parametrize("mode", MODES)
async def test_values_go_from_step_to_step(mode: str) -> None:
    spec = workflow(
        step("a", input={"n": "{{ input.n }}"}),
        step("b", input="{{ steps.a.output.n + 1 }} of {{ steps.a.status }}"),
        mode=mode,
    )
    values = await Stage(spec, Calls().crew).play({"n": 1})
    assert {name: one["output"] for name, one in values["steps"].items()} == {
        "a": {"n": 1},
        "b": "2 of done",
    }


@pytest.mark.parametrize("mode", MODES)
async def test_a_step_whose_condition_is_false_is_skipped_and_others_go_on(mode: str) -> None:
    calls = Calls()
    spec = workflow(
        step("a", "note", when="input.n > 5"),
        step("b", "note", input="{{ steps.a.status }}", needs=["a"]),
        mode=mode,
    )
    values = await Stage(spec, calls.crew).play({"n": 1})
    assert calls.made == ["skipped"]
    assert values["steps"]["a"]["output"] is None


async def test_what_is_missing_fails_the_step_with_a_clear_word() -> None:
    with pytest.raises(StepFailed, match=r"step 'a': ExpressionFailed: .*no attribute 'n'"):
        await Stage(workflow(step("a", input="{{ input.n }}")), Calls().crew).play({})


def test_a_step_is_tried_as_often_as_it_says_and_waits_longer_each_time() -> None:
    async def main(loop: SimLoop) -> None:
        times: list[float] = []

        async def flaky(arguments: Any, use: Use) -> Any:
            times.append(loop.time())
            if len(times) < 3:
                raise ValueError("not yet")
            return "done"

        retry = {"attempts": 4, "first": 1, "factor": 3, "jitter": False}
        stage = Stage(workflow(step("a", "flaky", retry=retry)), Crew(tools=Tools(flaky=flaky)))
        result = (await stage.play({}))["steps"]["a"]
        assert times == [0, 1, 4]
        assert (result["output"], result["attempts"], result["tool_calls"]) == ("done", 3, 3)
        failed = list(filter(told(AttemptFailed), stage.events))
        assert [(one.attempt, one.error) for one in failed] == [
            (1, "ValueError"),
            (2, "ValueError"),
        ]

    simulate(0, main)


async def test_an_error_that_is_not_among_those_named_is_not_tried_again() -> None:
    calls = Calls()
    retry = {"attempts": 3, "first": 0.01, "on": ["KeyError"]}
    with pytest.raises(StepFailed, match="step 'a': ValueError: as it was told"):
        await Stage(workflow(step("a", "fail", retry=retry)), calls.crew).play({})
    assert len(calls.made) == 1


@pytest.mark.parametrize("mode", MODES)
async def test_the_first_fallback_that_can_does_it(mode: str) -> None:
    fallbacks = [{"tool": "fail"}, {"tool": "note", "input": "instead"}, {"tool": "hang"}]
    spec = workflow(step("a", "fail", fallbacks=fallbacks), mode=mode)
    result = (await Stage(spec, Calls().crew).play({}))["steps"]["a"]
    assert (result["output"], result["by"], result["attempts"]) == ("instead", "tool note", 3)


@pytest.mark.parametrize("mode", MODES)
async def test_a_failure_that_may_be_is_a_result_that_others_see(mode: str) -> None:
    spec = workflow(
        step("a", "fail", on_error="continue"),
        step("b", input="{{ steps.a.error.error }}: {{ steps.a.error.message }}"),
        mode=mode,
    )
    steps = (await Stage(spec, Calls().crew).play({}))["steps"]
    assert steps["a"]["status"] == "failed"
    assert steps["b"]["output"] == "ValueError: as it was told"


@pytest.mark.parametrize("mode", MODES)
async def test_a_failure_is_put_right_by_its_compensation_and_then_told(mode: str) -> None:
    calls = Calls()
    spec = workflow(
        step("a", "note", input="a"),
        step("b", "fail", needs=["a"], input="b", on_error={"compensate": "undo"}),
        step("undo", "note", input="undo {{ steps.a.output }}: {{ steps.b.error.message }}"),
        step("c", "note", needs=["b"]),
        mode=mode,
    )
    stage = Stage(spec, calls.crew)
    with pytest.raises(StepFailed, match="step 'b': ValueError"):
        await stage.play({})
    assert calls.made == ["a", "b", "undo a: as it was told"]
    assert any("undo" in update for update in stage.updates)


@pytest.mark.parametrize("more", [{}, {"on_error": "continue"}])
async def test_a_compensation_that_fails_too_is_told_beside_what_it_was_for(more: Any) -> None:
    undo = step("undo", "fail", **more)
    spec = workflow(step("b", "fail", on_error={"compensate": "undo"}), undo)
    with pytest.raises(StepFailed, match=r"'b': ValueError.*compensation failed: .*as it was told"):
        await Stage(spec, Calls().crew).play({})


def test_what_takes_too_long_is_cancelled_and_counts_as_a_failure() -> None:
    async def main(loop: SimLoop) -> None:
        spec = workflow(step("a", "hang", timeout=3, fallbacks=[{"tool": "echo", "input": 1}]))
        stage = Stage(spec, Calls().crew)
        result = (await stage.play({}))["steps"]["a"]
        assert (result["output"], loop.time()) == (1, 3)
        (failed,) = filter(told(AttemptFailed), stage.events)
        assert failed.error == "StepTimeout"

    simulate(0, main)


# Maps.


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

        async def work(item: Any, use: Use) -> Any:
            nonlocal working, most
            working += 1
            most = max(most, working)
            await asyncio.sleep(1)
            working -= 1

        each = {"over": [1, 2, 3, 4, 5, 6, 7], "concurrency": 3}
        await Stage(workflow(step("a", "work", map=each)), Crew(tools=Tools(work=work))).play({})
        assert (most, loop.time()) == (3, 3)

    simulate(0, main)


async def test_items_that_fail_are_told_and_the_others_kept_if_that_may_be() -> None:
    each = {"over": [0, 1, 2, 3]}
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


@pytest.mark.parametrize("mode", MODES)
async def test_a_map_that_is_to_stop_begins_no_more_items_and_goes_on_with_the_rest(
    mode: str,
) -> None:
    made, control = [], RunControl()

    async def work(number: int, use: Use) -> Any:
        made.append(number)
        if number == 2:
            control.request_drain()
            await asyncio.sleep(0)
        return number

    each = {"over": [1, 2, 3, 4, 5], "concurrency": 2}
    spec = workflow(step("a", "work", map=each, input="{{ item }}"), step("b"), mode=mode)
    stage = Stage(spec, Crew(tools=Tools(work=work, echo=echo)))
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


# Approval.


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


# Caches and budgets.


async def test_the_same_key_is_not_worked_for_twice_in_its_time() -> None:
    calls = Calls()
    spec = workflow(step("a", "note", cache={"ttl": 60}, input="{{ input.n }}"))
    stage = Stage(spec, calls.crew)
    outputs = [(await stage.play({"n": n}))["steps"]["a"]["output"] for n in (1, 1, 2)]
    assert (outputs, calls.made) == ([1, 1, 2], [1, 2])
    assert len(list(filter(told(StepCached), stage.events))) == 1


@pytest.mark.parametrize(
    ("key", "made"), [("{{ item.k }}", [1, 3]), (["{{ index }}"], [1, 2, 3]), (None, [1, 2, 3])]
)
async def test_items_with_the_same_key_are_not_worked_for_twice(key: Any, made: list[int]) -> None:
    calls = Calls()
    each = {"over": [{"k": "x", "n": 1}, {"k": "x", "n": 2}, {"k": "y", "n": 3}], "concurrency": 1}
    spec = workflow(step("a", "note", map=each, input="{{ item.n }}", cache={"key": key}))
    await Stage(spec, calls.crew).play({})
    assert calls.made == made


def test_what_is_cached_is_done_again_when_its_time_is_over() -> None:
    async def main(loop: SimLoop) -> None:
        calls = Calls()
        stage = Stage(workflow(step("a", "note", cache={"key": "k", "ttl": 5})), calls.crew)
        for seconds in (4, 2, 0):
            await stage.play({})
            await asyncio.sleep(seconds)
        assert len(calls.made) == 2

    simulate(0, main)


async def test_nobody_is_given_what_was_done_for_another() -> None:
    calls = Calls()
    spec = workflow(step("a", "note", cache={"key": "k"}))
    stage = Stage(spec, calls.crew, owner="ada")
    await stage.play({})
    await Stage(spec, calls.crew, cache=stage.cache, owner="bob").play({})
    assert len(calls.made) == 2


@pytest.mark.parametrize("mode", MODES)
async def test_a_budget_of_tool_calls_ends_a_workflow(mode: str) -> None:
    calls = Calls()
    steps = [step(name, "note", needs=needs) for name, needs in (("a", []), ("b", ["a"]))]
    spec = workflow(*steps, mode=mode, budget={"tool_calls": 1})
    with pytest.raises(StepFailed, match="'b': BudgetSpent: the budget of workflow 'w' is spent"):
        await Stage(spec, calls.crew).play({})
    assert len(calls.made) == 1


async def test_a_budget_of_a_step_counts_its_attempts() -> None:
    calls = Calls()
    one = step("a", "fail", retry={"attempts": 5, "first": 0.01}, budget={"steps": 2})
    with pytest.raises(StepFailed, match="BudgetSpent: the budget of step 'a' is spent: 2 steps"):
        await Stage(workflow(one), calls.crew).play({})
    assert len(calls.made) == 2


def test_a_budget_of_seconds_cuts_off_what_works() -> None:
    async def main(loop: SimLoop) -> None:
        spec = workflow(step("a", "hang", timeout=60), budget={"seconds": 7})
        with pytest.raises(StepFailed, match=r"BudgetSpent: .*7 seconds"):
            await Stage(spec, Calls().crew).play({})
        assert loop.time() == 7

    simulate(0, main)


async def test_what_a_service_has_none_of_is_said() -> None:
    for target, said in (("agent", "no agents"), ("tool", "no tools"), ("graph", "no graphs")):
        with pytest.raises(StepFailed, match=f"NobodyThere: there are {said}"):
            await Stage(workflow({"id": "a", target: "x"}), Crew()).play({})


class Inner:
    """A graph as a step; its state has a key by the name of what workflows keep."""

    names = ("inner",)

    async def run(self, name: str, given: Any) -> Any:
        async def count(state: Any) -> Any:
            return {"steps": state["steps"] + 1}

        state = TypedDict("state", {"steps": int})  # noqa: UP013 - made anew for each
        builder: Any = StateGraph(state)
        builder.add_node("count", count).add_edge(START, "count")
        return await builder.compile().ainvoke(given, get_config())


@pytest.mark.parametrize("mode", MODES)
async def test_what_a_graph_within_keeps_is_not_taken_for_results(mode: str) -> None:
    first = {"id": "a", "graph": "inner", "input": {"steps": 1}}
    second = {"id": "b", "graph": "inner", "input": {"steps": "{{ steps.a.output.steps }}"}}
    stage = Stage(workflow(first, second, mode=mode), Crew(graphs=Inner()))
    assert (await stage.play({}))["steps"]["b"]["output"] == {"steps": 3}


async def test_a_second_run_on_a_thread_shows_nothing_of_another_workflow() -> None:
    stage = Stage(workflow(step("a"), step("b")), Calls().crew)
    await stage.play({})
    stage.document = workflow(step("c"))
    assert set((await stage.play({}))["steps"]) == {"c"}
