"""Commands whose updates cannot be applied: the run fails, and its thread is as it was."""

from collections.abc import Sequence
from typing import Annotated, Any

import pytest
from langgraph.channels.delta import DeltaChannel
from langgraph.graph import START, StateGraph
from typing_extensions import TypedDict

from tests.graphs import plays
from tests.graphs.stage import Stage, new_run, read

TWICE = [["text", "a"], ["text", "b"]]


def _once_each(state: list[str], writes: Sequence[list[str]]) -> list[str]:
    entries = [*state, *(entry for write in writes for entry in write)]
    if len(set(entries)) < len(entries):
        raise ValueError("twice")
    return entries


class Entries(TypedDict, total=False):
    entries: Annotated[list[str], DeltaChannel(_once_each, snapshot_frequency=1_000)]


@pytest.mark.parametrize("update", [{"log": 5}, TWICE])
@pytest.mark.parametrize("resume", [{}, {"resume": "no"}])
async def test_a_question_waits_on_after_an_update_that_cannot_be_applied(
    update: Any, resume: dict[str, str]
) -> None:
    stage = Stage(ask=plays.asking("sure?"))
    first = new_run("ask", {"text": "x"})
    await stage.play(first)
    before = await stage.state(first)
    refused = new_run("ask", command={"update": update, **resume}, thread_id=first.thread_id)
    with pytest.raises(Exception, match=r"can only concatenate list|only one value"):
        await stage.play(refused)
    assert await stage.state(first) == before
    answer = new_run("ask", command={"resume": "yes"}, thread_id=first.thread_id)
    assert read((await stage.play(answer)).values)["log"] == ["yes"]


async def test_a_thread_goes_on_after_an_update_that_cannot_be_applied() -> None:
    stage = Stage(log=plays.logging("a"))
    first = new_run("log", {"log": []})
    await stage.play(first)
    with pytest.raises(TypeError):
        await stage.play(new_run("log", command={"update": {"log": 5}}, thread_id=first.thread_id))
    state = await stage.play(new_run("log", {"log": []}, thread_id=first.thread_id))
    assert read(state.values)["log"] == ["a", "a"]


async def test_an_update_is_tried_beside_those_that_wait_already() -> None:
    stage = Stage(ask=plays.asking("sure?"))
    first = new_run("ask", {"text": "x"})
    await stage.play(first)
    update = {"update": {"text": "y"}}
    await stage.play(new_run("ask", command=update, thread_id=first.thread_id))
    with pytest.raises(Exception, match="only one value"):
        await stage.play(new_run("ask", command=update, thread_id=first.thread_id))
    assert (await stage.state(first)).values["text"] == "y"


async def test_an_update_is_tried_where_its_run_begins() -> None:
    stage = Stage(log=plays.logging("a", "b"))
    first = new_run("log", {"log": []}, interrupt_before=["a"])
    await stage.play(first)
    place = (await stage.state(first)).config["configurable"]["checkpoint_id"]
    await stage.play(new_run("log", {"log": []}, thread_id=first.thread_id))
    command = {"update": {"text": "y"}}
    await stage.play(new_run("log", command=command, thread_id=first.thread_id))
    fork = new_run("log", command=command, checkpoint_id=place, thread_id=first.thread_id)
    assert read((await stage.play(fork)).values) == {"text": "y", "log": ["a", "b"]}


async def test_an_update_of_a_delta_channel_is_tried_on_its_history() -> None:
    builder = StateGraph(Entries)
    builder.add_node("done", lambda _: {})
    builder.add_edge(START, "done")
    stage = Stage(graph=builder.compile())
    first = new_run("graph", {"entries": ["one"]})
    await stage.play(first)
    await stage.play(new_run("graph", {"entries": ["two"]}, thread_id=first.thread_id))
    again = new_run("graph", command={"update": {"entries": ["one"]}}, thread_id=first.thread_id)
    with pytest.raises(ValueError, match="twice"):
        await stage.play(again)
    more = new_run("graph", command={"update": {"entries": ["three"]}}, thread_id=first.thread_id)
    assert read((await stage.play(more)).values) == {"entries": ["one", "two", "three"]}
