"""SIGTERM and SIGINT: nothing accepted is lost, and the end comes in time."""

import json
import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest

from tests.process.server import Server, Submitted, until

SIGTERM_CODE = 128 + signal.SIGTERM
SIGINT_CODE = 128 + signal.SIGINT
BUDGET = 25.0  # seconds a stop may take: Kubernetes gives 30


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds


def begun(server: Server, name: str) -> None:
    """Wait until a run has had a side effect."""
    until(lambda: server.effects.of(name), why=lambda: server.log)


def held_at(server: Server, name: str, step: int) -> None:
    """Wait until a run waits in a step, all steps before it done."""
    until(lambda: server.effects.holds(name, step), why=lambda: server.log)


def is_draining(server: Server) -> bool:
    return server.http.get("/readyz").status_code == httpx.codes.SERVICE_UNAVAILABLE


def is_writing(database: Path) -> bool:
    """Whether somebody is in the middle of a transaction that writes."""
    with closing(sqlite3.connect(database, timeout=0, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return True
        connection.execute("ROLLBACK")
        return False


def counter(server: Server, name: str, steps: int = 1) -> Submitted:
    return server.submit("counter", {"name": name, "steps": steps})


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_server_stops_at_once_and_says_which_signal_it_was(
    server: Server, number: signal.Signals
) -> None:
    server.start()
    with at_most(3):
        assert server.stop(number) == 128 + number, server.log


def test_an_open_stream_is_told_of_the_stop_and_the_run_goes_on_after_it(server: Server) -> None:
    server.start()
    server.effects.gate("streamed", 1)
    body = {"assistant_id": "counter", "input": {"name": "streamed", "steps": 3}}
    with server.http.stream(
        "POST", "/runs/stream", json={**body, "on_completion": "keep"}
    ) as answer:
        lines = answer.iter_lines()
        assert "event: metadata" in lines
        held_at(server, "streamed", 2)
        with at_most(BUDGET):
            server.process.terminate()
            until(lambda: is_draining(server))
            server.effects.open_gate("streamed")
            rest = list(lines)
            assert server.wait() == SIGTERM_CODE, server.log
        path = answer.headers["content-location"]
    assert "event: shutdown" in rest
    assert "event: end" not in rest
    assert "event: error" not in rest

    server.start()
    _, _, thread_id, _, run_id = path.split("/")
    run = Submitted(server, thread_id, run_id)
    assert run.join()["done"] == 3
    assert server.effects.steps("streamed") == {1: 1, 2: 1, 3: 1}


def test_a_full_queue_refuses_with_503_and_survives_the_stop(server: Server) -> None:
    bounds = {"max_concurrent_runs": 1, "queue_capacity": 4}
    server.start(**bounds)
    server.effects.gate("first", 1)
    runs = [counter(server, "first", 3)]
    held_at(server, "first", 2)
    runs += [counter(server, str(number)) for number in range(4)]
    body = {"assistant_id": "counter", "input": {"name": "late", "steps": 1}}
    refused = server.http.post("/runs", json=body)
    assert refused.status_code == httpx.codes.SERVICE_UNAVAILABLE
    assert int(refused.headers["retry-after"]) >= 1
    assert "full" in refused.json()["detail"]

    server.process.terminate()
    until(lambda: is_draining(server))
    server.effects.gate("first", 2)
    with at_most(5):
        assert server.wait() == SIGTERM_CODE, server.log
    assert server.effects.steps("first") == {1: 1, 2: 1}

    server.effects.open_gate("first")
    server.start(**bounds)
    for run in runs:
        run.join()
        assert (run.get()["status"], run.get()["attempt"]) == ("success", 1)
    assert server.effects.steps("first") == {1: 1, 2: 1, 3: 1}
    assert [server.effects.of(str(number)) for number in range(4)] == [["1"]] * 4
    assert server.effects.of("late") == []


def test_while_draining_it_lives_and_is_not_ready_and_takes_nothing(server: Server) -> None:
    server.start()
    server.effects.gate("held", 1)
    held = counter(server, "held", 2)
    held_at(server, "held", 2)
    server.process.terminate()
    until(lambda: is_draining(server))
    body = {"assistant_id": "counter", "input": {"name": "new", "steps": 1}}
    for path in ("/runs", "/runs/wait", "/runs/stream", f"/threads/{held.thread_id}/runs"):
        refused = server.http.post(path, json=body)
        assert refused.status_code == httpx.codes.SERVICE_UNAVAILABLE
        assert refused.headers["content-type"] == "application/problem+json"
        assert int(refused.headers["retry-after"]) >= 1
    assert server.http.get("/livez").is_success
    assert held.status == "running"
    server.effects.open_gate("held")
    assert server.wait() == SIGTERM_CODE, server.log


def test_a_run_that_does_not_reach_a_super_step_is_cut_off_and_goes_on_later(
    server: Server,
) -> None:
    server.start(drain_grace=0.3)
    server.effects.gate("stuck", 1)
    stuck = counter(server, "stuck", 2)
    held_at(server, "stuck", 2)
    with at_most(6):
        assert server.stop() == SIGTERM_CODE, server.log

    server.effects.open_gate("stuck")
    server.start()
    assert stuck.join()["done"] == 2
    assert stuck.get()["attempt"] == 1
    assert server.effects.steps("stuck") == {1: 1, 2: 1}


def test_a_run_that_was_being_claimed_when_the_signal_came_is_drained_too(server: Server) -> None:
    server.start(failpoints="accept.before_commit=sleep:1")
    server.effects.gate("claimed", 1)
    with ThreadPoolExecutor(1) as thread:
        accepting = thread.submit(counter, server, "claimed", 2)
        until(lambda: is_writing(server.database))  # asleep there, with the claim queued behind it
        server.process.terminate()
        claimed = accepting.result()
        with at_most(6):
            assert server.wait() == SIGTERM_CODE, server.log

    server.effects.open_gate("claimed")
    server.start()
    assert claimed.join()["done"] == 2
    assert claimed.get()["attempt"] == 1
    assert server.effects.steps("claimed") == {1: 1, 2: 1}


@pytest.mark.parametrize(
    ("graph", "number"), [("stubborn", signal.SIGTERM), ("threaded", signal.SIGINT)]
)
def test_a_second_signal_stops_it_whatever_its_runs_do(
    server: Server, graph: str, number: signal.Signals
) -> None:
    server.start()
    ignorant = server.submit(graph, {"name": "ignorant"})
    begun(server, "ignorant")
    server.process.send_signal(number)
    until(lambda: is_draining(server))
    with at_most(2):
        assert server.stop(number) == 128 + number, server.log

    server.effects.release("ignorant")
    server.start()
    assert "answer" in ignorant.join()


LAST_OF_ALL = """
import atexit, os, pathlib, time

folder = pathlib.Path(os.environ["EFFECTS_FOLDER"])

@atexit.register  # before anybody else does: so it is done last
def wait() -> None:
    (folder / "ending").touch()
    while not (folder / "may-end").exists():
        time.sleep(0.01)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_the_interpreter_ends_changes_nothing(
    server: Server, tmp_path: Path, number: signal.Signals
) -> None:
    (tmp_path / "sitecustomize.py").write_text(LAST_OF_ALL)
    paths = (str(tmp_path), os.environ.get("PYTHONPATH", ""))
    server.start(PYTHONPATH=os.pathsep.join(filter(None, paths)))
    server.process.send_signal(number)
    until((server.effects.folder / "ending").exists, why=lambda: server.log)
    server.process.send_signal(number)
    (server.effects.folder / "may-end").touch()
    assert server.wait() == 128 + number, server.log
    assert "Traceback" not in server.log


@pytest.mark.parametrize("graph", ["stubborn", "threaded"])
def test_one_signal_stops_it_in_time_though_a_run_ignores_its_cancellation(
    server: Server, graph: str
) -> None:
    server.start(drain_grace=1)
    ignorant = server.submit(graph, {"name": "ignorant"})
    begun(server, "ignorant")
    with at_most(6):  # 5 s around the drain, as the settings promise
        assert server.stop() == SIGTERM_CODE, server.log

    server.effects.release("ignorant")
    server.start()
    assert "answer" in ignorant.join()
    assert ignorant.get()["attempt"] == 1


SLOW_TO_IMPORT = """
import pathlib, time
pathlib.Path(__file__).with_name("importing").touch()
while True:
    time.sleep(0.01)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_a_graph_is_imported_ends_it(tmp_path: Path, number: signal.Signals) -> None:
    manifest = {"dependencies": ["."], "graphs": {"slow": "./slow.py:graph"}}
    (tmp_path / "langgraph.json").write_text(json.dumps(manifest))
    (tmp_path / "slow.py").write_text(SLOW_TO_IMPORT)
    with closing(Server(tmp_path, tmp_path / "langgraph.json")) as server:
        server.launch({})
        until((tmp_path / "importing").exists, why=lambda: server.log)
        with at_most(5):
            assert server.stop(number) == 128 + number, server.log
        assert "Traceback" not in server.log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_the_data_folder_is_opened_ends_it(
    server: Server, number: signal.Signals
) -> None:
    server.start()
    server.effects.gate("held")
    held = counter(server, "held")
    server.kill9()

    lock = server.data / "masterloop.db.lock"
    server.launch({})
    until(lambda: lock.read_text().strip() == str(server.pid), why=lambda: server.log)
    with at_most(5):
        assert server.stop(number) == 128 + number, server.log
    assert "Traceback" not in server.log

    server.effects.open_gate("held")
    server.start()
    assert held.join()["done"] == 1
