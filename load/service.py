"""The service under load: a real ``masterloop serve``, on a free port of this machine."""

import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import httpx
from anyio.abc import Process

MANIFEST = Path(__file__).with_name("langgraph.json")
PROGRAM = ("-m", "orchestration")  # of this Python
HOST = "127.0.0.1"
START_LIMIT = 60.0  # seconds
STOP_LIMIT = 40.0  # seconds
STOPPED = 128 + signal.SIGTERM  # the exit code of a stop in order


class ServiceFailed(Exception):
    """The service did not start, or ended by itself; its log says why."""


class Service:
    """One that runs."""

    def __init__(self, process: Process, port: int, log: Path) -> None:
        self.process = process
        self.port = port
        self.log = log
        self.url = f"http://{HOST}:{port}"

    async def ready(self) -> None:
        """Return once it takes runs.

        Raises:
            ServiceFailed: it ended instead, or took longer than a minute.
        """
        with anyio.move_on_after(START_LIMIT):
            async with httpx.AsyncClient(base_url=self.url) as http:
                while self.process.returncode is None:
                    try:
                        if (await http.get("/readyz")).is_success:
                            return
                    except httpx.TransportError:
                        pass
                    await anyio.sleep(0.05)
        raise ServiceFailed(f"the service did not start; see {self.log}")

    async def stop(self) -> int:
        """Stop it as an operator would, by force after 40 s, and return its exit code."""
        if self.process.returncode is None:
            self.process.terminate()
            with anyio.move_on_after(STOP_LIMIT):
                await self.process.wait()
        if self.process.returncode is None:
            self.process.kill()
        return await self.process.wait()


@asynccontextmanager
async def open_service(
    settings: Mapping[str, str],
    log: Path,
    manifest: Path = MANIFEST,
    program: Sequence[str] = PROGRAM,
) -> AsyncGenerator[Service]:
    """Start a service with data of its own; it is stopped, and its data gone, at the end.

    A ``MASTERLOOP_DATA_DIR`` among the settings is used instead, and left.

    Raises:
        ServiceFailed: it did not start.
    """
    place = _place()
    port: int = place.getsockname()[1]
    command = [sys.executable, *program, "serve", "--config", str(manifest)]
    command += ["--host", HOST, "--port", str(port)]
    with (
        place,
        TemporaryDirectory(prefix="masterloop-load-") as data,
        log.open("wb") as written,
    ):
        environment = {
            **{name: value for name, value in os.environ.items() if "MASTERLOOP" not in name},
            "MASTERLOOP_DATA_DIR": data,
            "MASTERLOOP_DRAIN_DELAY": "0",
            **settings,
        }
        process = await anyio.open_process(
            command, stdin=None, stdout=written, stderr=written, env=environment
        )
        service = Service(process, port, log)
        try:
            await service.ready()
            yield service
        finally:
            with anyio.CancelScope(shield=True):
                await service.stop()


def _place() -> socket.socket:
    """Return a socket whose port nobody else is given, while the service may listen there."""
    place = socket.socket()
    place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    place.bind((HOST, 0))
    return place
