"""What Prometheus is told."""

import asyncio
import gzip
import re
import socket
import struct
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from operations.keys import KeyFolder
from operations.telemetry.record import Importance, Record
from orchestration.loop.events import RunAccepted, RunEnded
from orchestration.loop.run import RunStatus
from orchestration.telemetry import instruments as names
from orchestration.telemetry.exposition import Exposition
from orchestration.telemetry.gauges import Gauges
from orchestration.telemetry.metrics import Metrics
from tests.agents.kinds import free_port
from tests.api.client import new_run, new_thread, open_client

_CREATED = ("200", "POST", "/threads/{thread_id}/runs")


def told(*events: Any) -> Sequence[Record]:
    return [Record(1, 0.0, Importance.DETAIL, event, {}) for event in events]


def samples(text: str, name: str) -> dict[tuple[str, ...], float]:
    """Return the values of a metric by the values of its labels, as Prometheus reads them."""
    return {
        tuple(sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    }


async def scrape(client: httpx.AsyncClient) -> str:
    response = await client.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    return response.text


async def test_a_run_is_counted_from_its_acceptance_to_its_end(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo", "failing") as client:
        thread = await new_thread(client)
        for graph in ("echo", "failing", "echo"):
            path = await new_run(client, thread, graph)
            await client.get(f"{path}/join")

        text = ""

        async def all_told() -> bool:
            nonlocal text
            text = await scrape(client)
            runs = samples(text, "masterloop_runs_finished_total").values()
            return (
                sum(runs) == samples(text, "masterloop_http_requests_total").get(_CREATED, 0) == 3
            )

        while not await all_told():
            pass
    assert samples(text, "masterloop_runs_created_total") == {
        ("echo", "5", "api"): 2,
        ("failing", "5", "api"): 1,
    }
    assert samples(text, "masterloop_runs_finished_total") == {
        ("echo", "success"): 2,
        ("failing", "error"): 1,
    }
    assert samples(text, "masterloop_run_duration_seconds_count")["echo", "success"] == 2
    assert samples(text, "masterloop_run_queue_wait_seconds_count") == {("5",): 3}
    assert samples(text, "masterloop_workers_limit") == {(): 100}
    assert not re.search(r"[0-9a-f]{8}-[0-9a-f]{4}", text), "an id is no label"


async def test_waiting_runs_are_shown_by_priority_with_the_age_of_the_oldest(
    tmp_path: Path,
) -> None:
    async with open_client(tmp_path, "holder", max_concurrent_runs=1) as client:
        for priority in (3, 3, 7):
            await new_run(client, await new_thread(client), "holder", priority=priority)
        text = await scrape(client)
    assert samples(text, "masterloop_workers_busy") == {(): 1}
    assert samples(text, "masterloop_queue_depth") == {("3",): 1, ("7",): 1}
    assert samples(text, "masterloop_queue_oldest_age_seconds").keys() == {("3",), ("7",)}


async def test_the_text_is_sent_in_gzip_to_who_takes_that(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo") as client:
        async with client.stream(
            "GET", "/metrics", headers={"accept-encoding": "gzip"}
        ) as response:
            raw = b"".join([part async for part in response.aiter_raw()])
        assert response.headers["content-encoding"] == "gzip"
        assert b"# HELP masterloop_" in gzip.decompress(raw)
        plain = await client.get("/metrics", headers={"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers


async def test_where_callers_are_known_metrics_take_an_admin(tmp_path: Path) -> None:
    keys = KeyFolder(tmp_path / "data")
    tokens = {"run": keys.create("bob", "run")[1], "admin": keys.create("root", "admin")[1]}
    async with open_client(tmp_path, "echo") as client:
        assert (await client.get("/metrics")).status_code == 401
        for scope, status in (("run", 403), ("admin", 200)):
            answer = await client.get("/metrics", headers={"x-api-key": tokens[scope]})
            assert answer.status_code == status


async def test_there_is_a_port_for_scrapes_on_this_machine(tmp_path: Path) -> None:
    port = free_port()
    KeyFolder(tmp_path / "data").create("somebody", "run")
    async with open_client(tmp_path, "echo", admin_port=port), httpx.AsyncClient() as client:
        answer = await client.get(f"http://127.0.0.1:{port}/metrics")
        assert "masterloop_queue_capacity 10000.0" in answer.text
    async with httpx.AsyncClient() as client:
        with pytest.raises(httpx.ConnectError):
            await client.get(f"http://127.0.0.1:{port}/metrics")


async def test_a_scrape_that_fails_on_that_port_is_in_the_log(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def text() -> bytes:
        raise ValueError("no text")

    port = free_port()
    async with Exposition(text).listening(port), httpx.AsyncClient() as client:
        with capture_logs() as logged, pytest.raises(httpx.RemoteProtocolError):
            await client.get(f"http://127.0.0.1:{port}/metrics")
    assert [entry["event"] for entry in logged] == ["a scrape failed"]
    assert capsys.readouterr().err == ""


async def test_a_scraper_that_goes_away_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    asked, gone = threading.Event(), threading.Event()

    def text() -> bytes:
        asked.set()
        gone.wait(10)
        return b"text"

    port = free_port()
    async with Exposition(text).listening(port):
        with capture_logs() as logged:
            with socket.create_connection(("127.0.0.1", port)) as scraper:
                scraper.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
                await anyio.to_thread.run_sync(asked.wait)
                (answering,) = (
                    one for one in threading.enumerate() if "process_request_thread" in one.name
                )
                scraper.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            gone.set()
            await anyio.to_thread.run_sync(answering.join)
    assert (logged, capsys.readouterr().err) == ([], "")


async def test_the_end_of_that_port_does_not_hold_the_event_loop_up() -> None:
    turned: list[bool] = []
    async with Exposition(bytes).listening(free_port()):
        asyncio.get_running_loop().call_soon(turned.append, True)
    assert turned


def test_ten_thousand_assistants_have_no_more_series_than_two_hundred() -> None:
    metrics = Metrics()
    for number in range(10_000):
        name = f"assistant-{number}"
        metrics.take(
            told(
                RunAccepted("r", "t", "a", name, 5, "api", None),
                RunEnded("r", "t", name, RunStatus.SUCCESS, 1, 0.1),
            )
        )
    created = samples(metrics.text().decode(), "masterloop_runs_created_total")
    assert len(created) == 201
    assert created["other", "5", "api"] == 9_800


def test_a_name_not_seen_for_an_hour_leaves_its_series_to_a_new_one() -> None:
    now = 0.0
    metrics = Metrics(clock=lambda: now)

    def accept(name: str) -> None:
        metrics.take(told(RunAccepted("r", "t", "a", name, 5, "api", None)))

    def names_shown() -> set[str]:
        text = metrics.text().decode()
        return {labels[0] for labels in samples(text, "masterloop_runs_created_total")}

    for number in range(200):
        accept(f"assistant-{number}")
    now = 3_599.0
    accept("assistant-0")
    accept("late")
    assert names_shown() == {f"assistant-{number}" for number in range(200)} | {"other"}
    now = 3_600.0
    accept("late")
    assert "late" in names_shown()
    assert "assistant-0" in names_shown(), "it was seen a moment ago"
    assert "assistant-1" not in names_shown()


def test_every_metric_says_its_unit_in_its_name() -> None:
    for one in names.ALL:
        assert one.name.startswith("masterloop_")
        assert (one.kind == "counter") == one.name.endswith("_total")
        assert one.kind != "histogram" or one.name.endswith("_seconds")
        assert one.says.endswith(".")
    assert len({one.name for one in names.ALL}) == len(names.ALL)


async def test_a_blocked_event_loop_is_scraped_all_the_same(tmp_path: Path) -> None:
    """What was counted is shown; what only the loop knows is left out."""
    metrics = Metrics()
    loop = asyncio.new_event_loop()  # that never runs
    metrics.registry.register(Gauges(lambda: [(names.QUEUE_CAPACITY, (), 1.0)], loop))
    metrics.take(told(RunAccepted("r", "t", "a", "g", 5, "api", None)))
    text = (await anyio.to_thread.run_sync(metrics.text)).decode()
    loop.close()
    assert samples(text, "masterloop_runs_created_total") == {("g", "5", "api"): 1}
    assert "masterloop_queue_capacity" not in text


async def test_how_late_the_event_loop_is_is_measured(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo") as client:
        while not samples(await scrape(client), "masterloop_event_loop_lag_seconds_count")[()]:
            pass


def test_a_run_that_never_began_has_ended_and_took_no_time() -> None:
    metrics = Metrics()
    metrics.take(told(RunEnded("r", "t", "g", RunStatus.INTERRUPTED, 0, 0.0)))
    text = metrics.text().decode()
    assert samples(text, "masterloop_runs_finished_total") == {("g", "interrupted"): 1}
    assert samples(text, "masterloop_run_duration_seconds_count") == {}
