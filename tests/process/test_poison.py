"""Runs that take the server down: given up after three crashes, and nobody else with them."""

from tests.process.server import Server, until


def die_again(server: Server, **settings: object) -> None:
    """Restart a server that dies of its runs, as a supervisor would."""
    server.launch(settings)
    assert server.wait() == 139, server.log


def test_a_run_that_kills_its_server_three_times_is_given_up_and_an_innocent_one_is_not(
    server: Server,
) -> None:
    server.start()
    server.effects.gate("innocent", 1)
    innocent = server.submit("counter", {"name": "innocent", "steps": 3})
    until(lambda: server.effects.holds("innocent", 2))
    poison = server.submit("counter", {"name": "poison", "steps": 1, "dies": "always"})
    assert server.wait() == 139, server.log
    die_again(server)
    # Both are suspects now, and work one after the other: the next crash tells which it was.
    server.effects.open_gate("innocent")
    die_again(server)

    server.start()
    assert innocent.join()["done"] == 3
    assert server.effects.steps("innocent") == {1: 1, 2: 1, 3: 1}
    assert (poison.status, poison.thread_status) == ("error", "error")
    assert poison.join()["__error__"]["error"] == "PoisonRun"
    metrics = server.http.get("/metrics").text
    assert 'masterloop_dead_letters{reason="poison"} 1.0' in metrics
    letters = server.http.get("/dead-letters").json()
    assert [(letter["run_id"], letter["dead_letter"]) for letter in letters] == [
        (poison.run_id, "poison")
    ]


def test_an_innocent_run_that_waits_while_the_server_dies_is_charged_nothing(
    server: Server,
) -> None:
    server.start(max_concurrent_runs=1)
    server.effects.gate("poison")
    poison = server.submit("counter", {"name": "poison", "steps": 1, "dies": "always"})
    innocents = [
        server.submit("counter", {"name": f"innocent-{number}", "steps": 1}) for number in range(3)
    ]
    server.effects.open_gate("poison")
    assert server.wait() == 139, server.log
    for _ in range(2):
        die_again(server, max_concurrent_runs=1)
    server.start(max_concurrent_runs=1)
    assert poison.status == "error"
    for innocent in innocents:
        assert innocent.join()["done"] == 1
        assert innocent.get()["attempt"] == 1


def test_a_forced_stop_is_not_taken_for_a_crash(server: Server) -> None:
    server.effects.gate("innocent", 1)
    server.start()
    innocent = server.submit("counter", {"name": "innocent", "steps": 2})
    for _ in range(3):
        until(lambda: innocent.status == "running" and server.effects.holds("innocent", 2))
        server.process.terminate()
        until(lambda: "draining" in server.log)
        assert server.stop() == 143, server.log
        server.start()
    server.effects.open_gate("innocent")
    assert innocent.join()["done"] == 2
    assert innocent.get()["attempt"] == 1
