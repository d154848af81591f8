"""Serving: sockets, signals, and a stop that loses nothing."""

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import anyio
import structlog
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from operations.database import DatabaseError
from operations.errors import ConfigurationError
from operations.logs import configure_logs
from operations.settings import Settings
from orchestration.graphs.manifest import Manifest, apply_environment, load_manifest
from orchestration.loop.master import MasterLoop
from orchestration.service import Service, open_service

_BACKLOG = 4_096  # connections
_KEEP_ALIVE = 15  # seconds an idle connection is kept
_LAST_ANSWERS = 2  # seconds for open connections once the loop has stopped
_HEADER_BYTES = 64 * 1024

_log = structlog.get_logger("masterloop")


class _Protocol(HttpToolsProtocol):
    """uvicorn's, but it does not collect headers without end."""

    _header_bytes = 0

    def on_message_begin(self) -> None:
        self._header_bytes = 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > _HEADER_BYTES:
            raise ValueError("the headers are too large")
        super().on_header(name, value)


class _Server(uvicorn.Server):
    """uvicorn's, but the signals are ours."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def serve(manifest_path: Path, host: str, port: int, settings: Settings) -> int:
    """Serve until a signal says to stop; return the exit code.

    The first signal drains: no new runs, those that work stop at their next super-step. The
    second stops at once. Either way, what was accepted and has not ended goes on after a restart.

    Raises:
        ConfigurationError: something is wrong with the manifest or a graph, the address is
            taken, or the data folder cannot be used; nothing was started.
    """
    json = settings.log_format == "json" or (
        settings.log_format == "auto" and not sys.stderr.isatty()
    )
    configure_logs(settings.log_level, json=json)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_serve(manifest_path, host, port, settings))


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens there.

    Raises:
        ConfigurationError: the address is taken, or is not ours.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise ConfigurationError(
            f"{host}:{port}", f"cannot listen there: {error.strerror}", "choose another --port"
        ) from error


async def _serve(manifest_path: Path, host: str, port: int, settings: Settings) -> int:
    manifest = load_manifest(manifest_path)
    apply_environment(manifest)
    with contextlib.closing(listen(host, port)) as listener:
        async with _opened(manifest, settings) as service:
            server = _Server(_config(service.app))
            address = listener.getsockname()
            _log.info(
                "serving",
                url=f"http://{host}:{address[1]}",
                graphs=len(manifest.graphs),
                recovered=service.recovered,
                data=str(settings.data_dir),
            )
            stop = _Stop(server, service.loop)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(stop.obey)
                await server.serve(sockets=[listener])
                tasks.cancel_scope.cancel()
            return stop.exit_code


@contextlib.asynccontextmanager
async def _opened(manifest: Manifest, settings: Settings) -> AsyncIterator[Service]:
    async with contextlib.AsyncExitStack() as stack:
        try:
            service = await stack.enter_async_context(open_service(manifest, settings))
        except DatabaseError as error:
            where = str(settings.data_dir)
            raise ConfigurationError(where, str(error), "Nothing was started.") from error
        yield service


class _Stop:
    """Turns the first signal into a drain and the second into a forced stop."""

    def __init__(self, server: uvicorn.Server, loop: MasterLoop) -> None:
        self._server = server
        self._loop = loop
        self.exit_code = 0

    async def obey(self) -> None:
        """Wait for signals and act on them."""
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async with anyio.create_task_group() as drain:
                async for received in signals:
                    if self.exit_code:
                        _log.warning("second signal: stopping now", signal=received.name)
                        drain.cancel_scope.cancel()
                        break
                    self.exit_code = 128 + received
                    _log.info("draining", signal=received.name, working=self._loop.working)
                    drain.start_soon(self._drain)
            with anyio.CancelScope(shield=True):
                await self._loop.aclose()
            self._server.force_exit = True
            self._server.should_exit = True

    async def _drain(self) -> None:
        await self._loop.drain()
        self._server.should_exit = True


def _config(app: object) -> uvicorn.Config:
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        http=_Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        backlog=_BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=_LAST_ANSWERS,
    )


def _loop_factory() -> "type[asyncio.AbstractEventLoop] | None":
    try:
        import uvloop  # noqa: PLC0415 - not there on every platform
    except ImportError:
        return None
    return uvloop.Loop
