"""Agents of a real server that do their worst under load."""

import itertools
import json
import random
import shutil
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.process.server import Server, until

ROOT = Path(__file__).parents[2]
PLAYERS = ROOT / "tests/agents/players"
TASKS = 200
SEATS = 8
MEMORY = 64 * 2**20  # bytes that a server may gain

# What an agent does with a task, and what may come of it: a result, or an error in these words.
DEEDS: dict[str, tuple[str, ...]] = {
    "echo": (),
    "events": (),
    "fork": (),
    "fail": ("it failed on purpose",),
    "die": ("it ended with exit code 7",),
    "fork_and_die": ("it ended with exit code 1",),
    "stop": ("it was stopped", "missed", "longer than"),
    "long_line": ("it wrote a line of more than",),
    "binary": ("no JSON-RPC message",),
    "partial": ("it ended with exit code 0",),
    # uvloop leaves a copy of it open in the subprocess, so that only its silence is noticed.
    "close_stdout": ("it closed its stdout", "longer than"),
    "ignore_term": ("longer than",),
}


def _pool(**more: Any) -> dict[str, Any]:
    return {
        "kind": "process",
        "argv": [sys.executable, str(PLAYERS / "worker.py")],
        "end_grace": 0.3,
        **more,
    }


def _server(folder: Path, pool: dict[str, Any]) -> Server:
    """Return a server, not started yet, with one pool."""
    file = folder / "langgraph.json"
    document = {
        "dependencies": [str(ROOT)],
        "graphs": {"asker": "tests.agents.players.asker:asker"},
        "masterloop": {"agents": {"workers": pool}},
    }
    file.write_text(json.dumps(document))
    return Server(folder, file)


@pytest.fixture
def chaos(tmp_path: Path) -> Server:
    """A server with eight agents that are given little time."""
    pool = _pool(
        seats=SEATS,
        env={"CHAOS": str(tmp_path)},
        waiting=TASKS,
        limits={"task_timeout": 6, "cancel_grace": 0.5},
        probe={"period": 1, "timeout": 0.5, "failures": 2},
        restart={"first": 0.05, "most": 0.2, "intensity": 1000},
    )
    return _server(tmp_path, pool)


@pytest.mark.timeout(600)
def test_whatever_agents_do_every_task_ends_and_nothing_is_left(chaos: Server) -> None:
    try:
        _play(chaos)
    finally:
        chaos.close()


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="agents would have to end themselves")
def test_agents_do_not_outlive_a_server_that_was_killed(chaos: Server) -> None:
    try:
        chaos.start()
        process = psutil.Process(chaos.pid)
        until(lambda: len(process.children()) == SEATS)
        agents = process.children()
        chaos.submit("asker", {"tasks": [{"do": "ignore_term"}]})
        until(lambda: httpx.get(f"{chaos.url}/agents").json()[0]["in_flight"] == 1)
        chaos.kill9()
        until(lambda: not any(map(_lives, agents)))
    finally:
        chaos.close()


def test_what_agents_of_a_killed_server_have_started_does_not_outlive_the_next_start(
    chaos: Server,
) -> None:
    try:
        chaos.start()
        (forked,) = (psutil.Process(pid) for pid in _ask(chaos, "fork")["answers"])
        (agent,) = forked.parents()[:1]
        chaos.kill9()
        until(lambda: not _lives(agent))
        assert _lives(forked)
        chaos.start()
        until(lambda: not _lives(forked))
        until(lambda: len(list((chaos.data / "agents").iterdir())) == SEATS)
    finally:
        chaos.close()


@pytest.mark.parametrize("signals", [1, 2])
def test_a_stop_waits_for_no_agent_to_start_and_leaves_none(tmp_path: Path, signals: int) -> None:
    pool = _pool(seats=4, env={"STARTS_IN": "60"}, restart={"starts": 2})
    server = _server(tmp_path, pool)
    try:
        server.start()
        process = psutil.Process(server.pid)
        until(lambda: len(process.children()) == 2)
        agents = process.children()
        began = time.monotonic()
        for _ in range(signals):
            server.process.send_signal(signal.SIGTERM)
        assert server.wait() == 128 + signal.SIGTERM
        assert time.monotonic() - began < 20  # of the 60 that an agent would take
        until(lambda: not any(map(_lives, agents)))
    finally:
        server.close()


def _lives(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _play(server: Server) -> None:
    server.start()
    rng = random.Random(1)
    kinds = list(itertools.islice(itertools.cycle(DEEDS), TASKS))
    rng.shuffle(kinds)
    process = psutil.Process(server.pid)
    _ask(server, "echo")  # what is loaded on first use
    before = process.memory_info().rss
    over, victims = threading.Event(), set[psutil.Process]()
    killer = threading.Thread(target=_kill_now_and_then, args=(process, rng, victims, over))
    killer.start()
    try:
        with ThreadPoolExecutor(40) as callers:
            outcomes = list(callers.map(lambda do: _ask(server, do), kinds))
    finally:
        over.set()
        killer.join()
    assert not [outcome for outcome in map(_judge, kinds, outcomes) if outcome]
    assert process.memory_info().rss - before < MEMORY
    until(lambda: _is_well(server, process, victims), why=lambda: server.log)
    for _ in range(SEATS):
        assert _ask(server, "echo") == {"tasks": [_task("echo")], "answers": ["hello"]}
    _leaves_nothing(server)


def _task(do: str) -> dict[str, Any]:
    return {"do": do, "text": "hello", "count": 2000}


def _ask(server: Server, do: str) -> dict[str, Any]:
    """Have a run give one task to an agent; return its values, or its error."""
    with httpx.Client(base_url=server.url, timeout=120) as client:
        body = {"assistant_id": "asker", "input": {"tasks": [_task(do)]}}
        values: dict[str, Any] = client.post("/runs/wait", json=body).json()
    return values


def _judge(do: str, values: dict[str, Any]) -> str | None:
    """Return what is wrong with an outcome; an agent may be killed under any task."""
    if "answers" in values:
        return None if not DEEDS[do] else f"{do}: {values}"
    said = values["__error__"]["message"]
    allowed = (*DEEDS[do], "exit code -9", "it was stopped", "missed 2 probes")
    return None if any(words in said for words in allowed) else f"{do}: {said}"


def _kill_now_and_then(
    server: psutil.Process, rng: random.Random, victims: set[psutil.Process], over: threading.Event
) -> None:
    """Kill one agent and stop another, again and again."""
    while not over.wait(0.7):
        agents = server.children()
        for number in (signal.SIGKILL, signal.SIGSTOP):
            if agents:
                victim = rng.choice(agents)
                victims.add(victim)
                with suppress(psutil.NoSuchProcess):
                    victim.send_signal(number)


def _is_well(server: Server, process: psutil.Process, victims: set[psutil.Process]) -> bool:
    """Whether every seat is free, and no agent that was killed or stopped is left on one."""
    agents = set(process.children())
    pool = server.http.get("/agents/workers").json()
    states = [seat["state"] for seat in pool["agents"]]
    return len(agents) == SEATS and not agents & victims and states == ["free"] * SEATS


def _leaves_nothing(server: Server) -> None:
    """Stop the server; of all its agents and what they forked, nothing is left."""
    mark = str(server.folder)
    assert _marked(mark), "there should be agents"
    server.stop()
    until(lambda: not _marked(mark), why=lambda: str(_marked(mark)))


def _marked(mark: str) -> list[psutil.Process]:
    """Return the processes that have the environment of this server's agents."""
    found: list[psutil.Process] = []
    for one in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if one.environ().get("CHAOS") == mark and one.status() != psutil.STATUS_ZOMBIE:
                found.append(one)
    return found
