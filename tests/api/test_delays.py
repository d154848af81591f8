"""Questions on a thread that a delayed run is on, which is not due for long."""

from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from orchestration.api import commands
from orchestration.service import Service
from tests.api.client import new_run, open_socket
from tests.api.test_commands import questions, run, send, values
from tests.api.test_thread_log import lives, quiet, start, to_the_end

LATER = 3_600  # seconds


async def asked(service: Service, client: httpx.AsyncClient, thread: str, *, log: bool) -> str:
    """Have a graph ask something on a thread, and delay a run there; return the question's id.

    ``log``: whether the log of the thread still has the question.
    """
    await run(client, thread, "asking", {"text": "really?"})
    [question] = (await questions(client, thread)).values()
    await quiet(service, thread)
    if not log:
        service.loop.logs.forget(thread)
    await new_run(client, thread, "asking", "later", after_seconds=LATER)
    return question


@pytest.mark.parametrize("log", [True, False])
@pytest.mark.parametrize("method", ["run.start", "input.respond"])
async def test_a_question_is_answered_at_once_before_a_delayed_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, *, log: bool
) -> None:
    monkeypatch.setattr(commands, "_ASKING", LATER)
    thread = str(uuid4())
    async with open_socket(tmp_path, "asking") as (service, client):
        question = await asked(service, client, thread, log=log)
        params: dict[str, Any] = {"assistant_id": "asking", "input": "yes"}
        if method == "input.respond":
            params = {"interrupt_id": question, "response": "yes"}
        answer = await send(client, thread, method, **params)
        assert answer["status"] == 200, answer
        await to_the_end(client, thread)
        assert (await values(client, thread))["log"] == ["yes"]


@pytest.mark.parametrize("log", [True, False])
async def test_who_comes_is_told_what_is_asked_before_a_delayed_run(
    tmp_path: Path, *, log: bool
) -> None:
    thread = str(uuid4())
    async with open_socket(tmp_path, "asking") as (service, client):
        question = await asked(service, client, thread, log=log)
        assert list((await questions(client, thread)).values()) == [question]


async def test_a_delayed_run_that_is_followed_hides_nothing_of_the_latest(tmp_path: Path) -> None:
    thread = str(uuid4())
    async with open_socket(tmp_path, "echo") as (_, client):
        await start(client, thread, "echo", {"text": "now"})
        await to_the_end(client, thread)
        await start(client, thread, "echo", {"text": "later"}, after_seconds=LATER)
        assert lives(await to_the_end(client, thread)) == ["running", "completed"]


async def test_an_answer_goes_to_who_asked_not_to_who_comes_later(tmp_path: Path) -> None:
    thread = str(uuid4())
    async with open_socket(tmp_path, "asking", "echo") as (_, client):
        await run(client, thread, "asking", {"text": "really?"})
        [question] = (await questions(client, thread)).values()
        later = await new_run(client, thread, "echo", "later", after_seconds=LATER)
        assert (await client.get(f"/threads/{thread}/state")).json()["next"] == ["ask"]
        await send(client, thread, "input.respond", interrupt_id=question, response="yes")
        await to_the_end(client, thread)
        assert (await values(client, thread))["log"] == ["yes"]
        assert (await client.get(later)).json()["status"] == "pending"
