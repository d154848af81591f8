"""Runs made in the old way, on threads that somebody follows, or did a moment ago."""

import asyncio
from contextlib import aclosing
from pathlib import Path
from uuid import uuid4

import pytest

from tests.api.client import new_run, new_thread, open_socket
from tests.api.plays import gates
from tests.api.test_commands import questions
from tests.api.test_thread_log import events, lives, quiet, start, to_the_end

WATCHED = ["input", "lifecycle"]


async def test_a_run_that_began_in_a_break_is_told_after_it(tmp_path: Path) -> None:
    thread, gate = str(uuid4()), gates["began in a break"]
    async with open_socket(tmp_path, "echo", "holder") as (service, client):
        await start(client, thread, "echo", {"text": "x"})
        seen = await to_the_end(client, thread)
        await quiet(service, thread)
        await new_run(client, thread, "holder", "began in a break")
        await gate.reached.wait()
        gate.opened.set()
        after = await to_the_end(client, thread, since=seen[-1].data["seq"])
    assert lives(after) == ["running", "completed"]


@pytest.mark.parametrize("delay", [None, 0.01])
async def test_a_run_that_waited_when_somebody_came_is_told(
    tmp_path: Path, delay: float | None
) -> None:
    gate = gates[f"first, then {delay}"]
    async with open_socket(tmp_path, "echo", "holder") as (service, client):
        thread = await new_thread(client)
        await new_run(client, thread, "holder", f"first, then {delay}")
        await gate.reached.wait()
        await new_run(client, thread, "echo", "x", after_seconds=delay)
        async with aclosing(events(client, thread, WATCHED)) as stream:
            first = asyncio.ensure_future(anext(stream))
            while service.loop.logs.find(thread) is None:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0)
            gate.opened.set()
            got = [await first, await anext(stream)]
    assert lives(got) == ["running", "completed"]
    assert {part.data["params"]["data"]["graph_name"] for part in got} == {"echo"}


async def test_a_question_that_was_answered_in_a_break_is_not_asked_again(tmp_path: Path) -> None:
    thread = str(uuid4())
    async with open_socket(tmp_path, "asking") as (service, client):
        await start(client, thread, "asking", {"text": "x"})
        await to_the_end(client, thread)
        await quiet(service, thread)
        body = {"assistant_id": "asking", "command": {"resume": "yes"}}
        await client.post(f"/threads/{thread}/runs/wait", json=body)
        got = await to_the_end(client, thread, WATCHED)
    assert [part.event for part in got] == ["lifecycle", "lifecycle"]
    assert lives(got) == ["running", "completed"]


async def test_a_question_is_still_told_after_a_run_that_did_not_come_to_begin(
    tmp_path: Path,
) -> None:
    thread, gate = str(uuid4()), gates["before one that does not begin"]
    async with open_socket(tmp_path, "asking", "holder", max_concurrent_runs=1) as (_, client):
        await start(client, thread, "asking", {"text": "x"})
        asked = await questions(client, thread)
        await new_run(client, await new_thread(client), "holder", "before one that does not begin")
        await gate.reached.wait()
        waiting = await new_run(client, thread, "asking", "y")
        await client.post(f"{waiting}/cancel", params={"wait": True})
        assert await questions(client, thread) == asked
    assert len(asked) == 1


async def test_a_log_is_not_kept_for_a_run_that_is_not_due(tmp_path: Path) -> None:
    thread = str(uuid4())
    async with open_socket(tmp_path, "echo") as (service, client):
        await start(client, thread, "echo", {"text": "x"})
        await to_the_end(client, thread)
        await quiet(service, thread)
        await new_run(client, thread, "echo", "later", after_seconds=3_600)
        service.loop.logs.forget(thread)
        assert service.loop.logs.find(thread) is None
