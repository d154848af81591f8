"""What is told, and done, of runs that a stop of the service puts back."""

import asyncio
import socket
import sqlite3
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from operations.errors import ConfigurationError
from orchestration.service import Service
from tests.api import plays
from tests.api.client import client_of, new_run, new_thread, open_client, open_play

STOPPING = "the service is stopping; try again in a few seconds"


@asynccontextmanager
async def put_back(
    folder: Path, name: str, **manifest: Any
) -> AsyncGenerator[tuple[Service, httpx.AsyncClient, str]]:
    """Open a service that has put a run of alice's back, and give the path of that."""
    async with (
        open_play(folder, "holder", manifest=manifest, drain_grace=0.01) as service,
        client_of(service.app) as client,
    ):
        client.headers["authorization"] = "Bearer alice"
        path = await new_run(client, await new_thread(client), "holder", name)
        await plays.gates[name].reached.wait()
        await service.loop.drain()
        yield service, client, path


def told(answer: httpx.Response) -> tuple[int, Any, bool]:
    return answer.status_code, answer.json().get("detail"), "retry-after" in answer.headers


async def test_a_run_that_was_put_back_is_not_said_to_be_deleted_or_unknown(tmp_path: Path) -> None:
    async with put_back(tmp_path, "not deleted") as (_, client, path):
        run_id = path.rpartition("/")[2]
        answers = [
            await client.delete(path),
            await client.post("/runs/cancel", json={"run_ids": [run_id]}),
            await client.post("/runs/cancel", json={"status": "all"}),
        ]
        others = await client.post("/runs/cancel", json={"run_ids": ["another"]})
        found = await client.get(path)
    assert [told(answer) for answer in answers] == [(503, STOPPING, True)] * 3
    assert others.status_code == 404
    assert found.json()["status"] == "pending"


async def test_of_another_s_run_that_was_put_back_nobody_is_told_that_there_is_one(
    tmp_path: Path,
) -> None:
    auth = {"path": "tests.api.guards:owners"}
    async with put_back(tmp_path, "of alice", auth=auth) as (_, client, path):
        ask = {"run_ids": [path.rpartition("/")[2]]}
        codes = []
        for name in ("alice", "bob"):
            headers = {"authorization": f"Bearer {name}"}
            answer = await client.post("/runs/cancel", json=ask, headers=headers)
            codes.append(answer.status_code)
    assert codes == [503, 404]


async def test_a_thread_stays_as_the_run_left_it_that_was_put_back(tmp_path: Path) -> None:
    async with put_back(tmp_path, "left as it was") as (_, client, path):
        thread = path.partition("/runs/")[0]
        changed = await client.post(f"{thread}/state", json={"values": {"text": "changed"}})
        before = await client.get(thread)
    plays.gates["left as it was"].opened.set()
    async with open_play(tmp_path, "holder") as service, client_of(service.app) as client:
        after = await client.get(f"{path}/join")
    assert (service.recovered, changed.status_code, before.json()["status"]) == (1, 409, "busy")
    assert after.json()["text"] == "left as it was"


async def test_an_answer_to_a_run_that_was_put_back_is_to_be_given_again(tmp_path: Path) -> None:
    answer = {"interrupt_id": "asked before the stop", "response": 1}
    body = {"id": 1, "method": "input.respond", "params": answer}
    async with put_back(tmp_path, "to be answered") as (_, client, path):
        refused = await client.post(path.partition("/runs/")[0] + "/commands", json=body)
    assert (refused.status_code, refused.json()["message"]) == (503, STOPPING)
    assert "retry-after" in refused.headers


@pytest.mark.parametrize("many", [False, True])
async def test_a_run_that_is_cancelled_while_it_is_put_back_ends(
    tmp_path: Path, *, many: bool
) -> None:
    name = f"cancelled in the grace {many}"
    async with (
        open_play(tmp_path, "stubborn", drain_grace=0.01) as service,
        client_of(service.app) as client,
    ):
        path = await new_run(client, await new_thread(client), "stubborn", name)
        await plays.gates[name].reached.wait()
        (run,) = service.loop.all_live()
        draining = asyncio.create_task(service.loop.drain())
        while run.ending is None:  # noqa: ASYNC110 - of the loop's own accord
            await asyncio.sleep(0.001)
        if many:
            answer = await client.post("/runs/cancel", json={"run_ids": [run.run_id]})
        else:
            answer = await client.post(f"{path}/cancel")
        plays.gates[name].opened.set()
        await draining
        status = (await client.get(path)).json()["status"]
    assert (answer.is_success, status) == (True, "interrupted")


async def test_a_start_that_fails_begins_no_run_and_charges_none(tmp_path: Path) -> None:
    async with open_client(tmp_path, "holder") as client:
        thread_id = await new_thread(client)
        path = await new_run(client, thread_id, "holder", "not begun", after_seconds=3600)
    run_id = path.rsplit("/", 1)[1]
    with closing(sqlite3.connect(tmp_path / "data/masterloop.db")) as database, database:
        database.execute("UPDATE runs SET due_at = created_at")
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        for _ in range(3):
            with pytest.raises(ConfigurationError, match="MASTERLOOP_ADMIN_PORT"):
                async with open_client(tmp_path, "holder", admin_port=port):
                    pass
    with closing(sqlite3.connect(tmp_path / "data/masterloop.db")) as database:
        row = database.execute("SELECT status, attempt, crashes FROM runs").fetchone()
    assert row == ("pending", 0, 0)
    assert not plays.gates["not begun"].reached.is_set()
    async with open_client(tmp_path, "holder") as client:
        await plays.gates["not begun"].reached.wait()
        plays.gates["not begun"].opened.set()
        joined = await client.get(f"/threads/{thread_id}/runs/{run_id}/join")
    assert "held" in joined.json()["log"]


async def test_a_run_that_is_cancelled_before_it_goes_on_leaves_what_it_had_done(
    tmp_path: Path,
) -> None:
    one_at_a_time: dict[str, Any] = {"max_concurrent_runs": 1, "drain_grace": 0.01}
    async with open_client(tmp_path, "echo", "holder", **one_at_a_time) as client:
        threads = [await new_thread(client) for _ in range(3)]
        for thread_id in threads:
            await client.get(await new_run(client, thread_id, "echo", "old") + "/join")
        begun = await new_run(client, threads[0], "holder", "cut off")
        await plays.gates["cut off"].reached.wait()
        waits = await new_run(client, threads[1], "holder", "never begun")
        await new_run(client, threads[2], "holder", "in front", priority=0)
    async with open_client(tmp_path, "echo", "holder", **one_at_a_time) as client:
        await plays.gates["in front"].reached.wait()
        for path in (begun, waits):
            assert (await client.post(f"{path}/cancel?wait=true")).status_code == 204
        shown = [(await client.get(f"/threads/{thread_id}")).json() for thread_id in threads[:2]]
    assert [thread["values"]["text"] for thread in shown] == ["cut off", "old"]
    assert [thread["status"] for thread in shown] == ["interrupted", "idle"]
