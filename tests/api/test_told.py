"""What the stream of a run has told is what is read next, however slow the disk is."""

import sqlite3
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, closing
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.api import plays
from tests.api.client import new_thread, open_play, parts, serving


@asynccontextmanager
async def unwritten(
    folder: Path, graph: str, told: str
) -> AsyncGenerator[tuple[httpx.AsyncClient, str, Any]]:
    """Run a graph and hold its writes back until it has ``told`` something, and somebody asks.

    Give a client, the path of the thread and what was told.
    """
    gate = plays.gates[str(folder)]
    async with open_play(folder, graph) as service:
        database = sqlite3.connect(folder / "data/masterloop.db", isolation_level=None)
        with closing(database) as lock:
            async with (
                serving(releasing(service.app, lock)) as (host, port),
                httpx.AsyncClient(base_url=f"http://{host}:{port}") as client,
            ):
                thread = f"/threads/{await new_thread(client)}"
                asked = {
                    "assistant_id": graph,
                    "input": {"text": str(folder)},
                    "stream_mode": ["checkpoints", "updates"],
                    "stream_subgraphs": True,
                }
                async with client.stream("POST", f"{thread}/runs/stream", json=asked) as stream:
                    await gate.reached.wait()
                    await client.get(f"{thread}/state")
                    lock.execute("BEGIN IMMEDIATE")
                    gate.opened.set()
                    yield client, thread, await first(stream, told)


def releasing(app: ASGIApp, lock: sqlite3.Connection) -> ASGIApp:
    """Give up a lock as soon as there is a request."""

    async def released(scope: Scope, receive: Receive, send: Send) -> None:
        if lock.in_transaction:
            lock.rollback()
        await app(scope, receive, send)

    return released


async def first(stream: httpx.Response, told: str) -> Any:
    """Return what a run tells first that holds ``told``."""
    events: AsyncIterator[Any] = (part.data async for part in parts(stream))
    return await anext(data async for data in events if told in str(data))


async def test_a_checkpoint_is_there(tmp_path: Path) -> None:
    async with unwritten(tmp_path, "asking_later", "'next': ['ask']") as (client, thread, told):
        at = told["config"]["configurable"]["checkpoint_id"]
        state = (await client.get(f"{thread}/state/{at}")).json()
    assert (state["next"], state["values"]) == (["ask"], told["values"])


async def test_a_run_can_begin_at_a_checkpoint(tmp_path: Path) -> None:
    async with unwritten(tmp_path, "asking_later", "'next': ['ask']") as (client, thread, told):
        at = told["config"]["configurable"]["checkpoint_id"]
        fork = {"assistant_id": "asking_later", "checkpoint_id": at}
        forked = await client.post(f"{thread}/runs", json=fork)
    assert forked.status_code == HTTPStatus.OK, forked.text


async def test_what_a_subgraph_asks_is_in_the_state(tmp_path: Path) -> None:
    async with unwritten(tmp_path, "asking_within", "__interrupt__") as (client, thread, told):
        state = (await client.get(f"{thread}/state", params={"subgraphs": True})).json()
    assert [one["id"] for one in state["interrupts"]] == [
        one["id"] for one in told["__interrupt__"]
    ]


async def test_a_subgraph_that_works_has_something_next(tmp_path: Path) -> None:
    async with unwritten(tmp_path, "asking_within", "'next': ['ask']") as (client, thread, _):
        state = (await client.get(f"{thread}/state", params={"subgraphs": True})).json()
    assert state["tasks"][0]["state"]["next"] == ["ask"]


async def test_a_question_can_be_answered(tmp_path: Path) -> None:
    async with unwritten(tmp_path, "asking_later", "__interrupt__") as (client, thread, told):
        [question] = told["__interrupt__"]
        answer = {"namespace": [], "interrupt_id": question["id"], "response": "yes"}
        command = {"id": 1, "method": "input.respond", "params": answer}
        answered = (await client.post(f"{thread}/commands", json=command)).json()
    assert answered["type"] == "success", answered


async def test_a_run_that_is_undone_as_it_ends_leaves_nothing(tmp_path: Path) -> None:
    async with unwritten(tmp_path, "asking_later", "{'three'") as (client, thread, _):
        undo = {"action": "rollback"}
        cancelled = await client.post("/runs/cancel", json={"status": "all"}, params=undo)
        while (await client.get(f"{thread}/runs")).json():
            pass
        history = (await client.get(f"{thread}/history")).json()
    assert cancelled.is_success, cancelled.text
    assert history == []


async def test_a_thread_shows_all_that_a_run_left_that_was_cancelled_as_it_ended(
    tmp_path: Path,
) -> None:
    async with unwritten(tmp_path, "asking_later", "{'three'") as (client, thread, _):
        cancelled = await client.post("/runs/cancel", json={"status": "all"})
        while (shown := (await client.get(thread)).json())["status"] == "busy":
            pass
        state = (await client.get(f"{thread}/state")).json()
    assert cancelled.is_success, cancelled.text
    assert shown["values"] == state["values"]
