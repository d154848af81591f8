"""Probes: what they say, of what, and to whom."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import httpx

from operations.keys import KeyFolder
from orchestration.api.conditions import PARTS
from tests.api.client import client_of, new_run, new_thread, open_client, open_play
from tests.api.plays import gates

HERE = set(PARTS) - {"workers"}


async def test_readyz_says_how_each_part_is_when_it_is_asked(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo") as client:
        short = (await client.get("/readyz")).json()
        answer = await client.get("/readyz?verbose")
    assert short == {"status": "ok"}
    components = answer.json()["components"]
    assert components.keys() == HERE
    assert {one["state"] for one in components.values()} == {"ok"}
    assert components["queue"]["figures"] == {
        "waiting": 0,
        "capacity": 10_000,
        "working": 0,
        "slots": 100,
    }


async def test_a_full_queue_is_told_and_keeps_the_service_ready(tmp_path: Path) -> None:
    async with open_client(tmp_path, "holder", max_concurrent_runs=1, queue_capacity=1) as client:
        for _ in range(2):
            await new_run(client, await new_thread(client), "holder", "health")
        await gates["health"].reached.wait()
        answer = await client.get("/readyz", params={"verbose": "true"})
        gates["health"].opened.set()
    assert answer.status_code == 200
    queue = answer.json()["components"]["queue"]
    assert (queue["state"], queue["reason"]) == (
        "degraded",
        "the queue is full; new runs are refused",
    )


async def test_while_it_stops_it_is_not_ready_unless_that_does_not_count(tmp_path: Path) -> None:
    async with open_play(tmp_path, "echo") as service, client_of(service.app) as client:
        await service.shutdown.run()
        answer = await client.get("/readyz?verbose")
        excluded = await client.get("/readyz?exclude=loop")
        alive = await client.get("/livez")
    assert answer.status_code == 503
    body = answer.json()
    assert (body["status"], body["loop"]) == ("not ready", "the service is stopping")
    assert body["shutdown"]["phase"] == "records"
    steps = {one["step"]: one["result"] for one in body["shutdown"]["steps"]}
    assert steps.items() >= {"intake": "done", "runs": "done", "agents": "done"}.items()
    assert (excluded.status_code, alive.status_code) == (200, 200)


async def test_a_part_that_does_not_exist_cannot_be_excluded(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo") as client:
        answer = await client.get("/readyz?exclude=databse")
    assert answer.status_code == 422
    assert answer.json()["detail"].endswith("Did you mean database?")


async def test_every_part_that_there_is_can_be_excluded(tmp_path: Path) -> None:
    async with open_play(tmp_path, "echo") as service, client_of(service.app) as client:
        shown = (await client.get("/readyz?verbose")).json()["components"]
        without = [("exclude", part) for part in PARTS]
        nothing = await client.get("/readyz", params=[("verbose", ""), *without])
    assert set(shown) == HERE
    assert (nothing.status_code, nothing.json()["components"]) == (200, {})


async def test_a_database_that_cannot_be_read_makes_it_not_ready(tmp_path: Path) -> None:
    async with open_play(tmp_path, "echo") as service, client_of(service.app) as client:
        with closing(sqlite3.connect(tmp_path / "data" / "masterloop.db")) as other, other:
            other.execute("ALTER TABLE runs RENAME TO gone")
        broken = await client.get("/readyz")
        with closing(sqlite3.connect(tmp_path / "data" / "masterloop.db")) as other, other:
            other.execute("ALTER TABLE gone RENAME TO runs")
        mended = await client.get("/readyz")
    assert broken.status_code == 503
    assert "no such table" in broken.json()["database"]
    assert mended.status_code == 200


async def test_a_file_that_was_damaged_in_service_makes_it_not_ready_at_the_first_write(
    tmp_path: Path,
) -> None:
    path = tmp_path / "data" / "masterloop.db"
    async with open_play(tmp_path, "echo"):
        pass
    with closing(sqlite3.connect(path)) as other, other:
        sql = "SELECT rootpage FROM sqlite_schema WHERE name = 'threads'"
        (page,) = other.execute(sql).fetchone()
    async with open_play(tmp_path, "echo") as service, client_of(service.app) as client:
        with path.open("r+b") as file:
            file.seek((page - 1) * 4_096)
            file.write(b"x" * 4_096)
        refused = await client.post("/threads", json={})
        answers = [await client.get("/readyz") for _ in range(2)]
    assert refused.status_code == 503
    assert [answer.status_code for answer in answers] == [503, 503]
    assert "is damaged" in answers[1].json()["database"]


async def test_startupz_waits_for_the_first_agents(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo") as client:
        assert (await client.get("/startupz")).json() == {"status": "ok"}


async def test_where_callers_are_known_a_probe_tells_no_figures(tmp_path: Path) -> None:
    KeyFolder(tmp_path / "data").create("alice", "run")
    async with open_client(tmp_path, "echo") as client:
        answer = await client.get("/readyz?verbose")
    assert answer.status_code == 200
    assert answer.json()["components"]["queue"] == {"state": "ok"}


async def test_the_status_says_how_many_tasks_the_event_loop_has(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo") as client, asyncio.TaskGroup() as group:
        before = await _tasks(client)
        waiting = [group.create_task(asyncio.Event().wait()) for _ in range(200)]
        after = await _tasks(client)
        for task in waiting:
            task.cancel()
    assert after - before > 150  # others may end meanwhile


async def _tasks(client: httpx.AsyncClient) -> int:
    status = (await client.get("/ops/status")).json()
    tasks: int = status["components"]["event_loop"]["figures"]["tasks"]
    return tasks
