"""Going on after a crash or a drain: nothing is done twice, no question is answered unseen."""

from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import InvalidUpdateError
from langgraph.types import interrupt

from orchestration.loop.errors import Drained
from orchestration.loop.run import Run, ThreadState
from tests.graphs import plays
from tests.graphs.stage import Stage, new_run, read, record

NO_TASK = "00000000-0000-0000-0000-000000000000"


async def crashed(stage: Stage, run: Run, gate: plays.Gate) -> None:
    """Make an attempt that is cut off at ``gate``, which stays open after."""
    await stage.cut_off(run, gate)
    gate.opened.set()


async def test_a_run_goes_on_from_its_last_checkpoint() -> None:
    gate, log = plays.Gate(), list[str]()
    stage = Stage(work=plays.gated(gate, log))
    run = new_run("work", {"log": []})
    await crashed(stage, run, gate)
    state = await stage.play(run)
    assert (log, read(state.values)["log"]) == (["begin", "work"], ["begin", "work"])


async def test_a_run_without_a_checkpoint_starts_with_its_input() -> None:
    stage = Stage(echo=plays.echo())
    run = new_run("echo", {"text": "x"})
    run.crashes = 1
    assert read((await stage.play(run)).values)["reply"] == "echo:x"


async def test_a_run_on_a_thread_of_others_starts_with_its_input() -> None:
    stage = Stage(log=plays.logging("a"))
    first = new_run("log", {"log": []})
    await stage.play(first)
    second = new_run("log", {"log": ["x"]}, thread_id=first.thread_id)
    second.crashes = 1
    assert read((await stage.play(second)).values)["log"] == ["a", "x", "a"]


async def test_an_uncheckpointed_run_starts_again() -> None:
    gate, log = plays.Gate(), list[str]()
    stage = Stage(work=plays.gated(gate, log))
    run = new_run("work", {"log": []}, ephemeral=True)
    await crashed(stage, run, gate)
    await stage.play(run)
    assert log == ["begin", "begin", "work"]


async def test_an_ephemeral_run_that_asked_for_durability_goes_on() -> None:
    gate, log = plays.Gate(), list[str]()
    stage = Stage(work=plays.gated(gate, log))
    run = new_run("work", {"log": []}, ephemeral=True, durability="sync")
    await crashed(stage, run, gate)
    await stage.play(run)
    assert log == ["begin", "work"]


async def test_a_run_that_had_finished_runs_no_node_again() -> None:
    gate, log = plays.Gate(), list[str]()
    gate.opened.set()
    stage = Stage(work=plays.gated(gate, log))
    run = new_run("work", {"log": []})
    before = await stage.play(run)
    events = record(run)
    assert await stage.play(run) == before
    assert log == ["begin", "work"]
    assert events[1:] == [("values", {"log": ["begin", "work"]})]


async def test_a_run_that_had_asked_does_not_ask_again() -> None:
    asked = 0

    async def ask(_: plays.State) -> plays.State:
        nonlocal asked
        asked += 1
        return {"log": [interrupt("sure?")]}

    stage = Stage(ask=plays.chain(("ask", ask)))
    run = new_run("ask", {"text": "x"})
    before = await stage.play(run)
    events = record(run)
    assert await stage.play(run) == before
    assert (asked, events[-1][1]["__interrupt__"][0]["value"]) == (1, "sure?")


@pytest.mark.parametrize("stop", [{"interrupt_before": ["b"]}, {"interrupt_after": ["a"]}])
async def test_a_run_that_had_come_to_a_breakpoint_does_not_pass_it(stop: dict[str, Any]) -> None:
    stage = Stage(log=plays.logging("a", "b"))
    run = new_run("log", {"log": []}, **stop)
    before = await stage.play(run)
    run.attempt = 0  # as after a drain, which charges no attempt
    assert (await stage.play(run), read(before.values)["log"]) == (before, ["a"])


async def test_a_run_short_of_its_breakpoint_goes_on_to_it() -> None:
    gate, log = plays.Gate(), list[str]()
    stage = Stage(work=plays.gated(gate, log))
    run = new_run("work", {"log": []}, interrupt_after=["work"], stream_mode="updates")
    await crashed(stage, run, gate)
    await stage.play(run)
    assert log == ["begin", "work"]


async def test_a_run_with_a_breakpoint_it_never_came_to_goes_on() -> None:
    gate, log = plays.Gate(), list[str]()
    stage = Stage(work=plays.gated(gate, log))
    run = new_run("work", {"log": []}, interrupt_before=["elsewhere"])
    await crashed(stage, run, gate)
    state = await stage.play(run)
    assert (log, state.interrupted) == (["begin", "work"], False)


async def test_a_run_that_started_at_a_breakpoint_of_another_run_passes_it() -> None:
    gate, log = plays.Gate(), list[str]()
    stage = Stage(work=plays.gated(gate, log))
    first = new_run("work", {"log": []}, interrupt_before=["work"])
    await stage.play(first)
    second = new_run("work", interrupt_before=["work"], thread_id=first.thread_id)
    await crashed(stage, second, gate)
    state = await stage.play(second)
    assert (log, state.interrupted) == (["begin", "work"], False)


async def test_a_fork_is_not_forked_again() -> None:
    gate, log = plays.Gate(), list[str]()
    stage = Stage(work=plays.gated(gate, log))
    first = new_run("work", {"log": []}, interrupt_before=["work"])
    await stage.play(first)
    here = (await stage.state(first)).config["configurable"]["checkpoint_id"]
    point = {"checkpoint_id": here, "interrupt_before": ["work"]}
    fork = new_run("work", thread_id=first.thread_id, **point)
    await crashed(stage, fork, gate)
    count = len(list(stage.saver.list({"configurable": {"thread_id": first.thread_id}})))
    await stage.play(fork)
    after = list(stage.saver.list({"configurable": {"thread_id": first.thread_id}}))
    assert (log, len(after)) == (["begin", "work"], count + 1)


async def test_a_run_with_breakpoints_begins_where_two_tasks_contradicted_each_other() -> None:
    claims = ["left", "right"]

    async def claim(state: dict[str, str]) -> plays.State:
        return {"text": state["name"]} if state["name"] in claims else {}

    stage = Stage(claim=plays.fan("claim", claim, [{"name": "left"}, {"name": "right"}]))
    first = new_run("claim", {"text": "x"})
    with pytest.raises(InvalidUpdateError):
        await stage.play(first)
    claims.pop()
    second = new_run("claim", {"text": "y"}, thread_id=first.thread_id, interrupt_before=["none"])
    assert read((await stage.play(second)).values)["text"] == "left"


async def asked(stage: Stage, graph_id: str) -> Run:
    run = new_run(graph_id, {"text": "x"})
    await stage.play(run)
    return run


def reply(to: Run, **command: Any) -> Run:
    return new_run(to.graph_id, command=command, thread_id=to.thread_id)


def pausing(gate: plays.Gate) -> Any:
    """Return a graph whose node asks, and waits at ``gate`` once it has its answer."""

    async def ask(_: plays.State) -> plays.State:
        answer = interrupt("sure?")
        await gate.wait()
        return {"log": [answer]}

    return plays.chain(("ask", ask))


async def test_an_answer_is_given_again_to_a_node_that_was_cut_off() -> None:
    gate = plays.Gate()
    stage = Stage(ask=pausing(gate))
    run = reply(await asked(stage, "ask"), resume="yes")
    await crashed(stage, run, gate)
    assert read((await stage.play(run)).values)["log"] == ["yes"]


async def test_an_answer_is_not_given_to_the_next_question_after_a_crash() -> None:
    stage = Stage(ask=plays.asking("first?", "second?"))
    run = reply(await asked(stage, "ask"), resume="yes")
    before = await stage.play(run)
    after = await stage.play(run)
    assert (after, [i["value"] for i in read(after.output)["__interrupt__"]]) == (
        before,
        ["second?"],
    )


async def test_the_next_answer_is_given_to_the_next_question() -> None:
    stage = Stage(ask=plays.asking("first?", "second?"))
    first = await asked(stage, "ask")
    await stage.play(reply(first, resume="yes"))
    state = await stage.play(reply(first, resume="yes"))
    assert read(state.values)["log"] == ["yes", "yes"]


async def test_answers_by_id_are_given_once_each_after_a_crash() -> None:
    stage = Stage(ask=plays.asking_in_parallel(["a", "b"]))
    first = await asked(stage, "ask")
    pending = (await stage.state(first)).interrupts
    answers = {each.id: each.value.upper() for each in pending}
    one = dict(list(answers.items())[:1])
    run = reply(first, resume=one)
    before = await stage.play(run)
    assert await stage.play(run) == before
    rest = reply(first, resume={k: v for k, v in answers.items() if k not in one})
    assert sorted(read((await stage.play(rest)).values)["log"]) == ["A", "B"]


async def test_one_answer_to_two_questions_is_refused_as_langgraph_does() -> None:
    stage = Stage(ask=plays.asking_in_parallel(["a", "b"]))
    run = reply(await asked(stage, "ask"), resume="yes")
    for _ in range(2):
        with pytest.raises(RuntimeError, match="multiple pending interrupts"):
            await stage.play(run)


async def test_what_a_command_writes_is_written_once() -> None:
    gate = plays.Gate()
    stage = Stage(ask=pausing(gate))
    run = reply(await asked(stage, "ask"), resume="yes", update={"log": ["noted"]})
    await crashed(stage, run, gate)
    assert read((await stage.play(run)).values)["log"] == ["noted", "yes"]


@pytest.mark.parametrize(
    ("update", "written"),
    [({"log": ["u"]}, ["u"]), ([["log", ["u"]], ["log", ["v"]]], ["u", "v"]), (None, [])],
)
@pytest.mark.parametrize("goto", ["work", ["work"], {"node": "work", "input": {}}])
async def test_where_a_command_goes_it_goes_once(
    goto: Any, update: Any, written: list[str]
) -> None:
    gate, log = plays.Gate(), list[str]()
    stage = Stage(work=plays.gated(gate, log))
    first = new_run("work", {"log": []})
    gate.opened.set()
    await stage.play(first)
    gate.reached.clear()
    gate.opened.clear()
    run = reply(first, goto=goto, update=update)
    await crashed(stage, run, gate)
    state = await stage.play(run)
    assert (log, read(state.values)["log"]) == (
        ["begin", "work", "work"],
        ["begin", "work", *written, "work"],
    )


class Forgetful(InMemorySaver):
    """A saver whose machine dies before the first command given to it is stored."""

    forgot = False

    async def aput_writes(self, config: Any, writes: Any, task_id: str, path: str = "") -> None:
        if task_id == NO_TASK and not self.forgot:
            self.forgot = True
            return
        await super().aput_writes(config, writes, task_id, path)


async def test_a_command_that_was_not_stored_is_told_in_full() -> None:
    gate = plays.Gate()
    stage = Stage(saver=Forgetful(), ask=pausing(gate))
    run = reply(await asked(stage, "ask"), resume="yes", update={"log": ["noted"]})
    await crashed(stage, run, gate)
    assert read((await stage.play(run)).values)["log"] == ["noted", "yes"]


async def test_an_update_of_a_state_that_is_one_value_is_written_once() -> None:
    gate = plays.Gate()
    stage = Stage(add=plays.adding(gate))
    first = new_run("add", 1)
    gate.opened.set()
    await stage.play(first)
    gate.reached.clear()
    gate.opened.clear()
    run = reply(first, goto="add", update=10)
    await crashed(stage, run, gate)
    assert (await stage.play(run)).values == b"13"


async def test_an_answer_at_a_named_checkpoint_is_left_as_it_is() -> None:
    stage = Stage(ask=plays.asking("sure?"))
    first = await asked(stage, "ask")
    here = (await stage.state(first)).config["configurable"]["checkpoint_id"]
    answer = new_run(
        "ask", command={"resume": "yes"}, thread_id=first.thread_id, checkpoint_id=here
    )
    assert read((await stage.play(answer)).values)["log"] == ["yes"]


async def test_a_command_to_a_new_thread_starts_there() -> None:
    stage = Stage(log=plays.logging("a"))
    state = await stage.play(new_run("log", command={"update": {"log": ["u"]}, "goto": "a"}))
    assert read(state.values)["log"][:1] == ["u"]


async def drained(stage: Stage, run: Run, gate: plays.Gate) -> None:
    task = stage.begin(run)
    await gate.reached.wait()
    stage.drains[-1]()
    gate.opened.set()
    with pytest.raises(Drained):
        await task
    run.attempt -= 1


async def test_a_drained_run_stops_at_the_next_step_and_goes_on_from_there() -> None:
    gate, log = plays.Gate(), list[str]()

    async def wait(_: plays.State) -> plays.State:
        await gate.wait()
        log.append("wait")
        return {"log": ["wait"]}

    async def last(_: plays.State) -> plays.State:
        log.append("last")
        return {"log": ["last"]}

    stage = Stage(work=plays.chain(("wait", wait), ("last", last)))
    run = new_run("work", {"log": []})
    await drained(stage, run, gate)
    before = list(log)
    state = await stage.play(run)
    assert (before, log, read(state.values)["log"]) == (
        ["wait"],
        ["wait", "last"],
        ["wait", "last"],
    )


async def test_a_run_that_ends_while_it_is_asked_to_drain_has_ended() -> None:
    gate, log = plays.Gate(), list[str]()
    stage = Stage(work=plays.gated(gate, log))
    task = stage.begin(new_run("work", {"log": []}))
    await gate.reached.wait()
    stage.drains[-1]()
    gate.opened.set()
    assert isinstance(await task, ThreadState)


async def test_an_uncheckpointed_run_cannot_be_drained() -> None:
    stage = Stage(echo=plays.echo())
    await stage.play(new_run("echo", {}, ephemeral=True))
    assert stage.drains == []
