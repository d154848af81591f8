"""Answers that name no question, and come before what the one before them answers has ended."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from langgraph.graph import START, StateGraph
from langgraph.types import interrupt

from tests.api.client import new_thread, open_client, open_socket, parts
from tests.api.plays import State, gates


async def _ask_in_turn(state: State) -> State:
    first = interrupt("first?")
    gate = gates[state["text"]]
    gate.reached.set()
    await gate.opened.wait()
    return {"log": [first, interrupt("second?")]}


async def _ask_first(state: State) -> State:
    first = interrupt("first?")
    gate = gates[state["text"]]
    gate.reached.set()
    await gate.opened.wait()
    return {"log": [first]}


async def _ask_second(_: State) -> State:
    return {"log": [interrupt("second?")]}


def _chain(*nodes: tuple[str, Any]) -> Any:
    builder: Any = StateGraph(State)
    builder.add_sequence(nodes)
    builder.add_edge(START, nodes[0][0])
    return builder.compile()


one_node = _chain(("ask", _ask_in_turn))
two_nodes = _chain(("first", _ask_first), ("second", _ask_second))
within = _chain(("inner", one_node))
GRAPHS = {name: f"{__name__}:{name}" for name in ("one_node", "two_nodes", "within")}


@pytest.mark.parametrize("graph", [*GRAPHS])
@pytest.mark.parametrize("begun", [False, True])
async def test_an_answer_that_comes_while_the_same_one_is_taken_goes_to_no_other_question(
    tmp_path: Path, graph: str, *, begun: bool
) -> None:
    async with open_client(tmp_path, manifest={"graphs": GRAPHS}) as client:
        thread = await new_thread(client)
        runs = f"/threads/{thread}/runs"
        await client.post(f"{runs}/wait", json={"assistant_id": graph, "input": {"text": thread}})
        answer = {"assistant_id": graph, "command": {"resume": "yes"}}
        if begun:
            sent = [await client.post(runs, json=answer)]
            await gates[thread].reached.wait()
            sent.append(await client.post(runs, json=answer))
        else:
            sent = await asyncio.gather(*[client.post(runs, json=answer) for _ in range(2)])
        gates[thread].opened.set()
        for one in sent:
            ended = await client.get(f"{one.headers['content-location']}/join")
            assert [each["value"] for each in ended.json()["__interrupt__"]] == ["second?"]
        answer = {"assistant_id": graph, "command": {"resume": "no"}}
        ended = await client.post(f"{runs}/wait", json=answer)
    assert ended.json()["log"] == ["yes", "no"]


@pytest.mark.parametrize("graph", [*GRAPHS])
async def test_an_answer_goes_to_the_next_question_as_soon_as_that_is_told(
    tmp_path: Path, graph: str
) -> None:
    async with open_socket(tmp_path, manifest={"graphs": GRAPHS}) as (_, client):
        thread = await new_thread(client)
        gates[thread].opened.set()
        runs = f"/threads/{thread}/runs"
        await client.post(f"{runs}/wait", json={"assistant_id": graph, "input": {"text": thread}})
        answer = {"assistant_id": graph, "command": {"resume": "yes"}}
        streamed = {**answer, "stream_mode": "updates", "stream_subgraphs": True}
        async with client.stream("POST", f"{runs}/stream", json=streamed) as told:
            events = parts(told)
            while "__interrupt__" not in ((await anext(events)).data or {}):
                pass
            following = {"assistant_id": graph, "command": {"resume": "no"}}
            ended = await client.post(f"{runs}/wait", json=following)
    assert ended.json()["log"] == ["yes", "no"]
