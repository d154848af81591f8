"""Answers to the questions of graphs: each goes to the one that was shown, and to no other."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from langgraph.func import entrypoint
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


def reply(to: Run, resume: Any) -> Run:
    """Return a run that answers; with messages, LangGraph does each node in a task of its own."""
    command = {"resume": resume}
    return new_run("ask", command=command, thread_id=to.thread_id, stream_mode="messages")


def questions(state: ThreadState) -> list[str]:
    return [each["value"] for each in read(state.output)["__interrupt__"]]


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
