"""What is said of a run that is waited for, and when it is so durable that it may be said."""

import asyncio
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import pytest

from operations.errors import StorageFull
from orchestration.api.patience import WaitResponse
from orchestration.loop.run import Outcome, RunStatus
from tests.api import plays
from tests.api.client import NOBODY, client_of, new_run, new_thread, open_play, open_socket
from tests.loop import stage
from tests.telemetry.sinks import until

SCOPE = {"type": "http", "method": "POST", "path": "/runs/wait", "headers": []}


class Announcement:
    """Fails as often as it is told to; says when it was made."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.made = asyncio.Event()

    async def __call__(self) -> None:
        if self.failures:
            self.failures -= 1
            raise StorageFull("no room")
        self.made.set()


async def test_nothing_is_said_of_a_long_wait_before_its_run_is_announced() -> None:
    announcement = Announcement(failures=2)
    run = stage.new_run("run")
    run.done = asyncio.get_running_loop().create_future()
    said: list[bool] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        said.append(announcement.made.is_set())
        if len(said) == 2:  # the head, and the first sign of life
            run.end(Outcome(RunStatus.SUCCESS, b"1"))

    async def receive() -> MutableMapping[str, Any]:
        await run.done  # type: ignore[misc]
        return {"type": "http.disconnect"}

    response = WaitResponse(run, headers={}, keep_alive=0.001, leave=None, announce=announcement)
    await response(SCOPE, receive, send)
    assert said == [True] * 3


@pytest.mark.parametrize(
    ("path", "more", "announced"),
    [
        ("/runs/wait", {}, False),
        ("/runs/wait", {"on_completion": "keep"}, False),
        ("/runs/stream", {}, True),
        ("/runs", {}, True),
        (f"/threads/{NOBODY}/runs/wait", {"if_not_exists": "create"}, True),
    ],
)
async def test_only_a_run_of_which_nothing_is_said_before_its_end_waits_for_no_disk(
    tmp_path: Path, path: str, more: dict[str, Any], announced: bool
) -> None:
    name = f"announced {path} {more}"
    async with open_play(tmp_path, "holder") as service, client_of(service.app) as client:
        body = {"assistant_id": "holder", "input": {"text": name}, **more}
        request = asyncio.create_task(client.post(path, json=body))
        await plays.gates[name].reached.wait()
        (run,) = service.loop.all_live()
        plays.gates[name].opened.set()
        assert (await request).is_success
    assert run.announced is announced


async def test_a_long_wait_has_its_run_announced(tmp_path: Path) -> None:
    name = "a long wait"
    async with open_socket(tmp_path, "holder", keep_alive=0.01) as (service, client):
        body = {"assistant_id": "holder", "input": {"text": name}}
        async with client.stream("POST", "/runs/wait", json=body):  # entered with the head
            (run,) = service.loop.all_live()
            assert run.announced
            plays.gates[name].opened.set()


async def test_a_wait_ends_with_its_connection(tmp_path: Path) -> None:
    name = "nobody waits any more"
    async with open_socket(tmp_path, "holder", keep_alive=0.01) as (_, client):
        path = await new_run(client, await new_thread(client), "holder", name)
        await plays.gates[name].reached.wait()
        before = asyncio.all_tasks()
        for _ in range(3):
            async with client.stream("GET", f"{path}/join"):  # entered with the head
                assert asyncio.all_tasks() - before
        await until(lambda: not asyncio.all_tasks() - before)
        plays.gates[name].opened.set()
