"""The command line against a real server."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from operations.ports import DEFAULT_PORT
from tests.process.server import MASTERLOOP, PROJECT, START_LIMIT, NeverHappened, Server, until

ROOT = Path(__file__).parents[2]
HOST = "127.0.0.1"
LIMIT = 50.0  # seconds for one command

Completed = subprocess.CompletedProcess[str]


def masterloop(*arguments: str, text: str | None = None) -> Completed:
    """Run a command to its end."""
    return subprocess.run(
        [str(MASTERLOOP), *arguments],
        check=False, capture_output=True, text=True, input=text, timeout=LIMIT,
    )  # fmt: skip


def ask(server: Server, *arguments: str) -> Any:
    """Run a command about the server, and return the JSON that it prints."""
    done = masterloop(*arguments, "--json", "--url", server.url)
    assert done.returncode == 0, (done.stdout, done.stderr, server.log)
    return json.loads(done.stdout)


def test_a_run_is_submitted_waited_for_and_printed(server: Server) -> None:
    server.start()
    given = json.dumps({"name": "asked", "steps": 2})
    printed = ask(server, "run", "counter", given)
    assert (printed["status"], printed["result"]["done"]) == ("success", 2)
    followed = masterloop("run", "counter", "-", "--follow", "--url", server.url, text=given)
    assert followed.returncode == 0, followed.stderr
    assert json.loads(followed.stdout)["done"] == 2


def test_runs_are_listed_shown_cancelled_and_joined(server: Server) -> None:
    server.start()
    server.effects.gate("held")
    held = server.submit("counter", {"name": "held", "steps": 1})
    stopped = server.submit("ticking", {"name": "stopped"})
    until(lambda: held.status == stopped.status == "running")

    listed = {run["run_id"]: run["status"] for run in ask(server, "runs", "ls")}
    assert listed == {held.run_id: "running", stopped.run_id: "running"}
    assert ask(server, "runs", "cancel", stopped.run_id)["status"] == "interrupted"
    assert ask(server, "runs", "get", stopped.run_id)["status"] == "interrupted"
    server.effects.open_gate("held")
    joined = ask(server, "runs", "join", held.run_id, "--thread", held.thread_id)
    assert (joined["status"], joined["values"]["done"]) == ("success", 1)
    assert ask(server, "runs", "ls", "--status", "running") == []
    assert ask(server, "runs", "ls", "--dead") == []


def test_a_server_that_is_not_there_is_told_of_in_a_sentence() -> None:
    done = masterloop("runs", "ls", "--url", f"http://{HOST}:9")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert f"{HOST}:9" in done.stderr


@pytest.mark.parametrize(
    ("manifest", "complaint"),
    [
        (None, "langgraph.json"),
        ("{", "langgraph.json"),
        ('{"graphs": {"a": "./none.py:graph"}}', "none.py"),
        ('{"grahps": {}}', "graphs"),
    ],
)
def test_a_configuration_error_ends_with_2_and_says_where_it_is(
    tmp_path: Path, manifest: str | None, complaint: str
) -> None:
    file = tmp_path / "langgraph.json"
    if manifest is not None:
        file.write_text(manifest)
    done = masterloop("serve", "--config", str(file), "--port", "1")
    assert done.returncode == 2, done.stderr
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr


def test_a_misspelt_setting_ends_with_2_and_names_the_nearest(server: Server) -> None:
    server.launch({"max_concurent_runs": 3})
    assert server.wait() == 2, server.log
    assert "MASTERLOOP_MAX_CONCURRENT_RUNS" in server.log


def test_a_port_that_is_taken_ends_with_2(server: Server) -> None:
    with socket.create_server((HOST, server.port)):
        server.launch({})
        assert server.wait() == 2, server.log
    assert str(server.port) in server.log


def nobody_listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) != 0


def test_dev_takes_the_next_port_when_the_default_is_taken(tmp_path: Path) -> None:
    try:
        until(lambda: nobody_listens(DEFAULT_PORT))  # another test may, for a moment
        taken = socket.create_server((HOST, DEFAULT_PORT))
    except (NeverHappened, OSError):
        pytest.skip(f"{DEFAULT_PORT} is somebody else's, who may leave at any time")
    log = tmp_path / "dev.log"
    folders = {"MASTERLOOP_DATA_DIR": str(tmp_path / "data"), "EFFECTS_FOLDER": str(tmp_path)}
    with taken, log.open("wb") as output:
        dev = subprocess.Popen(
            [str(MASTERLOOP), "dev", "--config", str(PROJECT)],
            stdout=output, stderr=output, env={**os.environ, **folders},
        )  # fmt: skip
        try:
            until(lambda: "serving" in log.read_text(), START_LIMIT, log.read_text)
        finally:
            dev.terminate()
            assert dev.wait(LIMIT) == 143
    assert f"Port {DEFAULT_PORT} is in use" in log.read_text()


def test_the_demo_gives_its_whole_show() -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MASTERLOOP_")}
    done = subprocess.run(
        [sys.executable, "examples/demo.py", "--once"],
        check=False, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=110,
    )  # fmt: skip
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert "200 success" in done.stdout
