"""The events of a thread, asked for again when they are no longer kept."""

import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from orchestration.loop import threadlog
from tests.api.client import new_run, new_thread, open_socket, parts
from tests.api.plays import gates
from tests.api.test_thread_log import events, lives, start, to_the_end


async def next_after(client: httpx.AsyncClient, thread: str, **body: Any) -> Any:
    """Follow a thread, run ``echo`` there, and return what is told first."""
    asked = {"channels": ["lifecycle"], **body}
    async with client.stream("POST", f"/threads/{thread}/stream/events", json=asked) as response:
        await start(client, thread, "echo", {"text": "y"})
        return lives([await anext(part async for part in parts(response) if part.event)])[0]


@pytest.mark.parametrize(
    ("graph", "ending"),
    [
        ("echo", {"event": "completed", "graph_name": "echo"}),
        ("failing", {"event": "failed", "graph_name": "failing", "error": "refused: x"}),
    ],
)
async def test_who_comes_back_after_a_restart_is_told_how_the_run_ended(
    tmp_path: Path, graph: str, ending: Any
) -> None:
    thread = str(uuid4())
    async with open_socket(tmp_path, graph) as (_, client):
        await start(client, thread, graph, {"text": "x"})
        first = (await to_the_end(client, thread))[0].data["seq"]
    async with open_socket(tmp_path, graph) as (_, client):
        [told] = await to_the_end(client, thread, since=first)
        again = await to_the_end(client, thread, since=first)
    assert told.data["params"]["data"] == again[0].data["params"]["data"] == ending
    assert first < told.data["seq"] < again[0].data["seq"]


async def test_who_comes_back_is_told_how_a_run_ended_that_streamed_much(tmp_path: Path) -> None:
    async with open_socket(tmp_path, "telling") as (_, client):
        thread = await new_thread(client)
        await start(client, thread, "telling", {"text": "5000"})
        last = (await to_the_end(client, thread, ["custom", "lifecycle"]))[-2].data["seq"]
    async with open_socket(tmp_path, "telling") as (_, client):
        [told] = await to_the_end(client, thread, since=last)
        asked: Any = {"json": {"channels": ["lifecycle"]}, "headers": {"Last-Event-ID": str(last)}}
        async with client.stream("POST", f"/threads/{thread}/stream/events", **asked) as response:
            again = await anext(part async for part in parts(response) if part.event)
    assert lives([told, again]) == ["completed", "completed"]
    assert told.data["seq"] > last


async def test_who_comes_back_after_a_restart_is_told_what_is_asked(tmp_path: Path) -> None:
    thread = str(uuid4())
    async with open_socket(tmp_path, "asking") as (_, client):
        await start(client, thread, "asking", {"text": "x"})
        first = (await to_the_end(client, thread))[0].data["seq"]
    async with open_socket(tmp_path, "asking") as (_, client):
        got = await to_the_end(client, thread, ["input", "lifecycle"], since=first)
    assert [part.event for part in got] == ["input.requested", "lifecycle"]


@pytest.mark.parametrize("ending", ["completed", "interrupted"])
async def test_who_comes_back_after_a_restart_is_told_how_a_run_ends_that_others_started(
    tmp_path: Path, ending: str
) -> None:
    thread, text = str(uuid4()), f"{ending} for who came back"
    graph, gate = {"completed": "holder", "interrupted": "asking_later"}[ending], gates[text]
    async with open_socket(tmp_path, "echo", graph, drain_grace=0.01) as (service, client):
        await start(client, thread, "echo", {"text": "x"})
        first = (await to_the_end(client, thread))[-1].data["seq"]
        await new_run(client, thread, graph, text)
        await gate.reached.wait()
        await service.loop.drain()
    gate.reached.clear()
    async with open_socket(tmp_path, "echo", graph) as (service, client):
        await gate.reached.wait()
        async with (
            asyncio.timeout(30),
            aclosing(events(client, thread, ["lifecycle", "input"], since=first)) as stream,
        ):
            told = asyncio.ensure_future(anext(stream))
            while service.loop.logs.find(thread) is None:
                await client.get(f"/threads/{thread}")
            gate.opened.set()
            got = [await told]
            while got[-1].event != "lifecycle":
                got.append(await anext(stream))
    assert lives([got[-1]]) == [ending]
    assert len(got) == {"completed": 1, "interrupted": 2}[ending]


async def test_who_has_seen_an_ending_is_told_of_the_next_run_alone(tmp_path: Path) -> None:
    thread = str(uuid4())
    async with open_socket(tmp_path, "echo") as (_, client):
        await start(client, thread, "echo", {"text": "x"})
        first = (await to_the_end(client, thread))[0].data["seq"]
    async with (
        open_socket(tmp_path, "echo") as (_, client),
        aclosing(events(client, thread, ["lifecycle"], since=first)) as stream,
    ):
        told = (await anext(stream)).data["seq"]
        assert await next_after(client, thread, since=told) == "running"


@pytest.mark.parametrize("since", [{}, {"since": 0}])
async def test_who_waits_for_the_first_run_is_told_of_no_ending(
    tmp_path: Path, since: dict[str, int]
) -> None:
    async with open_socket(tmp_path, "echo") as (_, client):
        made = await client.post("/threads", json={"metadata": {"graph_id": "echo"}})
        assert await next_after(client, made.json()["thread_id"], **since) == "running"


async def test_who_waits_for_a_delayed_run_is_told_of_no_ending(tmp_path: Path) -> None:
    thread = str(uuid4())
    async with open_socket(tmp_path, "echo") as (_, client):
        await start(client, thread, "echo", {"text": "x"})
        await to_the_end(client, thread)
        await start(client, thread, "echo", {"text": "later"}, after_seconds=3600)
    async with open_socket(tmp_path, "echo") as (_, client):
        assert await next_after(client, thread, since=1) == "running"


async def test_who_reads_where_room_was_made_is_told_how_the_run_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threadlog, "IDLE_BYTES", 0)
    thread = str(uuid4())
    async with (
        open_socket(tmp_path, "echo") as (_, client),
        aclosing(events(client, thread, ["lifecycle"])) as stream,
    ):
        await start(client, thread, "echo", {"text": "x"})
        first, last = [(await anext(stream)).data["seq"] for _ in range(2)]
        assert lives(await to_the_end(client, thread, since=first)) == ["completed"]
        assert await next_after(client, thread, since=last) == "running"
