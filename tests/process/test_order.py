"""Which run goes first, and which has to end, as clients of a real server see it."""

import signal

import pytest

from tests.process.server import Server, until


def done_in_order(server: Server) -> list[str]:
    log = (server.effects.folder / "effects.log").read_text().split()
    return log[::2]


def test_the_queue_of_one_thread_holds_up_no_other(server: Server) -> None:
    server.start(max_concurrent_runs=2)
    server.effects.gate("first")
    first = server.submit("counter", {"name": "first", "steps": 1})
    for number in range(16):
        server.submit("counter", {"name": str(number), "steps": 1}, first.thread_id)
    other = server.submit("counter", {"name": "other", "steps": 1})
    assert other.join()["done"] == 1
    assert done_in_order(server) == ["other"]
    server.effects.open_gate("first")


def test_the_first_of_a_queue_is_the_most_urgent_and_each_is_told_its_place(
    server: Server,
) -> None:
    server.start(max_concurrent_runs=1)
    server.effects.gate("held")
    held = server.submit("counter", {"name": "held", "steps": 1})
    until(lambda: server.effects.holds("held", 1))
    names = {"late": 9, "normal": 5, "urgent": 0}
    runs = [
        server.submit("counter", {"name": name, "steps": 1}, priority=priority)
        for name, priority in names.items()
    ]
    why = server.http.get(f"/runs/{runs[0].run_id}/why").json()
    assert why["why"] == "2 ahead of it in priority 9; 1 of 1 slots busy"
    server.effects.open_gate("held")
    for run in (held, *runs):
        run.join()
    assert done_in_order(server) == ["held", "urgent", "normal", "late"]


def test_a_run_ends_at_its_own_deadline(server: Server) -> None:
    server.start()
    server.effects.gate("long")
    run = server.submit("counter", {"name": "long", "steps": 1}, timeout=0.2)
    assert run.join()["__error__"]
    assert (run.status, run.thread_status) == ("timeout", "error")


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_a_delayed_run_that_falls_due_is_behind_what_works_after_a_restart_too(
    server: Server, end: signal.Signals
) -> None:
    server.start(drain_grace=0.1)
    server.effects.gate("works", 1)
    late = server.submit("counter", {"name": "late", "steps": 1, "done": 0}, after_seconds=1)
    given = {"name": "works", "steps": 3}
    works = server.submit("counter", given, late.thread_id, durability="sync")
    until(lambda: server.effects.holds("works", 2))
    until(lambda: server.http.get(f"/runs/{late.run_id}/why").json()["place"] == "line")
    server.stop(end)
    server.effects.open_gate("works")
    server.start()
    for run in (works, late):
        run.join()
    assert done_in_order(server) == ["works", "works", "works", "late"]
