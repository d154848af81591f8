"""A real ``masterloop serve`` in a process of its own, on data that outlives it."""

import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

from operations.telemetry.trail import FOLDER, read_trail

MASTERLOOP = Path(sys.executable).with_name("masterloop")
PROJECT = Path(__file__).with_name("project") / "langgraph.json"
START_LIMIT = 90.0  # seconds
STOP_LIMIT = 30.0  # seconds
STOPPED = (128 + signal.SIGTERM, 128 + signal.SIGINT)  # the exit codes of a stop
LOOK = 0.01  # seconds between two looks at a condition
TERMINAL = frozenset({"success", "error", "timeout", "interrupted"})


class NeverHappened(AssertionError):
    """What a test waited for did not come about."""


def until(
    condition: Callable[[], object],
    limit: float = 30.0,
    why: Callable[[], str] = str,
    look: float = LOOK,
) -> None:
    """Return once ``condition`` holds.

    Raises:
        NeverHappened: it did not within ``limit`` seconds; ``why`` adds what is known.
    """
    deadline = time.monotonic() + limit
    while not condition():
        if time.monotonic() > deadline:
            raise NeverHappened(f"not within {limit} s. {why()}")
        time.sleep(look)


def reserved_port() -> socket.socket:
    """Return a socket whose port nobody else is given, while whoever asks for it may listen."""
    place = socket.socket()
    place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    place.bind(("127.0.0.1", 0))
    return place


class Effects:
    """What the graphs of ``project/graphs.py`` did, and the gates that hold them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self._log = folder / "effects.log"

    def of(self, name: str) -> list[str]:
        """Return the side effects of a run, in order."""
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        return [what for run, what in (line.split(" ", 1) for line in lines) if run == name]

    def steps(self, name: str) -> dict[int, int]:
        """Return how often a counter did each of its steps."""
        return dict(sorted(Counter(map(int, self.of(name))).items()))

    def gate(self, name: str, steps: int = 0) -> None:
        """Let a run do only so many of its steps."""
        gate = self.folder / f"gate-{name}"
        fresh = gate.with_name(f"fresh-{name}")
        fresh.write_text(str(steps))
        fresh.rename(gate)

    def holds(self, name: str, step: int) -> bool:
        """Whether a run has come to a step that its gate does not let it do."""
        return (self.folder / f"held-{name}-{step}").exists()

    def open_gate(self, name: str) -> None:
        """Let a run go on to its end."""
        self.gate(name, 1_000_000)

    def release(self, name: str) -> None:
        """Let a node that ignores everything else end."""
        (self.folder / f"release-{name}").touch()


class Server:
    """One server after the other, on the same data folder and the same port.

    One that is ``measured`` starts and works much more slowly. So it is only where something is
    covered that no other test reaches, which one that is killed never comes to save.
    """

    def __init__(self, folder: Path, manifest: Path = PROJECT, *, measured: bool = False) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.database = self.data / "masterloop.db"
        self.effects = Effects(folder / "effects")
        self.redirections = ""  # as a shell has them
        self._place = reserved_port()
        self.port: int = self._place.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.http = httpx.Client(base_url=self.url, timeout=STOP_LIMIT)
        self._manifest = manifest
        self._kept_from = ("MASTERLOOP_",) if measured else ("MASTERLOOP_", "COVERAGE_")
        self._process: subprocess.Popen[bytes] | None = None
        self._lives = 0
        self._accepted: list[str] = []  # the runs of this life
        self._limited = False  # whether its files are

    @property
    def process(self) -> "subprocess.Popen[bytes]":
        if self._process is None:
            raise RuntimeError("the server was never launched")
        return self._process

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def log(self) -> str:
        """What the present server has written to stdout and stderr."""
        return (self.folder / f"server-{self._lives}.log").read_text(errors="replace")

    def launch(self, settings: Mapping[str, object]) -> None:
        """Start a server and return at once; settings are those of ``MASTERLOOP_*``."""
        self._lives += 1
        command = [str(MASTERLOOP), "serve", "--config", str(self._manifest)]
        command += ["--host", "127.0.0.1", "--port", str(self.port)]
        if self.redirections:
            command = ["sh", "-c", f'exec "$@" {self.redirections}', "sh", *command]
        with (self.folder / f"server-{self._lives}.log").open("wb") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, env=self._environment(settings)
            )

    def limit_files(self, size: int) -> None:
        """Have the server's writes fail beyond ``size`` bytes of a file, as on a full disk.

        Python ignores SIGXFSZ, so they fail with EFBIG.
        """
        self._limited = True
        limits = (size, resource.RLIM_INFINITY)
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, limits)

    def start(self, **settings: object) -> None:
        """Start a server and return once it is ready; capitals name variables that are not ours."""
        self.launch(settings)
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        # A look takes a third of a core at the usual pace, and the start needs that.
        until(self._is_ready, START_LIMIT, lambda: self.log, look=0.05)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal, wait for the end, and return the exit code."""
        self.process.send_signal(number)
        return self.wait()

    def kill9(self) -> None:
        """End the server as a power cut would, and return when it is gone."""
        assert self.stop(signal.SIGKILL) == -signal.SIGKILL, self.log

    def wait(self, limit: float = STOP_LIMIT) -> int:
        """Wait for the server to end by itself, and return its exit code.

        After a stop, forced or not, the audit trail has to be complete, unless there was no room.
        """
        try:
            code = self.process.wait(limit)
        except subprocess.TimeoutExpired:
            raise NeverHappened(f"the server runs after {limit} s\n{self.log}") from None
        if code in STOPPED and not self._limited:
            self._check_trail()
        self._accepted.clear()
        self._limited = False
        return code

    def _check_trail(self) -> None:
        """Find every run of this life in the trail, no gap, and the stop as the last entry."""
        entries = list(read_trail(self.data / FOLDER))
        accepted = {one["run_id"] for one in entries if one["event"] == "RunAccepted"}
        assert accepted >= set(self._accepted), self.log
        started = [one for one in entries if one.get("process") == self.pid]
        for start in started:
            mine = [one for one in entries if one["writer"] == start["writer"]]
            assert [one["number"] for one in mine] == list(range(1, len(mine) + 1)), self.log
            if '"event":"stopped"' in self.log:  # by an event loop that was not blocked
                assert mine[-1]["event"] == "ServiceStopped", (mine[-1], self.log)

    def close(self) -> None:
        """End whatever is left."""
        self.http.close()
        self._place.close()
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def submit(
        self, graph: str, given: Mapping[str, object], thread: str | None = None, **options: object
    ) -> "Submitted":
        """Submit a run in the background, on a new thread unless one is named."""
        thread = thread or str(uuid4())
        body = {"assistant_id": graph, "input": given, "if_not_exists": "create", **options}
        answer = self.http.post(f"/threads/{thread}/runs", json=body)
        assert answer.status_code == httpx.codes.OK, (answer.text, self.log)
        self._accepted.append(answer.json()["run_id"])
        return Submitted(self, thread, self._accepted[-1])

    def _is_ready(self) -> bool:
        if self.process.poll() is not None:
            raise NeverHappened(f"ended with {self.process.returncode}\n{self.log}")
        try:
            return self.http.get("/readyz").is_success
        except httpx.TransportError:
            return False

    def _environment(self, settings: Mapping[str, object]) -> dict[str, str]:
        given = {
            name if name.isupper() else f"MASTERLOOP_{name.upper()}": str(value)
            for name, value in settings.items()
        }
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(self._kept_from)}
        folders = {
            "MASTERLOOP_DATA_DIR": str(self.data),
            "EFFECTS_FOLDER": str(self.effects.folder),
            "MASTERLOOP_DRAIN_DELAY": "0",
        }
        return {**inherited, **folders, **given}


class Submitted:
    """A run that a server has accepted."""

    def __init__(self, server: Server, thread_id: str, run_id: str) -> None:
        self.thread_id, self.run_id = thread_id, run_id
        self.path = f"/threads/{thread_id}/runs/{run_id}"
        self._server = server

    def get(self) -> dict[str, Any]:
        answer = self._server.http.get(self.path)
        assert answer.is_success, (answer.text, self._server.log)
        document: dict[str, Any] = answer.json()
        return document

    @property
    def status(self) -> str:
        return str(self.get()["status"])

    @property
    def thread_status(self) -> str:
        answer = self._server.http.get(f"/threads/{self.thread_id}")
        assert answer.is_success, (answer.text, self._server.log)
        return str(answer.json()["status"])

    def join(self) -> Any:
        """Wait for the run to end and return the values it left."""
        answer = self._server.http.get(f"{self.path}/join")
        assert answer.is_success, (answer.text, self._server.log)
        return answer.json()

    def until_status(self, *wanted: str) -> None:
        """Wait until the run has one of these statuses."""
        until(lambda: self.status in wanted, why=lambda: f"{self.get()}\n{self._server.log}")

    def cancel(self, **how: str) -> httpx.Response:
        return self._server.http.post(f"{self.path}/cancel", params=how)
