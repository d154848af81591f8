"""A real server with worker processes: they end with it, however it ends, and runs survive."""

import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from tests.process.server import Server, until
from tests.process.witness import ends_of, set_witness

RUNS = 6


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with closing(Server(tmp_path)) as one:
        yield one


def children(server: Server) -> list[psutil.Process]:
    return psutil.Process(server.pid).children()


async def test_workers_end_with_a_killed_server_and_runs_go_on_in_those_of_the_next(
    server: Server,
) -> None:
    await set_witness(server.database)
    server.start(workers=2)
    names = [f"run{number}" for number in range(RUNS)]
    for name in names:
        server.effects.gate(name, 1)
    runs = [server.submit("counter", {"name": name, "steps": 3}) for name in names]
    until(lambda: all(server.effects.holds(name, 2) for name in names))
    workers = children(server)
    assert len(workers) == 2

    server.kill9()
    until(lambda: not any(worker.is_running() for worker in workers))
    for name in names:
        server.effects.open_gate(name)
    server.start(workers=2)
    assert [run.join()["done"] for run in runs] == [3] * RUNS
    assert [ends_of(server.database, run.run_id) for run in runs] == [["success"]] * RUNS
    assert all(max(server.effects.steps(name).values()) <= 2 for name in names)


def test_a_stop_in_order_lets_workers_drain_and_charges_nothing(server: Server) -> None:
    server.start(workers=1)
    server.effects.gate("a", 1)
    run = server.submit("counter", {"name": "a", "steps": 3, "pause": 0.0})
    until(lambda: server.effects.holds("a", 2))
    workers = children(server)
    for worker in workers:
        worker.send_signal(signal.SIGTERM)  # as a supervisor does that signals all
    server.process.send_signal(signal.SIGTERM)
    until(lambda: not server.http.get("/readyz").is_success)
    server.effects.open_gate("a")
    assert server.wait() == 128 + signal.SIGTERM, server.log
    until(lambda: not any(worker.is_running() for worker in workers))
    assert server.effects.steps("a") == {1: 1, 2: 1}

    server.start(workers=1)
    assert run.join()["done"] == 3
    assert server.effects.steps("a") == {1: 1, 2: 1, 3: 1}
