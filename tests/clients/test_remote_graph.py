"""``RemoteGraph``: a served graph where a local one could be, within another graph too."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import ParentCommand
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.pregel.remote import RemoteException, RemoteGraph
from langgraph.types import Command
from langgraph_sdk import get_client, get_sync_client

from tests.api.client import open_socket
from tests.clients.graphs import MANIFEST
from tests.clients.test_thread_stream import HELLO, texts

Opened = Callable[..., RemoteGraph]


@asynccontextmanager
async def open_remote(folder: Path) -> AsyncGenerator[Opened]:
    """Open a service of the graphs to play with; give what makes one of them a remote graph."""
    async with open_socket(folder, manifest=MANIFEST) as (_, http):
        url = str(http.base_url).rstrip("/")
        async with get_client(url=url, api_key=None) as client:
            with get_sync_client(url=url, api_key=None) as blocking:
                yield partial(RemoteGraph, client=client, sync_client=blocking)


def a_thread() -> RunnableConfig:
    return {"configurable": {"thread_id": str(uuid4())}}


async def test_it_is_invoked(tmp_path: Path) -> None:
    async with open_remote(tmp_path) as graphs:
        remote = graphs("chat")
        alone = await remote.ainvoke(HELLO)
        blocking = await asyncio.to_thread(remote.invoke, HELLO)
    assert texts(alone) == texts(blocking) == ["hello", "you said hello"]


async def test_it_takes_messages_as_objects(tmp_path: Path) -> None:
    async with open_remote(tmp_path) as graphs:
        remote = graphs("chat")
        assert (
            texts(await remote.ainvoke({"messages": [HumanMessage("hello")]}))[-1]
            == "you said hello"
        )


async def test_its_error_is_raised(tmp_path: Path) -> None:
    async with open_remote(tmp_path) as graphs:
        with pytest.raises(RemoteException, match="no such luck"):
            await graphs("failing").ainvoke(HELLO)


@pytest.mark.parametrize("mode", ["values", "updates", "messages", "custom", "debug"])
async def test_it_streams_in_every_mode(tmp_path: Path, mode: Any) -> None:
    async with open_remote(tmp_path) as graphs:
        remote = graphs("chat")
        chunks = [chunk async for chunk in remote.astream(HELLO, stream_mode=mode)]
        several: list[Any] = [
            chunk async for chunk in remote.astream(HELLO, stream_mode=[mode, "values"])
        ]
        blocking = await asyncio.to_thread(lambda: list(remote.stream(HELLO, stream_mode=mode)))
    assert chunks
    assert len(blocking) == len(chunks)
    assert {part.event for part in several} == {mode, "values"}


async def test_it_streams_what_its_subgraphs_do(tmp_path: Path) -> None:
    async with open_remote(tmp_path) as graphs:
        remote = graphs("teaming")
        stream = remote.astream(HELLO, stream_mode="updates", subgraphs=True)
        places = [namespace async for namespace, _ in stream]
    assert [len(namespace) for namespace in places] == [1, 0]
    assert places[0][0].startswith("team:")


async def test_its_state_is_read_changed_and_looked_back_at(tmp_path: Path) -> None:
    config = a_thread()
    async with open_remote(tmp_path) as graphs:
        remote = graphs("chat")
        await remote.ainvoke(HELLO, config)
        state = await remote.aget_state(config)
        assert (texts(state.values), state.next) == (["hello", "you said hello"], ())
        await remote.aupdate_state(config, {"log": ["changed"]}, as_node="answer")
        changed = await asyncio.to_thread(remote.get_state, config)
        assert changed.values["log"] == ["changed"]
        assert changed.parent_config is not None
        history = [each async for each in remote.aget_state_history(config)]
        before = await remote.aget_state(history[1].config)
        assert before.values == state.values
        limited = await asyncio.to_thread(
            lambda: list(remote.get_state_history(config, limit=1, filter={"source": "loop"}))
        )
    assert len(history) == 4
    assert [each.metadata["source"] for each in limited if each.metadata] == ["loop"]


async def test_its_question_is_answered(tmp_path: Path) -> None:
    config = a_thread()
    async with open_remote(tmp_path) as graphs:
        remote = graphs("asking")
        asked = await remote.ainvoke(HELLO, config)
        assert asked["__interrupt__"][0]["value"] == {"question": "really hello?"}
        state = await remote.aget_state(config)
        assert state.tasks[0].interrupts[0].value == {"question": "really hello?"}
        answered = await remote.ainvoke(Command(resume="yes"), config)
    assert texts(answered)[-1] == "answered yes"


async def test_it_is_drawn(tmp_path: Path) -> None:
    async with open_remote(tmp_path) as graphs:
        remote = graphs("teaming")
        graph = await remote.aget_graph()
        deep = await asyncio.to_thread(lambda: remote.get_graph(xray=True))
    assert set(graph.nodes) == {"__start__", "team", "__end__"}
    assert "team:answer" in deep.nodes


async def test_it_is_a_node_of_another_graph(tmp_path: Path) -> None:
    async with open_remote(tmp_path) as graphs:
        builder: Any = StateGraph(MessagesState)
        builder.add_node("remote", graphs("chat", name="remote"))
        builder.add_edge(START, "remote")
        graph = builder.compile(checkpointer=InMemorySaver())
        values = await graph.ainvoke(HELLO, a_thread())
        stream = graph.astream(HELLO, a_thread(), stream_mode="updates", subgraphs=True)
        places = [namespace async for namespace, _ in stream]
    assert [str(each.content) for each in values["messages"]] == ["hello", "you said hello"]
    assert [len(namespace) for namespace in places] == [1, 0]


async def test_it_asks_out_of_another_graph(tmp_path: Path) -> None:
    config = a_thread()
    async with open_remote(tmp_path) as graphs:
        builder: Any = StateGraph(MessagesState)
        builder.add_node("remote", graphs("asking", name="remote"))
        builder.add_edge(START, "remote")
        graph = builder.compile(checkpointer=InMemorySaver())
        asked = await graph.ainvoke(HELLO, config)
        [question] = asked["__interrupt__"]
    assert question.value == {"question": "really hello?"}


async def test_it_hands_on_to_the_graph_around_it(tmp_path: Path) -> None:
    async with open_remote(tmp_path) as graphs:
        with pytest.raises(ParentCommand) as raised:
            await graphs("handing").ainvoke(HELLO)
    assert raised.value.args[0].goto == "taker"


async def test_it_passes_the_headers_of_a_trace_on(tmp_path: Path) -> None:
    async with open_remote(tmp_path) as graphs:
        remote = graphs("chat", distributed_tracing=True)
        assert texts(await remote.ainvoke(HELLO))[-1] == "you said hello"


async def test_its_events_are_followed(tmp_path: Path) -> None:
    async with open_remote(tmp_path) as graphs:
        remote = graphs("chat")
        async with await remote.astream_events(HELLO, version="v3") as run:
            [message] = [message async for message in run.messages]
            assert texts(await run.output()) == ["hello", "you said hello"]
        assert await message.text == "you said hello"


async def test_its_events_are_followed_by_one_who_blocks(tmp_path: Path) -> None:
    async with open_remote(tmp_path) as graphs:
        remote = graphs("chat")

        def play() -> Any:
            with remote.stream_events(HELLO, version="v3") as run:
                return texts(run.output)

        assert await asyncio.to_thread(play) == ["hello", "you said hello"]
