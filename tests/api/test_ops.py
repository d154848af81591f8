"""What the service tells of itself to those who run it."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from operations.keys import KeyFolder
from tests.api.client import client_of, open_client, open_play, open_socket, parts, serving

FINISHED = {"assistant_id": "echo", "input": {"text": "hello"}}
CANARY = "sk-canary-0123456789abcdef"


async def until_told(client: httpx.AsyncClient, path: str, **params: Any) -> Any:
    """Ask until there is something: it is told a tenth of a second after it happened."""
    async with asyncio.timeout(15):
        while not (  # noqa: ASYNC110 - a thread brings it about
            found := (await client.get(path, params=params)).json()
        ):
            await asyncio.sleep(0.01)
    return found


async def test_the_status_names_every_part_and_its_figures(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo") as client:
        status = (await client.get("/ops/status")).json()
    assert status["components"]["queue"]["figures"]["slots"] == 100
    assert (status["shutdown"], status["lookers"]) == (None, 0)
    assert status["pid"]


async def test_runs_are_counted_for_each_assistant_and_after_a_restart_too(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo", "failing") as client:
        for graph in ("echo", "echo", "failing"):
            await client.post("/runs/wait", json={**FINISHED, "assistant_id": graph})
        await until_told(client, "/ops/activity", event="run_ended")
    async with open_client(tmp_path, "echo") as client:
        stats = (await client.get("/ops/stats")).json()
        of_one = (await client.get("/ops/stats", params={"assistant": "echo"})).json()
    assert (stats["runs"]["1d"]["count"], stats["runs"]["1d"]["success"]) == (3, 2)
    assert stats["assistants"]["failing"]["1h"]["success"] == 0
    assert list(of_one["assistants"]) == ["echo"]


async def test_the_last_events_can_be_filtered_and_tell_no_secrets(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo") as client:
        for _ in range(40):
            await client.post("/runs/wait", json=FINISHED)
        await client.post("/runs", json={"assistant_id": CANARY, "input": {}})
        ended = await until_told(client, "/ops/activity", event="run_ended")
        everything = (await client.get("/ops/activity")).text
        run_id = ended[0]["run_id"]
        of_one = (await client.get("/ops/activity", params={"run_id": run_id})).json()
        newest = (await client.get("/ops/activity", params={"limit": 3})).json()
    assert len(json.loads(everything)) <= 100
    assert CANARY not in everything
    assert {entry["event"] for entry in ended} == {"run_ended"}
    assert {entry["run_id"] for entry in of_one} == {run_id}
    assert [entry["number"] for entry in newest] == sorted(
        (entry["number"] for entry in newest), reverse=True
    )


async def next_of(events: AsyncIterator[Any], topic: str) -> Any:
    async for part in events:
        if part.event == topic:
            return part.data
    raise AssertionError(f"the stream ended without {topic}")


async def test_a_stream_begins_with_how_things_are_and_ends_with_the_service(
    tmp_path: Path,
) -> None:
    async with open_socket(tmp_path, "echo") as (service, client):
        async with asyncio.timeout(15), client.stream("GET", "/ops/stream") as answer:
            told = parts(answer)
            figures = await next_of(told, "metrics")
            assert figures["data"]["waiting"] == 0
            await client.post("/runs/wait", json=FINISHED)
            run = await next_of(told, "runs")
            assert run["data"]["event"].startswith("run_")
            assert run["key"] == run["data"]["run_id"]
            stopping = asyncio.create_task(service.shutdown.run())
            shutdown = await next_of(told, "shutdown")
            assert "phase" in (shutdown or {}).get("data", {"phase": None})
            await stopping
            rest = [part async for part in told]
        assert rest[-1].event == "shutdown"
        assert service.shutdown.ended


async def test_only_what_is_asked_for_is_told_over_a_websocket(tmp_path: Path) -> None:
    async with (
        open_play(tmp_path, "echo") as service,
        serving(service.app) as (host, port),
        client_of(service.app) as client,
    ):
        url = f"ws://{host}:{port}/ops/stream?topics=activity"
        async with asyncio.timeout(15), connect(url) as socket:
            await client.post("/runs/wait", json=FINISHED)
            topics = set()
            while not (told := json.loads(await socket.recv()))["data"]["event"].startswith("run_"):
                topics.add(told["topic"])
            assert topics | {told["topic"]} == {"activity"}
            await service.shutdown.run()
            async for _ in socket:
                pass
        assert socket.close_code == 1001


@pytest.mark.parametrize(
    ("path", "origin", "status"),
    [
        ("/ops/stream", "http://evil.example", 403),
        ("/ops/stream", "http://[", 403),
        ("/ops/nothing", None, 404),
        ("/ops/stream?topics=everything", None, 422),
    ],
)
async def test_a_websocket_that_may_not_be_is_refused_which_is_no_error_of_the_service(
    tmp_path: Path,
    path: str,
    origin: Any,
    status: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with (
        open_play(tmp_path, "echo") as service,
        serving(service.app) as (host, port),
        asyncio.timeout(15),
    ):
        with pytest.raises(InvalidStatus) as refused:
            await connect(f"ws://{host}:{port}{path}", origin=origin)
    assert refused.value.response.status_code == status
    assert not caplog.records


async def test_an_application_that_leaves_a_websocket_without_an_answer_is_named_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def leave(scope: Any, receive: Any, send: Any) -> None:
        pass

    async with serving(leave) as (host, port), asyncio.timeout(15):
        with pytest.raises(InvalidStatus):
            await connect(f"ws://{host}:{port}/")
    assert "without completing handshake" in caplog.text


async def test_where_callers_are_known_only_operators_look(tmp_path: Path) -> None:
    keys = KeyFolder(tmp_path / "data")
    runner, admin = keys.create("bob", "run")[1], keys.create("root", "admin")[1]
    async with (
        open_play(tmp_path, "echo") as service,
        serving(service.app) as (host, port),
        client_of(service.app) as client,
        asyncio.timeout(15),
    ):
        url = f"ws://{host}:{port}/ops/stream"
        statuses: list[int] = []
        for headers in ({}, {"x-api-key": runner}):
            with pytest.raises(InvalidStatus) as refused:
                await connect(url, additional_headers=headers)
            statuses.append(refused.value.response.status_code)
        async with connect(url, additional_headers={"x-api-key": admin}) as socket:
            assert json.loads(await socket.recv())["topic"] == "metrics"
        answers = [
            await client.get("/ops/status", headers={"x-api-key": key}) for key in (runner, admin)
        ]
    assert statuses == [401, 403]
    assert [answer.status_code for answer in answers] == [403, 200]


async def test_the_status_file_says_how_the_service_is_and_how_it_ended(tmp_path: Path) -> None:
    file = tmp_path / "data" / "status.json"
    async with open_client(tmp_path, "echo"), asyncio.timeout(15):
        while not file.exists():  # noqa: ASYNC110 - a thread brings it about
            await asyncio.sleep(0.01)
        serving_now = json.loads(file.read_text())
    assert (serving_now["state"], serving_now["working"]) == ("serving", 0)
    assert json.loads(file.read_text())["state"] == "stopped"
    with pytest.raises(ZeroDivisionError):
        async with open_client(tmp_path, "echo"):
            raise ZeroDivisionError
    ended = json.loads(file.read_text())
    assert (ended["state"], ended["error"]) == ("crashed", "ZeroDivisionError")
