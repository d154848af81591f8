"""What a step does with its condition, its failures, its cache, its budget."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from langgraph.config import get_config
from langgraph.graph import START, StateGraph
from typing_extensions import TypedDict

from coordinator.crew import Crew
from coordinator.errors import StepFailed
from coordinator.step_events import AttemptFailed, GraphLeft, StepCached
from coordinator.toolbox import Use
from tests.coordinator.stage import GRACE, MODES, Calls, Stage, Tools, step, told, workflow
from tests.simulation.simloop import SimLoop, simulate


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


@pytest.mark.parametrize("mode", MODES)
def test_attempts_that_failed_before_a_run_was_cut_off_count_for_it_and_its_budget(
    mode: str,
) -> None:
    async def main(loop: SimLoop) -> None:
        calls = Calls()
        one = step("a", "fail", retry={"attempts": 9, "first": 60}, budget={"steps": 3})
        stage = Stage(workflow(one, mode=mode), calls.crew, run_id="first")
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                await stage.play({})
        for run_id, made in ("first", 3), ("second", 6):
            stage.run_id = run_id
            with pytest.raises(StepFailed, match=r"BudgetSpent: .*3 steps"):
                await stage.play(None)
            assert len(calls.made) == made

    simulate(0, main)


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


async def test_a_time_out_within_a_tool_is_not_taken_for_that_of_its_step() -> None:
    async def dial(arguments: Any, use: Use) -> None:
        raise TimeoutError("nobody answers")

    one = step("a", "dial", timeout=60)
    with pytest.raises(StepFailed, match="step 'a': TimeoutError: nobody answers"):
        await Stage(workflow(one), Crew(tools=Tools(dial=dial))).play({})


class Quitter:
    """A graph as a step, which cancels itself."""

    names = ("quitter",)

    async def run(self, name: str, given: Any) -> Any:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)


@pytest.mark.parametrize("mode", MODES)
async def test_a_graph_that_cancels_itself_has_failed_and_that_is_said(mode: str) -> None:
    one = {"id": "a", "graph": "quitter", "on_error": "continue"}
    stage = Stage(workflow(one, mode=mode), Crew(graphs=Quitter()))
    error = (await stage.play({}))["steps"]["a"]["error"]
    assert error == {"error": "CancelledItself", "message": "it cancelled itself"}


class Stubborn:
    """A graph as a step, whose node does not stop when it is cancelled."""

    names = ("stubborn",)

    def __init__(self) -> None:
        self.ends = asyncio.Event()

    async def run(self, name: str, given: Any) -> Any:
        async def stay(_: Any) -> Any:
            while not self.ends.is_set():
                with suppress(asyncio.CancelledError):
                    await self.ends.wait()
            return {"said": name}

        state = TypedDict("state", {"said": str})  # noqa: UP013 - made anew for each
        builder: Any = StateGraph(state)
        builder.add_node("stay", stay).add_edge(START, "stay")
        return await builder.compile().ainvoke(given, get_config())


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("limit", [{"timeout": 2}, {"budget": {"seconds": 2}}])
def test_a_graph_that_does_not_stop_is_left_behind_and_counted_until_it_ends(
    mode: str, limit: Any
) -> None:
    async def main(loop: SimLoop) -> None:
        graphs = Stubborn()
        one = {"id": "a", "graph": "stubborn", "on_error": "continue", **limit}
        stage = Stage(workflow(one, mode=mode), Crew(graphs=graphs))
        assert (await stage.play({}))["steps"]["a"]["status"] == "failed"
        assert (loop.time(), len(stage.zombies)) == (2 + GRACE, 1)
        left = filter(told(GraphLeft), stage.events)
        assert list(left) == [GraphLeft("stubborn", "w", "a", None)]
        graphs.ends.set()
        await asyncio.sleep(0.1)  # on virtual time
        assert len(stage.zombies) == 0

    simulate(0, main)


def test_a_step_that_took_too_long_is_told_by_its_limit_not_by_when_it_stopped() -> None:
    async def main(_: SimLoop) -> None:
        one = {"id": "a", "graph": "stubborn", "on_error": "continue", "timeout": 2}
        graphs = Stubborn()
        stage = Stage(workflow(one), Crew(graphs=graphs))
        error = (await stage.play({}))["steps"]["a"]["error"]
        graphs.ends.set()
        assert error == {"error": "StepTimeout", "message": "it took longer than 2 seconds"}

    simulate(0, main)


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
    stage = Stage(workflow(one), calls.crew)
    with pytest.raises(StepFailed, match=r"BudgetSpent: the budget of step 'a' is spent: 2 steps"):
        await stage.play({})
    assert len(calls.made) == 2
    errors = [failed.error for failed in filter(told(AttemptFailed), stage.events)]
    assert errors == ["ValueError", "ValueError", "BudgetSpent"], "which would be so again"


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


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("limit", [None, 5.0])
async def test_a_step_fails_by_itself_whose_output_could_not_be_shown(
    mode: str, limit: float | None
) -> None:
    async def nest(levels: int, use: Use) -> Any:
        output: Any = []
        for _ in range(levels):
            output = [output]
        return output

    crew = Crew(tools=Tools(nest=nest))
    spec = workflow(
        step("deep", "nest", input=250, on_error="continue", timeout=limit),
        step("put_right", "nest", input=250, fallbacks=[{"tool": "nest", "input": 0}]),
        step("well", "nest", input=200),
        mode=mode,
    )
    steps = (await Stage(spec, crew).play({}))["steps"]
    assert {name: one["status"] for name, one in steps.items()} == {
        "deep": "failed",
        "put_right": "done",
        "well": "done",
    }
    assert (steps["deep"]["error"]["error"], steps["put_right"]["output"]) == ("OutputRefused", [])
