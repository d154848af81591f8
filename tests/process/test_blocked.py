"""A server whose event loop is held up, or whose log nobody reads: it stops all the same."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from tests.process.server import MASTERLOOP, PROJECT, Server, until

SIGTERM_CODE = 128 + signal.SIGTERM
BLOCKING = """
import os
import time
from pathlib import Path
from typing import TypedDict

from langgraph.graph import START, StateGraph

blocked = Path(os.environ["EFFECTS_FOLDER"]) / "blocked"


class State(TypedDict, total=False):
    answer: str


async def block(state: State) -> State:
    if not blocked.exists():
        blocked.touch()
        time.sleep(40)
    return {"answer": "woke up"}


builder = StateGraph(State)
builder.add_node("block", block)
builder.add_edge(START, "block")
graph = builder.compile()
"""


class Unread(Server):
    """A server whose log goes into a pipe."""

    reader = -1

    def launch(self, settings: Mapping[str, object]) -> None:
        self._lives += 1
        (self.folder / f"server-{self._lives}.log").touch()
        self.reader, writer = os.pipe()
        command = [str(MASTERLOOP), "serve", "--config", str(PROJECT)]
        command += ["--host", "127.0.0.1", "--port", str(self.port)]
        try:
            self._process = subprocess.Popen(
                command, stdout=writer, stderr=writer, env=self._environment(settings)
            )
        finally:
            os.close(writer)

    def stop_reading(self) -> None:
        """Have every further line of the log fail with EPIPE."""
        os.close(self.reader)


def ended_by_another_signal(server: Server) -> bool:
    """Signal it again: two signals that come as one, before it has looked, count as one."""
    server.process.terminate()
    return server.process.poll() is not None


@pytest.fixture
def blocking(tmp_path: Path) -> Iterator[Server]:
    """A server of a graph that holds up the event loop of its first life."""
    manifest = {"dependencies": ["."], "graphs": {"blocking": "./blocking.py:graph"}}
    (tmp_path / "langgraph.json").write_text(json.dumps(manifest))
    (tmp_path / "blocking.py").write_text(BLOCKING)
    with closing(Server(tmp_path, tmp_path / "langgraph.json")) as server:
        yield server


@pytest.fixture
def unread(tmp_path: Path) -> Iterator[Unread]:
    with closing(Unread(tmp_path)) as server:
        yield server


def test_a_second_signal_ends_it_though_a_node_holds_up_the_event_loop(blocking: Server) -> None:
    blocking.start()
    run = blocking.submit("blocking", {})
    until((blocking.effects.folder / "blocked").exists, why=lambda: blocking.log)
    until(partial(ended_by_another_signal, blocking), limit=4, why=lambda: blocking.log)
    assert blocking.wait() == SIGTERM_CODE, blocking.log

    blocking.start()
    assert run.join()["answer"] == "woke up"
    assert run.get()["status"] == "success"


def test_one_signal_ends_it_in_time_though_a_node_holds_up_the_event_loop(
    blocking: Server,
) -> None:
    blocking.start(drain_delay=0, drain_grace=0, drain_grace_critical=0)
    run = blocking.submit("blocking", {})
    until((blocking.effects.folder / "blocked").exists, why=lambda: blocking.log)
    blocking.process.terminate()
    until(lambda: blocking.process.poll() is not None, limit=30, why=lambda: blocking.log)
    assert blocking.wait() == SIGTERM_CODE, blocking.log
    assert json.loads((blocking.data / "status.json").read_text())["state"] == "crashed"

    blocking.start()
    assert run.join()["answer"] == "woke up"


def test_a_server_whose_log_nobody_reads_works_and_drains(unread: Unread) -> None:
    unread.start()
    unread.stop_reading()
    for name in ("first", "second"):
        failed = unread.submit("counter", {"name": name})  # without its steps it fails: a log line
        failed.join()
        assert failed.get()["status"] == "error"
    unread.effects.gate("held", 1)
    held = unread.submit("counter", {"name": "held", "steps": 2})
    until(lambda: unread.effects.of("held"))
    unread.process.terminate()
    until(lambda: unread.http.get("/readyz").status_code == 503)
    unread.effects.open_gate("held")
    assert unread.wait() == SIGTERM_CODE

    unread.start()
    assert held.join()["done"] == 2
    assert unread.effects.steps("held") == {1: 1, 2: 1}
    unread.stop_reading()
