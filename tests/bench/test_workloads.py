"""The workloads, of the limit server in this process."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
import uvicorn

from load.bench.api import Api
from load.bench.marks import Marks, open_marks
from load.bench.pace import QUICK
from load.bench.peers import PEERS, PROJECT, SERVERS
from load.bench.server import Server
from load.bench.workloads.bench import Bench, closed_loop, until
from load.bench.workloads.burst import burst
from load.bench.workloads.cancelling import cancel
from load.bench.workloads.streaming import stream

PACE = replace(QUICK, warm_up=0.05, burst=20, streams=10, cancels=2)


@asynccontextmanager
async def limit(monkeypatch: pytest.MonkeyPatch, folder: Path) -> AsyncIterator[Bench]:
    """Serve, and give what measures it."""
    with open_marks() as marks:
        uvicorn_server = served(marks, monkeypatch, folder)
        serving = asyncio.create_task(uvicorn_server.serve())
        assert await until(lambda: uvicorn_server.started or serving.done(), 30)
        server = Server(PEERS["limit-sqlite"], "W1", marks.file)
        server.port = uvicorn_server.servers[0].sockets[0].getsockname()[1]
        api = Api(server.port, stateless=True)
        try:
            yield Bench(server=server, marks=marks, api=api, pace=PACE)
        finally:
            api.close()
            uvicorn_server.should_exit = True
            await serving
            sys.modules["bench_graphs"].MARKS.close()


def served(marks: Marks, monkeypatch: pytest.MonkeyPatch, folder: Path) -> uvicorn.Server:
    monkeypatch.setenv("BENCH_MARKS", str(marks.file))
    monkeypatch.setenv("LIMIT_DURABLE", "1")
    monkeypatch.chdir(folder)
    for place in (PROJECT, SERVERS):
        monkeypatch.syspath_prepend(place)
    for name in ("bench_graphs", "limit_server"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    app = import_module("limit_server").app
    return uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical"))


async def test_waited_runs_are_timed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async with limit(monkeypatch, tmp_path) as bench:
        took = await closed_loop(bench, "noop", at_once=5, seconds=30, most=20)
        assert (bench.errors, bench.samples) == (0, [])
        assert 20 <= len(took) < 25
        assert min(took) > 0


async def test_a_burst_is_measured_to_its_end(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with limit(monkeypatch, tmp_path) as bench:
        found = await burst(bench)
        assert (bench.errors, bench.samples) == (0, [])
        assert found["accepted/s"] >= found["runs/s"] > 0
        assert bench.marks.finishes(PACE.burst) == [1] * PACE.burst


async def test_streams_tell_when_the_first_and_the_last_came(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with limit(monkeypatch, tmp_path) as bench:
        found = await stream(bench)
        assert (bench.errors, bench.samples) == (0, [])
        assert found["1 at once, last event p50 ms"] > found["1 at once, first event p50 ms"] > 0


async def test_a_cancel_is_measured_to_its_end(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with limit(monkeypatch, tmp_path) as bench:
        found = await cancel(bench)
        assert (bench.errors, bench.samples) == (0, [])
        assert found["ended p95 ms"] > found["node stopped p50 ms"] > 0


async def test_runs_that_give_nothing_are_errors(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with limit(monkeypatch, tmp_path) as bench:
        took = await closed_loop(bench, "no such graph", at_once=1, seconds=0.2)
        assert took == []
        assert bench.errors > 0
        assert bench.samples[0].startswith("500 ")
