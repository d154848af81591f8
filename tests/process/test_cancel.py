"""Cancelling over HTTP: ended within the grace, nothing done afterwards, the slot free again."""

import time

import httpx
import pytest

from tests.process.server import Server, Submitted, until

GRACE = 0.5  # seconds that a node has to clean up
SLACK = 1.5  # seconds for everything else, on a busy machine
TICKS = 3


def start(server: Server) -> None:
    """Start a server with one slot, so that a slot that is not freed is noticed."""
    server.start(max_concurrent_runs=1, cancel_grace=GRACE)


def begin(server: Server, graph: str, lines: int = 1) -> Submitted:
    """Submit a run and wait for its first side effects."""
    run = server.submit(graph, {"name": "cancelled"})
    until(lambda: len(server.effects.of("cancelled")) >= lines, why=lambda: server.log)
    return run


def cancel(run: Submitted) -> float:
    """Cancel a run, wait for it to end, and return how long that took, in seconds."""
    began = time.monotonic()
    answer = run.cancel(wait="true")
    assert answer.status_code == httpx.codes.NO_CONTENT, answer.text
    assert run.get()["status"] == "interrupted"
    return time.monotonic() - began


def next_one_runs(server: Server) -> bool:
    """Run something else in the only slot."""
    run = server.submit("counter", {"name": "next", "steps": 2})
    return bool(run.join()["done"] == 2)


@pytest.mark.parametrize("graph", ["ticking", "parallel", "nested"])
def test_nothing_happens_after_a_cancel_was_answered(server: Server, graph: str) -> None:
    start(server)
    run = begin(server, graph, TICKS)
    assert cancel(run) < SLACK
    ticks = server.effects.of("cancelled")
    assert next_one_runs(server)
    # Tens of ticks would have fit into the life of the next run and of this one.
    server.submit("counter", {"name": "long", "steps": 1, "pause": 0.3}).join()
    assert server.effects.of("cancelled") == ticks
    assert run.thread_status != "busy"


@pytest.mark.parametrize(("graph", "grace"), [("stubborn", GRACE), ("threaded", 0.0)])
def test_code_that_cannot_be_stopped_keeps_neither_its_slot_nor_its_thread(
    server: Server, graph: str, grace: float
) -> None:
    start(server)
    run = begin(server, graph)
    assert grace <= cancel(run) < GRACE + SLACK
    assert next_one_runs(server)
    assert run.thread_status != "busy"

    server.effects.release("cancelled")
    again = server.submit("counter", {"name": "again", "steps": 1}, thread=run.thread_id)
    assert again.join()["done"] == 1
    assert run.status == "interrupted"


def test_a_queued_run_is_cancelled_before_it_starts(server: Server) -> None:
    start(server)
    working = begin(server, "ticking")
    queued = server.submit("counter", {"name": "queued", "steps": 1})
    assert cancel(queued) < SLACK
    server.effects.open_gate("cancelled")
    assert working.join()["answer"] == "ticked"
    assert next_one_runs(server)
    assert server.effects.of("queued") == []
    assert queued.thread_status == "idle"


def test_a_delayed_run_is_cancelled_before_its_time(server: Server) -> None:
    start(server)
    delayed = server.submit("counter", {"name": "delayed", "steps": 1}, after_seconds=0.5)
    assert cancel(delayed) < SLACK
    server.submit("counter", {"name": "long", "steps": 1, "pause": 0.8}).join()
    assert server.effects.of("delayed") == []
    assert delayed.thread_status == "idle"


def test_a_cancel_with_rollback_leaves_nothing(server: Server) -> None:
    start(server)
    run = begin(server, "nested", TICKS)
    answer = run.cancel(wait="true", action="rollback")
    assert answer.status_code == httpx.codes.NO_CONTENT, answer.text
    assert server.http.get(run.path).status_code == httpx.codes.NOT_FOUND
    state = server.http.get(f"/threads/{run.thread_id}/state").json()
    assert state["values"] in ({}, None, [])
    assert next_one_runs(server)


def test_a_cancelled_run_stays_cancelled_over_a_kill(server: Server) -> None:
    start(server)
    run = begin(server, "ticking")
    cancel(run)
    ticks = server.effects.of("cancelled")
    server.kill9()
    start(server)
    assert run.status == "interrupted"
    assert next_one_runs(server)
    assert server.effects.of("cancelled") == ticks
    assert run.cancel().status_code == httpx.codes.NOT_FOUND
