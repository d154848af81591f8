"""A full disk: nothing is accepted, everything can be read, and space is all it takes to go on.

A limit on the size of the server's files stands in for the disk, for it can be set, and lifted,
from outside and without rights: writes beyond it fail.
"""

import resource

import httpx

from tests.process.server import Server, Submitted, until
from tests.process.witness import committed_steps, inspected, integrity

BALLAST = "x" * 200_000  # characters that a run keeps in its state


def fill(server: Server) -> httpx.Response:
    """Submit runs until there is no room for another, and return how that one was refused."""
    body = {"assistant_id": "counter", "input": {"name": "filling", "steps": 1, "ballast": BALLAST}}
    answers: list[httpx.Response] = []

    def refused() -> bool:
        answers.append(server.http.post("/runs", json={**body, "on_completion": "keep"}))
        return not answers[-1].is_success

    until(refused, 30, lambda: server.log)
    return answers[-1]


def room_for(server: Server) -> int:
    """Return a size of files that the database reaches soon."""
    files = server.data.glob("masterloop.db*")
    return max(file.stat().st_size for file in files) + 2_000_000


def finished(server: Server) -> Submitted:
    run = server.submit("counter", {"name": "read", "steps": 1})
    run.join()
    return run


def test_a_full_disk_refuses_runs_with_507_and_everything_can_be_read(server: Server) -> None:
    server.start()
    run = finished(server)
    server.limit_files(room_for(server))
    refused = fill(server)
    assert refused.status_code == httpx.codes.INSUFFICIENT_STORAGE
    assert refused.headers["content-type"] == "application/problem+json"
    assert server.http.get("/readyz").status_code == httpx.codes.SERVICE_UNAVAILABLE
    assert "no room" in server.http.get("/readyz").json()["database"]
    assert run.status == "success"
    assert run.thread_status == "idle"
    assert run.join()["done"] == 1
    for path in ("/livez", f"/threads/{run.thread_id}/state", f"/threads/{run.thread_id}/runs"):
        assert server.http.get(path).is_success, path
    assert server.http.post("/threads/search", json={}).is_success

    server.limit_files(resource.RLIM_INFINITY)
    assert server.http.get("/readyz").is_success
    assert finished(server).status == "success"


def fill_to_the_last_byte(server: Server) -> None:
    """Leave no room for anything: no checkpoint, no status, not even a line of the log."""
    server.limit_files(1)
    body = {"assistant_id": "counter", "input": {"name": "refused", "steps": 1}}
    refused = server.http.post("/runs", json=body)
    assert refused.status_code == httpx.codes.INSUFFICIENT_STORAGE, refused.text


def charged(server: Server, run: Submitted) -> tuple[str, int]:
    """Return the stored status of a run, and how many crashes it is charged with."""
    with inspected(server.database) as connection:
        sql = "SELECT status, crashes FROM runs WHERE run_id = ?"
        row = connection.execute(sql, (run.run_id,)).fetchone()
    return row["status"], row["crashes"]


def at_its_second_step(server: Server) -> Submitted:
    """Submit a run and hold it there."""
    server.effects.gate("working", 1)
    working = server.submit("counter", {"name": "working", "steps": 2}, durability="sync")
    with inspected(server.database) as connection:
        until(lambda: committed_steps(connection, working.thread_id, working.run_id) == 1)
    return working


def test_once_there_is_room_again_it_goes_on_without_a_restart(server: Server) -> None:
    server.start()
    working = at_its_second_step(server)
    with server.http.stream("GET", f"{working.path}/stream") as stream:
        lines = stream.iter_lines()
        fill_to_the_last_byte(server)
        server.effects.open_gate("working")
        assert "event: error" in lines  # its second step failed, and that cannot be stored
        assert (working.status, working.thread_status) == ("running", "busy")
        assert server.http.get("/livez").is_success

        server.limit_files(resource.RLIM_INFINITY)
        assert "event: end" in lines
    assert (working.status, working.thread_status) == ("error", "error")
    assert finished(server).status == "success"
    assert server.stop() == 143, server.log
    assert integrity(server.database) == "ok"


def test_a_stop_with_a_full_disk_loses_nothing(server: Server) -> None:
    server.start(drain_grace=0.5)
    working = at_its_second_step(server)
    fill_to_the_last_byte(server)
    assert server.stop() == 143, server.log
    assert charged(server, working) == ("running", 0)  # no more than that could be written

    server.effects.open_gate("working")
    server.start()
    assert working.join()["done"] == 2
    assert charged(server, working) == ("success", 0)
    assert server.effects.steps("working") == {1: 1, 2: 1}
