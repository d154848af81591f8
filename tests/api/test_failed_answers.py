"""Questions on a thread whose run failed that was to answer them."""

from collections import Counter
from pathlib import Path
from uuid import uuid4

import pytest
from langgraph.graph import START, StateGraph
from langgraph.types import interrupt

from tests.api.client import open_socket
from tests.api.plays import State
from tests.api.test_commands import questions, run, send, values
from tests.api.test_thread_log import lives, to_the_end

GRAPHS = {
    "asking": "tests.api.plays:asking",
    **{name: f"{__name__}:{name}" for name in ("failing", "flaky", "nested_flaky")},
}
_lost = Counter[str]()  # connections, by the texts of their runs


async def _fail_once_answered(state: State) -> State:
    raise ConnectionError(state, interrupt("first?"))


_builder = StateGraph(State)
_builder.add_node("ask", _fail_once_answered)
_builder.add_edge(START, "ask")
failing = _builder.compile()


async def _fail_before_answered(state: State) -> State:
    """Ask; fail at the first answer before it is looked for."""
    _lost[state["text"]] += 1
    if _lost[state["text"]] == 2:  # the first time, it asks
        raise ConnectionError(state)
    return {"log": [interrupt("first?")]}


_builder = StateGraph(State)
_builder.add_node("ask", _fail_before_answered)
_builder.add_edge(START, "ask")
flaky = _builder.compile()

_builder = StateGraph(State)
_builder.add_node("within", flaky)
_builder.add_edge(START, "within")
nested_flaky = _builder.compile()


async def test_a_question_is_answered_after_an_answer_with_an_update_that_was_refused(
    tmp_path: Path,
) -> None:
    thread = str(uuid4())
    async with open_socket(tmp_path, manifest={"graphs": GRAPHS}) as (_, client):
        await run(client, thread, "asking", {"text": "really?"})
        [asked] = (await questions(client, thread)).values()
        answer = {"interrupt_id": asked, "response": "ok"}
        await send(client, thread, "input.respond", **answer, update={"log": 5})
        assert lives(await to_the_end(client, thread)) == ["running", "failed"]
        await send(client, thread, "input.respond", **answer)
        assert lives(await to_the_end(client, thread)) == ["running", "completed"]
        assert (await values(client, thread))["log"] == ["ok"]


async def test_a_question_whose_node_failed_with_the_answer_takes_no_other(tmp_path: Path) -> None:
    thread = str(uuid4())
    async with open_socket(tmp_path, manifest={"graphs": GRAPHS}) as (_, client):
        await run(client, thread, "failing", {"text": "x"})
        [asked] = (await questions(client, thread)).values()
        answer = {"interrupt_id": asked, "response": "ok"}
        await send(client, thread, "input.respond", **answer)
        assert lives(await to_the_end(client, thread)) == ["running", "failed"]
        again = await send(client, thread, "input.respond", **answer)
    assert (again["status"], again["error"]) == (404, "no_such_interrupt")


@pytest.mark.parametrize("graph", ["flaky", "nested_flaky"])
async def test_a_question_whose_node_failed_before_it_took_the_answer_is_answered_again(
    tmp_path: Path, graph: str
) -> None:
    thread = str(uuid4())
    async with open_socket(tmp_path, manifest={"graphs": GRAPHS}) as (_, client):
        await run(client, thread, graph, {"text": thread})
        [asked] = (await questions(client, thread)).values()
        answer = {"interrupt_id": asked, "response": "ok"}
        await send(client, thread, "input.respond", **answer)
        assert lives(await to_the_end(client, thread))[-1] == "failed"
        again = await send(client, thread, "input.respond", **answer)
        assert again["status"] == 200
        await to_the_end(client, thread)
        assert (await values(client, thread))["log"] == ["ok"]
