"""Who is turned away while the queue is full, before the service has looked at what they want."""

import asyncio
import json
import re
import socket
from collections.abc import AsyncGenerator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvloop

from orchestration.server import listen, several
from orchestration.service import Service
from tests.api.client import PROBLEM, open_socket
from tests.api.plays import gates
from tests.api.wire import GET, answer

Full = tuple[Service, httpx.AsyncClient]
BODY: dict[str, Any] = {"assistant_id": "holder", "input": {"text": "nobody"}}
THREAD = "/threads/00000000-0000-4000-8000-000000000000"


def held(folder: Path) -> dict[str, Any]:
    """A run that ends when the gate of a test opens."""
    return {"assistant_id": "holder", "input": {"text": str(folder)}}


@asynccontextmanager
async def full(folder: Path, **manifest: Any) -> AsyncGenerator[Full]:
    """Open a service that has no room for another run."""
    bounds = {"max_concurrent_runs": 1, "queue_capacity": 1}
    async with open_socket(folder, "holder", manifest=manifest, **bounds) as (service, client):
        prefix = manifest.get("http", {}).get("mount_prefix", "")
        for _ in range(2):
            (await client.post(f"{prefix}/runs", json=held(folder))).raise_for_status()
        try:
            yield service, client
        finally:
            gates[str(folder)].opened.set()


@pytest.mark.parametrize("manifest", [{}, {"http": {"mount_prefix": "/agents"}}])
async def test_whatever_would_start_a_run_is_refused_without_being_read(
    tmp_path: Path, manifest: dict[str, Any]
) -> None:
    prefix = manifest.get("http", {}).get("mount_prefix", "")
    paths = ["/runs", "/runs/wait", "/runs/stream", "/runs/batch", "/workflows/runs"]
    paths += [f"{THREAD}/runs", f"{THREAD}/runs/wait", f"{THREAD}/runs/stream"]
    async with full(tmp_path, **manifest) as (_, client):
        for path in paths:
            answer = await client.post(prefix + path, content=b"{ no JSON")
            assert (answer.status_code, answer.headers["content-type"]) == (503, PROBLEM)
            assert 1 <= int(answer.headers["retry-after"]) <= 60
            assert answer.json()["detail"] == "the run queue is full (1 runs)"
            assert answer.json()["instance"] == prefix + path


async def test_as_many_as_may_be_sent_ahead_are_turned_away_behind_another_request(
    tmp_path: Path,
) -> None:
    refused = b"POST /runs HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
    async with full(tmp_path) as (_, client):
        address = (client.base_url.host, client.base_url.port or 80)
        said = await answer(address, [GET + b"\r\n" + refused * 999 + GET + b"\r\n"])
    assert re.findall(rb"HTTP/1.1 (\d+) ", said) == [b"200", *[b"503"] * 999, b"200"]


async def test_everything_else_is_answered_as_ever(tmp_path: Path) -> None:
    async with full(tmp_path) as (service, client):
        run = service.loop.all_live()[0]
        path = f"/threads/{run.thread_id}/runs/{run.run_id}"
        assert (await client.get(path)).json()["status"] == "running"
        assert (await client.get("/runs?limit=1")).status_code == 200
        assert (await client.post("/threads", json={})).status_code == 200
        assert (await client.post(f"{path}/cancel?wait=true")).is_success


async def test_a_request_is_answered_again_though_there_is_no_room_for_another(
    tmp_path: Path,
) -> None:
    bounds: dict[str, Any] = {"max_concurrent_runs": 1, "queue_capacity": 1}
    async with open_socket(tmp_path, "holder", **bounds) as (_, client):
        body = held(tmp_path)
        keys = {"idempotency-key": "one"}
        first = await client.post("/runs", json=body, headers=keys)
        await client.post("/runs", json=body)
        again = await client.post("/runs", json=body, headers=keys)
        other = await client.post("/runs", json=body, headers={"idempotency-key": "two"})
        gates[str(tmp_path)].opened.set()
    assert (again.status_code, again.json()["run_id"]) == (200, first.json()["run_id"])
    assert other.status_code == 503


async def test_a_page_of_another_origin_can_read_the_refusal(tmp_path: Path) -> None:
    async with full(tmp_path) as (_, client):
        answer = await client.post("/runs", json=BODY, headers={"origin": "http://elsewhere"})
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (503, "*")


async def test_the_connection_lives_on_and_the_body_is_passed_over(tmp_path: Path) -> None:
    body = b"x" * 100_000
    head = b"POST /runs/wait HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    async with full(tmp_path) as (_, client):
        address = client.base_url
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(head)
        refused = await reader.readuntil(b"\r\n\r\n")
        writer.write(body + b"GET /ok HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        rest = await reader.read()
        writer.close()
    assert refused.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert b"HTTP/1.1 200 OK" in rest


async def test_who_wants_no_more_is_let_go_with_the_refusal(tmp_path: Path) -> None:
    asked = b"POST /runs HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    async with full(tmp_path) as (_, client):
        address = client.base_url
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(asked)
        answer = await reader.read()
        writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"connection: close" in head
    assert json.loads(body)["status"] == 503


async def test_those_turned_away_are_counted_like_all_others(tmp_path: Path) -> None:
    counted = (
        'masterloop_queue_rejected_total{reason="QueueFull"} 3.0',
        'masterloop_http_requests_total{code="503",method="POST",route="/runs/wait"} 3.0',
    )
    async with full(tmp_path) as (_, client):
        for _ in range(3):
            await client.post("/runs/wait", json=BODY)
        shown = ""
        while not all(line in shown for line in counted):
            shown = (await client.get("/metrics")).text


async def test_as_soon_as_there_is_room_runs_are_taken_again(tmp_path: Path) -> None:
    async with full(tmp_path) as (_, client):
        assert (await client.post("/runs/wait", json=BODY)).status_code == 503
        gates[str(tmp_path)].opened.set()
        status = 503
        while status == 503:
            status = (await client.post("/runs/wait", json=held(tmp_path))).status_code
    assert status == 200


async def test_routes_of_the_project_at_our_paths_see_every_request(tmp_path: Path) -> None:
    manifest = {"http": {"app": "tests.api.routes:app"}}
    async with open_socket(tmp_path, "echo", manifest=manifest) as (service, _):
        assert service.turn_away is None


def test_connections_that_come_together_are_accepted_in_few_turns_of_the_loop() -> None:
    clients = 64

    async def turns() -> int:
        loop = asyncio.get_running_loop()
        connections = count = 0
        done = asyncio.Event()

        class Connection(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                nonlocal connections
                connections += 1

            def connection_lost(self, exc: Exception | None) -> None:
                nonlocal connections
                connections -= 1
                if not connections:
                    done.set()

        with ExitStack() as stack:
            listener = listen("127.0.0.1", 0)
            for _ in range(clients):
                stack.enter_context(socket.create_connection(listener.getsockname()))
            for one in several(listener):
                stack.callback((await loop.create_server(Connection, sock=one)).close)
            while connections < clients:
                await asyncio.sleep(0)
                count += 1
        await done.wait()
        return count

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(turns()) <= clients // 4
