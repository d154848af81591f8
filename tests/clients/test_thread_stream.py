"""``client.threads.stream`` of langgraph_sdk, async and sync: runs followed, questions answered."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from langgraph_sdk import get_client, get_sync_client
from langgraph_sdk.client import LangGraphClient, SyncLangGraphClient

from tests.api.client import open_socket
from tests.clients.graphs import MANIFEST


def said(text: str) -> dict[str, Any]:
    """Return what a person says, as the input of a graph."""
    return {"messages": [{"type": "human", "content": text}]}


HELLO = said("hello")


@asynccontextmanager
async def open_url(folder: Path) -> AsyncGenerator[str]:
    """Open a service of the graphs to play with; give its address."""
    async with open_socket(folder, manifest=MANIFEST) as (_, http):
        yield str(http.base_url).rstrip("/")


@asynccontextmanager
async def open_async(folder: Path) -> AsyncGenerator[LangGraphClient]:
    """Open a service and a client of it."""
    async with open_url(folder) as url, get_client(url=url, api_key=None) as client:
        yield client


async def in_a_thread(folder: Path, play: Callable[[SyncLangGraphClient], Any]) -> Any:
    """Open a service, and play with the client that blocks beside it; return what came of it."""
    async with open_url(folder) as url:

        def played() -> Any:
            with get_sync_client(url=url, api_key=None) as client:
                return play(client)

        return await asyncio.to_thread(played)


def texts(values: Any) -> list[str]:
    """Return the texts of the messages in values."""
    return [
        each["content"] if isinstance(each["content"], str) else each["content"][0]["text"]
        for each in values["messages"]
    ]


async def test_the_output_is_awaited(tmp_path: Path) -> None:
    async with open_async(tmp_path) as client, client.threads.stream(assistant_id="chat") as stream:
        await stream.run.start(input=HELLO)
        assert texts(await stream.output) == ["hello", "you said hello"]


async def test_a_conversation_goes_on_from_stream_to_stream(tmp_path: Path) -> None:
    thread = str(uuid4())
    async with open_async(tmp_path) as client:
        for word in ("one", "two", "three"):
            async with client.threads.stream(thread, assistant_id="chat") as stream:
                await stream.run.start(input=said(word))
                assert texts(await stream.output)[-1] == f"you said {word}"
        assert len(texts((await client.threads.get_state(thread))["values"])) == 6


async def test_messages_come_token_by_token(tmp_path: Path) -> None:
    async with open_async(tmp_path) as client, client.threads.stream(assistant_id="chat") as stream:
        await stream.run.start(input=HELLO)
        [message] = [message async for message in stream.messages]
        heard = [text async for text in message.text]
    assert (heard, message.node) == (["you", " ", "said", " ", "hello"], "answer")


async def test_values_end_with_the_run(tmp_path: Path) -> None:
    async with open_async(tmp_path) as client, client.threads.stream(assistant_id="chat") as stream:
        await stream.run.start(input=HELLO)
        seen = [values async for values in stream.values]
    assert texts(seen[-1]) == ["hello", "you said hello"]


async def test_tools_are_followed(tmp_path: Path) -> None:
    async with (
        open_async(tmp_path) as client,
        client.threads.stream(assistant_id="adding") as stream,
    ):
        await stream.run.start(input=HELLO)
        [call] = [call async for call in stream.tool_calls]
        output = await call.output
    assert (call.name, call.input, output["content"]) == ("add", {"one": 1, "other": 2}, "3")


async def test_subgraphs_are_found(tmp_path: Path) -> None:
    async with (
        open_async(tmp_path) as client,
        client.threads.stream(assistant_id="teaming") as stream,
    ):
        await stream.run.start(input=HELLO)
        [team] = [handle async for handle in stream.subgraphs]
        [message] = [message async for message in team.messages]
        text = await message.text
    assert (team.graph_name, team.status, text) == ("team", "completed", "you said hello")


async def test_a_question_ends_the_values_and_is_answered(tmp_path: Path) -> None:
    gate = said(str(uuid4()))
    async with (
        open_async(tmp_path) as client,
        client.threads.stream(assistant_id="asking_later") as stream,
    ):
        await stream.run.start(input=gate)
        values = aiter(stream.values)
        await anext(values)  # the client ends only what is followed when the question comes
        await client.runs.wait(None, "opening", input=gate)
        async for _ in values:
            pass
        assert stream.interrupts[0]["value"] == {"question": "really held no longer?"}
        await stream.run.respond("yes")
        assert texts(await stream.output)[-1] == "answered yes"


async def test_a_question_is_answered_by_another_client(tmp_path: Path) -> None:
    thread = str(uuid4())
    async with open_async(tmp_path) as client:
        await client.runs.wait(thread, "asking", input=HELLO, if_not_exists="create")
        async with client.threads.stream(thread, assistant_id="asking") as stream:
            await asked(stream)
            await stream.run.respond("yes")
            assert texts(await stream.output)[-1] == "answered yes"


async def test_of_several_questions_one_is_named(tmp_path: Path) -> None:
    async with (
        open_async(tmp_path) as client,
        client.threads.stream(assistant_id="asking_within") as stream,
    ):
        await stream.run.start(input=HELLO)
        await asked(stream)
        [question] = stream.interrupts
        assert question["namespace"][0].startswith("team:")
        await stream.run.respond("yes", interrupt_id=question["interrupt_id"])
        assert texts(await stream.output)[-1] == "you said answered yes"


async def asked(stream: Any) -> None:
    """Return once the client knows of a question."""
    while not stream.interrupts:  # noqa: ASYNC110 - the client tells nobody
        await asyncio.sleep(0.01)


async def test_the_transformers_of_a_graph_change_what_is_told(tmp_path: Path) -> None:
    async with (
        open_async(tmp_path) as client,
        client.threads.stream(assistant_id="redacting") as stream,
    ):
        await stream.run.start(input=HELLO)
        got = [part async for part in stream.subscribe(["messages", "updates", "custom:seen"])]
        values = await stream.output
    told = [part["params"]["data"] for part in got]
    deltas = [each["delta"]["text"] for each in told if each.get("event") == "content-block-delta"]
    assert deltas == ["you", " ", "said", " ", "*****"]
    assert [each for each in told if "payload" in each] == [{"name": "seen", "payload": 1}]
    assert not any(part["method"] == "updates" for part in got)
    assert texts(values) == ["hello", "you said hello"]


async def test_an_error_is_raised(tmp_path: Path) -> None:
    async with (
        open_async(tmp_path) as client,
        client.threads.stream(assistant_id="failing") as stream,
    ):
        await stream.run.start(input=HELLO)
        with pytest.raises(RuntimeError, match="no such luck"):
            await stream.output


async def test_everything_is_followed_at_once(tmp_path: Path) -> None:
    channels = ["values", "messages", "updates", "checkpoints", "tasks"]
    async with open_async(tmp_path) as client, client.threads.stream(assistant_id="chat") as stream:
        await stream.run.start(input=HELLO)
        got = [name async for name, _ in stream.interleave_projections(channels)]
    assert set(got) == set(channels)


async def test_the_output_of_a_thread_that_is_done_is_there(tmp_path: Path) -> None:
    thread = str(uuid4())
    async with open_async(tmp_path) as client:
        await client.runs.wait(thread, "chat", input=HELLO, if_not_exists="create")
        async with client.threads.stream(thread, assistant_id="chat") as stream:
            assert texts(await stream.output) == ["hello", "you said hello"]
            await watching(stream)


async def watching(stream: Any) -> None:
    """Return once the client watches the thread: closed at that moment, it hangs on Python 3.11.

    There `asyncio.wait_for` loses a cancellation that comes when what it waits for is there.
    """
    while (handle := stream._lifecycle_watcher_handle) is None:  # noqa: SLF001, ASYNC110 - no other way
        await asyncio.sleep(0)
    await handle.ready
    for _ in range(10):
        await asyncio.sleep(0)


async def test_the_client_that_blocks_does_the_same(tmp_path: Path) -> None:
    text = str(uuid4())
    gate = said(text)

    def play(client: SyncLangGraphClient) -> Any:
        with client.threads.stream(assistant_id="asking_later") as stream:
            stream.run.start(input=gate)
            values = iter(stream.values)
            next(values)
            client.runs.wait(None, "opening", input=gate)
            for _ in values:
                pass
            stream.run.respond("yes")
            return texts(stream.output)

    assert await in_a_thread(tmp_path, play) == [text, "held no longer", "answered yes"]


async def test_the_client_that_blocks_follows_messages(tmp_path: Path) -> None:
    def play(client: SyncLangGraphClient) -> Any:
        with client.threads.stream(assistant_id="chat") as stream:
            stream.run.start(input=HELLO)
            return [str(message.text) for message in stream.messages]

    assert await in_a_thread(tmp_path, play) == ["you said hello"]


async def test_the_client_that_blocks_runs_streams_and_waits(tmp_path: Path) -> None:
    def play(client: SyncLangGraphClient) -> Any:
        thread = client.threads.create()["thread_id"]
        streaming = client.runs.stream(
            thread, "chat", input=HELLO, stream_mode=["values", "updates"]
        )
        events = {part.event for part in streaming}
        state = client.threads.get_state(thread)
        history = client.threads.get_history(thread)
        waited = client.runs.wait(thread, "chat", input=HELLO)
        joined = client.runs.join(thread, client.runs.list(thread)[0]["run_id"])
        return (
            events,
            texts(state["values"]),
            len(history),
            waited == joined,
        )

    events, last, history, same = await in_a_thread(tmp_path, play)
    assert {"metadata", "values", "updates"} <= events
    assert (last, history, same) == (["hello", "you said hello"], 3, True)
