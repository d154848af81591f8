"""Answers to the questions of graphs: each goes to the one that was shown, and to no other."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from langgraph.func import entrypoint, task
from langgraph.types import interrupt

from orchestration.graphs.arguments import Graph
from orchestration.graphs.node_tasks import contain_exits
from orchestration.loop.run import Run, ThreadState
from tests.graphs import plays
from tests.graphs.stage import Stage, new_run, read
from tests.store.checkpointing import opened


async def ask_twice(gate: plays.Gate) -> list[Any]:
    """Ask two questions, and wait at ``gate`` between them."""
    first = interrupt("first?")
    await gate.wait()
    return [first, interrupt("second?")]


def function(gate: plays.Gate) -> Graph:
    @entrypoint()
    async def ask(_: plays.State) -> plays.State:
        return {"log": await ask_twice(gate)}

    return ask


def nested_function(gate: plays.Gate) -> Graph:
    return plays.nested(function(gate))


def called_function(gate: plays.Gate) -> Graph:
    return plays.calling(function(gate))


def node(gate: plays.Gate) -> Graph:
    async def ask(_: plays.State) -> plays.State:
        return {"log": await ask_twice(gate)}

    return plays.chain(("ask", ask))


def stepwise(gate: plays.Gate) -> Graph:
    """Return a graph that asks in its first and in its last step, and waits in the one between."""

    async def ask(_: plays.State) -> plays.State:
        return {"log": [interrupt("first?")]}

    async def wait(_: plays.State) -> plays.State:
        await gate.wait()
        return {}

    async def ask_again(_: plays.State) -> plays.State:
        return {"log": [interrupt("second?")]}

    return plays.chain(("ask", ask), ("wait", wait), ("ask_again", ask_again))


GRAPHS = [function, nested_function, called_function, node]


@asynccontextmanager
async def open_stage(folder: Path, graph: Graph) -> AsyncGenerator[Stage]:
    contain_exits(asyncio.get_running_loop())  # which sees to it that all is stored that was put
    async with opened(folder / "masterloop.sqlite") as (_, saver):
        yield Stage(ask=graph, saver=saver)


async def asked(stage: Stage) -> Run:
    run = new_run("ask", {"text": "x"})
    await stage.play(run)
    return run


def reply(to: Run, resume: Any, **more: Any) -> Run:
    """Return a run that answers; with messages, LangGraph does each node in a task of its own."""
    command = {"resume": resume}
    thread = {"thread_id": to.thread_id}
    return new_run("ask", command=command, stream_mode="messages", **thread, **more)


def questions(state: ThreadState) -> list[str]:
    return [each["value"] for each in read(state.output)["__interrupt__"]]


async def cut_off_within(stage: Stage, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut a run off after what a subgraph wrote, and before what was to follow around it."""
    put = stage.saver.rows.put_writes

    async def put_within(key: Any, writes: Any, run_id: Any, *, again: bool) -> None:
        if key[1] or all(channel != "__interrupt__" for _, channel, *_ in writes):
            await put(key, writes, run_id, again=again)

    with monkeypatch.context() as death:
        death.setattr(stage.saver.rows, "put_writes", put_within)
        await stage.play(run)


async def cut_off_at_second_write(stage: Stage, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut a run off after a task has asked, and before the one that called it has."""
    put = stage.saver.rows.put_writes
    told: list[Any] = []

    async def put_first(key: Any, writes: Any, run_id: Any, *, again: bool) -> None:
        if any(channel == "__interrupt__" for _, channel, *_ in writes):
            told.append(writes)
        if len(told) < 2:  # the second is of the caller
            await put(key, writes, run_id, again=again)

    with monkeypatch.context() as death:
        death.setattr(stage.saver.rows, "put_writes", put_first)
        await stage.play(run)


@pytest.mark.parametrize("graph", GRAPHS)
async def test_an_answer_is_given_to_no_other_question_once_its_run_was_cut_off(
    tmp_path: Path, graph: Any
) -> None:
    gate = plays.Gate()
    async with open_stage(tmp_path, graph(gate)) as stage:
        run = reply(await asked(stage), "yes")
        await stage.cut_off(run, gate)
        gate.opened.set()
        assert questions(await stage.play(run)) == ["second?"]


async def test_nor_is_one_that_names_the_latest_checkpoint(tmp_path: Path) -> None:
    gate = plays.Gate()
    async with open_stage(tmp_path, plays.nested(stepwise(gate))) as stage:
        first = await asked(stage)
        latest = (await stage.state(first)).config["configurable"]["checkpoint_id"]
        run = reply(first, "yes", checkpoint_id=latest)
        await stage.cut_off(run, gate)
        gate.opened.set()
        assert questions(await stage.play(run)) == ["second?"]


@pytest.mark.parametrize("around", [plays.nested, plays.calling])
@pytest.mark.parametrize("depth", [1, 2])
async def test_an_answer_is_given_to_no_other_question_of_which_only_its_subgraph_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, around: Any, depth: int
) -> None:
    graph = plays.asking("first?", "second?")
    for _ in range(depth):
        graph = around(graph)
    async with open_stage(tmp_path, graph) as stage:
        run = reply(await asked(stage), "yes")
        await cut_off_within(stage, run, monkeypatch)
        assert questions(await stage.play(run)) == ["second?"]
        assert read((await stage.play(reply(run, "no"))).values)["log"] == ["yes", "no"]


@pytest.mark.parametrize("around", [plays.nested, plays.calling])
@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("by_id", [False, True])
async def test_nor_is_the_answer_of_another_run_to_the_question_that_is_shown_still(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, around: Any, depth: int, *, by_id: bool
) -> None:
    graph = plays.asking("first?", "second?")
    for _ in range(depth):
        graph = around(graph)
    async with open_stage(tmp_path, graph) as stage:
        run = reply(await asked(stage), "yes")
        await cut_off_within(stage, run, monkeypatch)
        [shown] = (await stage.state(run)).interrupts
        assert shown.value == "first?"
        again = reply(run, {shown.id: "again"} if by_id else "again")
        assert questions(await stage.play(again)) == ["second?"]
        assert read((await stage.play(reply(run, "no"))).values)["log"] == ["yes", "no"]


@pytest.mark.parametrize("around", [lambda graph: graph, plays.nested, plays.calling])
async def test_an_answer_that_comes_twice_is_not_given_to_the_next_question(
    tmp_path: Path, around: Any
) -> None:
    async with open_stage(tmp_path, around(plays.asking("first?", "second?"))) as stage:
        first = await asked(stage)
        [question] = (await stage.state(first)).interrupts
        for _ in range(2):
            state = await stage.play(reply(first, {question.id: "yes"}))
            assert questions(state) == ["second?"]
        assert read((await stage.play(reply(first, "no"))).values)["log"] == ["yes", "no"]


async def test_an_answer_is_given_to_no_other_question_of_which_only_its_task_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @task
    async def asks() -> list[Any]:
        return [interrupt("first?"), interrupt("second?")]

    @entrypoint()
    async def ask(_: plays.State) -> plays.State:
        return {"log": await asks()}

    async with open_stage(tmp_path, ask) as stage:
        run = reply(await asked(stage), "yes")
        await cut_off_at_second_write(stage, run, monkeypatch)
        [shown] = (await stage.state(run)).interrupts
        assert shown.value == "first?"
        assert questions(await stage.play(run)) == ["second?"]
        assert read((await stage.play(reply(run, "no"))).values)["log"] == ["yes", "no"]


def failing_in_turn() -> Callable[[], Awaitable[list[Any]]]:
    """Return a function that asks three questions, and fails once after each answer."""
    failures = {"first?", "second?"}

    async def ask() -> list[Any]:
        answers: list[Any] = []
        for question in ("first?", "second?", "third?"):
            answers.append(interrupt(question))
            if question in failures:
                failures.remove(question)
                raise ConnectionError(question)
        return answers

    return ask


def failing_once() -> Graph:
    asks = failing_in_turn()

    async def ask(_: plays.State) -> plays.State:
        return {"log": await asks()}

    return plays.chain(("ask", ask))


def failing_task() -> Graph:
    """Return the same, but what asks is a task that another one calls."""
    inner = task(failing_in_turn())

    @task
    async def outer() -> list[Any]:
        return await inner()

    @entrypoint()
    async def ask(_: plays.State) -> plays.State:
        return {"log": await outer()}

    return ask


@pytest.mark.parametrize("around", [lambda graph: graph, plays.nested, plays.calling])
@pytest.mark.parametrize("by_id", [False, True])
async def test_nor_is_one_to_a_question_whose_node_has_failed_with_its_answer(
    tmp_path: Path, around: Any, *, by_id: bool
) -> None:
    async with open_stage(tmp_path, around(failing_once())) as stage:
        first = await asked(stage)
        for answer, following in [("yes", "second?"), ("no", "third?")]:
            [question] = (await stage.state(first)).interrupts
            given = reply(first, {question.id: answer} if by_id else answer)
            with pytest.raises(ConnectionError):
                await stage.play(given)
            again = reply(first, {question.id: "again"} if by_id else "again")
            assert questions(await stage.play(again)) == [following]
        state = await stage.play(reply(first, "maybe"))
        assert read(state.values)["log"] == ["yes", "no", "maybe"]


async def test_nor_is_one_with_which_its_node_failed_just_before_its_run_was_cut_off(
    tmp_path: Path,
) -> None:
    async with open_stage(tmp_path, failing_once()) as stage:
        run = reply(await asked(stage), "yes")
        with pytest.raises(ConnectionError):
            await stage.play(run)
        assert questions(await stage.play(run)) == ["second?"]


@pytest.mark.parametrize("around", [lambda graph: graph, plays.nested, plays.calling])
@pytest.mark.parametrize("by_id", [False, True])
async def test_nor_is_one_to_a_question_of_a_task_that_has_failed_with_its_answer(
    tmp_path: Path, around: Any, *, by_id: bool
) -> None:
    async with open_stage(tmp_path, around(failing_task())) as stage:
        first = await asked(stage)
        for answer, following in [("yes", "second?"), ("no", "third?")]:
            question = (await stage.state(first)).interrupts[0]  # a subgraph shows it repeatedly
            given = reply(first, {question.id: answer} if by_id else answer)
            with pytest.raises(ConnectionError):
                await stage.play(given)
            again = reply(first, {question.id: "again"} if by_id else "again")
            assert set(questions(await stage.play(again))) == {following}
        state = await stage.play(reply(first, "maybe"))
        assert read(state.values)["log"] == ["yes", "no", "maybe"]


async def test_nor_is_one_with_which_its_task_failed_just_before_its_run_was_cut_off(
    tmp_path: Path,
) -> None:
    async with open_stage(tmp_path, failing_task()) as stage:
        run = reply(await asked(stage), "yes")
        with pytest.raises(ConnectionError):
            await stage.play(run)
        assert questions(await stage.play(run)) == ["second?"]


@pytest.mark.parametrize("graph", GRAPHS)
async def test_a_question_whose_run_was_cancelled_takes_the_next_answer(
    tmp_path: Path, graph: Any
) -> None:
    gate = plays.Gate()
    async with open_stage(tmp_path, graph(gate)) as stage:
        first = await asked(stage)
        await stage.cut_off(reply(first, "yes"), gate)
        gate.opened.set()
        await stage.play(reply(first, "no"))
        state = await stage.play(reply(first, "maybe"))
        assert read(state.values)["log"] == ["no", "maybe"]


async def test_a_bare_answer_is_given_to_one_question_only(tmp_path: Path) -> None:
    async with open_stage(tmp_path, plays.asking("first?", "second?", "third?")) as stage:
        first = await asked(stage)
        await stage.edit(first, {"text": "edited"})  # now no question is pending
        await stage.play(reply(first, "yes"))
        assert questions(await stage.play(reply(first, "no"))) == ["third?"]


def keeping_none(inner: Graph) -> Graph:
    inner.checkpointer = False
    return inner


@pytest.mark.parametrize("around", [plays.nested, plays.calling])
@pytest.mark.parametrize("by_id", [False, True])
async def test_a_subgraph_without_checkpoints_takes_an_answer(
    tmp_path: Path, around: Any, *, by_id: bool
) -> None:
    graph = around(plays.nested(keeping_none(plays.asking("sure?"))))
    async with open_stage(tmp_path, graph) as stage:
        first = await asked(stage)
        [question] = (await stage.state(first)).interrupts
        state = await stage.play(reply(first, {question.id: "yes"} if by_id else "yes"))
        assert read(state.values)["log"] == ["yes"]


async def test_a_subgraph_without_checkpoints_takes_none_for_another_question(
    tmp_path: Path,
) -> None:
    graph = plays.nested(keeping_none(plays.asking("first?", "second?")))
    async with open_stage(tmp_path, graph) as stage:
        first = await asked(stage)
        assert questions(await stage.play(reply(first, "yes"))) == ["second?"]
        assert questions(await stage.play(reply(first, "no"))) == ["first?"]


@pytest.mark.parametrize("depth", [1, 2])
async def test_a_subgraph_whose_state_was_changed_takes_an_answer(
    tmp_path: Path, depth: int
) -> None:
    graph = plays.asking("first?", "second?")
    for _ in range(depth):
        graph = plays.nested(graph)
    async with open_stage(tmp_path, graph) as stage:
        first = await asked(stage)
        await stage.edit_within(first, {"text": "edited"})
        assert questions(await stage.play(reply(first, "yes"))) == ["second?"]
        state = await stage.play(reply(first, "no"))
        assert read(state.values)["log"] == ["yes", "no"]


async def test_an_answer_to_a_changed_subgraph_is_given_again_when_its_run_was_cut_off(
    tmp_path: Path,
) -> None:
    gate = plays.Gate()
    async with open_stage(tmp_path, plays.nested(node(gate))) as stage:
        first = await asked(stage)
        await stage.edit_within(first, {"text": "edited"})
        run = reply(first, "yes")
        await stage.cut_off(run, gate)
        gate.opened.set()
        assert questions(await stage.play(run)) == ["second?"]
        assert read((await stage.play(reply(first, "no"))).values)["log"] == ["yes", "no"]
