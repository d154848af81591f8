"""A peer's server in a process of its own, on a folder of its own."""

import http.client
import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import closing, suppress
from pathlib import Path

import psutil

from load.bench.environments import HERE, last_words
from load.bench.peers import POSTGRES, PROJECT, Peer

WORK = HERE / ".work"  # folders and logs of the servers; nothing of it is committed
START_LIMIT = 90.0  # seconds
STOP_LIMIT = 15.0  # seconds
LOOK = 0.005  # seconds between two looks whether a server answers
FOREIGN = ("MASTERLOOP_", "LANGCHAIN_", "LANGGRAPH_", "LANGSMITH_", "LIMIT_", "DBOS_")
EMPTY_DATABASE = """
import sys, psycopg
try:
    with psycopg.connect(sys.argv[1], autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {sys.argv[2]} WITH (FORCE)")
        if sys.argv[3] == "make":
            connection.execute(f"CREATE DATABASE {sys.argv[2]}")
except psycopg.Error as error:
    sys.exit(" ".join(str(error).split()))
"""


def let_use_all_processors(pid: int) -> None:
    """Undo for a child that the generator keeps to one processor; what it measures need not."""
    os.sched_setaffinity(pid, range(os.cpu_count() or 1))


class CannotStart(RuntimeError):
    """A server ended before it answered, or did not answer in time. It is gone."""


class Server:
    """One server after the other, on the same folder and the same port."""

    def __init__(self, peer: Peer, workload: str, marks: Path) -> None:
        self.peer = peer
        self._workload = workload
        self._marks = marks
        self._folder = WORK / peer.name
        self._log = WORK / f"{peer.name}.log"
        self._process: subprocess.Popen[bytes] | None = None
        with closing(socket.create_server(("127.0.0.1", 0))) as free:
            self.port: int = free.getsockname()[1]

    def start(self, *, fresh: bool = True) -> float:
        """Start it, on no data if ``fresh``; return the seconds until it answered.

        Raises:
            CannotStart: it does not answer.
        """
        self._prepare(fresh=fresh)
        with self._log.open("wb") as log:
            began = time.perf_counter()
            self._process = subprocess.Popen(  # noqa: S603 - our own commands
                [part.format(**self._places()) for part in self._command()],
                cwd=self._folder,
                env=self._environment(),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        let_use_all_processors(self._process.pid)
        try:
            self._wait_until_healthy(began)
        except BaseException:
            self.end(signal.SIGKILL)
            raise
        return time.perf_counter() - began

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send a signal (all its processes get a SIGKILL), and return once all of it is gone."""
        if self._process is None:
            return
        family = self._family()
        for process in family if number == signal.SIGKILL else family[:1]:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)
        _, left = psutil.wait_procs(family, STOP_LIMIT)
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, STOP_LIMIT)
        self._process.wait(STOP_LIMIT)
        self._process = None

    def close(self) -> None:
        """End it, and remove what it left but its log."""
        self.end()
        shutil.rmtree(self._folder, ignore_errors=True)
        if self.peer.database:
            with suppress(CannotStart):  # the start has said so already
                self._empty_database("drop")

    def processor_seconds(self) -> float:
        """Return what its processes have used of the processors so far."""
        used = 0.0
        for process in self._family():
            with suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                used += times.user + times.system
        return used

    def resident(self) -> int:
        """Return the bytes of memory of all its processes."""
        total = 0
        for process in self._family():
            with suppress(psutil.NoSuchProcess):
                total += process.memory_info().rss
        return total

    def _family(self) -> list[psutil.Process]:
        if self._process is None:
            return []
        try:
            root = psutil.Process(self._process.pid)
            return [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def _prepare(self, *, fresh: bool) -> None:
        if fresh:
            shutil.rmtree(self._folder, ignore_errors=True)
            shutil.copytree(PROJECT, self._folder, ignore=shutil.ignore_patterns("__pycache__"))
            if self.peer.database:
                self._empty_database("make")

    def _empty_database(self, what: str) -> None:
        python = self.peer.environment.bin / "python"
        server = f"{POSTGRES}/postgres"
        done = subprocess.run(  # noqa: S603 - our own
            [python, "-c", EMPTY_DATABASE, server, self.peer.database, what],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise CannotStart(f"no PostgreSQL at {POSTGRES}: {last_words(done.stderr)}")

    def _command(self) -> list[str]:
        return [*self.peer.command, *self.peer.more.get(self._workload, ())]

    def _places(self) -> dict[str, str]:
        return {
            "bin": str(self.peer.environment.bin),
            "port": str(self.port),
            "database": f"{POSTGRES}/{self.peer.database}",
        }

    def _environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(FOREIGN)}
        # Compiled modules are kept, as those of any installed program are.
        kept.pop("PYTHONDONTWRITEBYTECODE", None)
        added = {key: value.format(**self._places()) for key, value in self.peer.variables.items()}
        own = {"BENCH_MARKS": str(self._marks), "PYTHONPATH": str(self._folder)}
        return {**kept, **added, **own}

    def _wait_until_healthy(self, began: float) -> None:
        while time.perf_counter() - began < START_LIMIT:
            if self._process is None or self._process.poll() is not None:
                raise CannotStart(f"{self.peer.name} ended: {self._last_words()}")
            with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)) as asked:
                try:
                    asked.request("GET", self.peer.health)
                    if asked.getresponse().status == http.HTTPStatus.OK:
                        return
                except (OSError, http.client.HTTPException):
                    pass
            time.sleep(LOOK)
        raise CannotStart(f"{self.peer.name} does not answer after {START_LIMIT:.0f} s")

    def _last_words(self) -> str:
        return last_words(self._log.read_text(errors="replace"))
