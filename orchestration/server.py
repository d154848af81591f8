"""Serving: sockets, signals, and a stop that loses nothing."""

import asyncio
import atexit
import contextlib
import os
import resource
import signal
import socket
import threading
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from functools import partial
from pathlib import Path
from typing import cast

import anyio
import structlog
import uvicorn
from starlette.types import ASGIApp

from operations.database import DatabaseError
from operations.errors import ConfigurationError
from operations.event_loop import open_runner, tune_the_collector
from operations.leaving import leave, left_behind
from operations.logs import configure_logs
from operations.settings import Settings
from operations.shutdown import Step, Tier
from orchestration.api.door import TurnAway
from orchestration.connection import PATIENCE, Connection, WebSocketConnection
from orchestration.graphs.manifest import Manifest, apply_environment, load_manifest
from orchestration.graphs.node_tasks import whereabouts
from orchestration.places import Places
from orchestration.service import Service, open_service
from orchestration.stopping import PART_GRACE, stop_limit

_BACKLOG = 4_096  # connections
_AT_ONCE = 16  # connections accepted in a turn of the event loop
_KEEP_ALIVE = 15  # seconds an idle connection is kept
_LAST_ANSWERS = 2  # seconds for open connections once the loop has stopped
_MESSAGE_BYTES = 64 * 1024  # of a WebSocket's client, who has nothing to say

_HANG_UP = 0.3  # seconds for connections in a stop that is forced
_FORCED = 1.5  # seconds that a second signal gives the event loop
_STOPPING = (signal.SIGTERM, signal.SIGINT)

_log = structlog.get_logger("masterloop")


class Server(uvicorn.Server):
    """uvicorn's, but the signals are ours."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


def serve(manifest_path: Path, host: str, port: int, settings: Settings) -> int:
    """Serve until a signal says to stop; return the exit code.

    The first signal drains: no new runs, those that work stop at their next super-step. The
    second stops at once. Either way, what was accepted and has not ended goes on after a restart.

    Raises:
        ConfigurationError: something is wrong with the manifest or a graph, the address is
            taken, or the data folder cannot be used; nothing was started.
    """
    configure_logs(settings.log_level, json=settings.log_format != "console", context=whereabouts)
    start = _Start()
    with _signals_to(start.hear), open_runner() as runner:
        try:
            exit_code = runner.run(_serve(manifest_path, host, port, settings, start))
        except _StoppedEarly as stopped:
            exit_code = stopped.exit_code
        if left := runner.run(left_behind()):
            leave(exit_code, left)
    return exit_code


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


def several(listener: socket.socket) -> list[socket.socket]:
    """Return ``listener`` so many times that connections are accepted as fast as they come.

    libuv accepts one of each listener in a turn of the event loop. When turns are long, all others
    would wait in the backlog, where no bound of ours holds and nobody is refused.
    """
    return [listener, *(listener.dup() for _ in range(_AT_ONCE - 1))]


class _StoppedEarly(KeyboardInterrupt):
    """A signal came while the service was opened. No import of a graph takes it for its own."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.exit_code = 128 + number


@contextlib.contextmanager
def _signals_to(handler: Callable[[int, object], None]) -> Generator[None]:
    """Have ``handler`` take signals, and whoever it hands them to, until the interpreter ends."""
    before = {number: signal.signal(number, handler) for number in _STOPPING}
    atexit.register(_ignore_signals)
    try:
        yield
    except BaseException:
        for number, previous in before.items():
            signal.signal(number, previous)
        raise


def _ignore_signals() -> None:
    """Let the process end with its exit code: the interpreter would have signals kill it."""
    for number in _STOPPING:
        signal.signal(number, signal.SIG_IGN)


class _Start:
    """Ends the start at the first signal, be it an import that never returns.

    While runs are taken up, it is kept for who takes signals then: a run that works already would
    take what is raised for its own. A second one ends the process there and then.
    """

    def __init__(self) -> None:
        self._takes_up = False
        self._kept: int | None = None

    def hear(self, number: int, _: object) -> None:
        """Take a signal; at any moment, in the main thread."""
        for each in _STOPPING:
            signal.signal(each, signal.SIG_DFL)
        if not self._takes_up:
            raise _StoppedEarly(number)
        self._kept = number

    def take_up(self) -> None:
        """Raise nothing from now on."""
        self._takes_up = True

    def hand_on(self, hear: Callable[[int, object], None]) -> None:
        """Have ``hear`` take signals from now on, to the very end, and what was kept first."""
        for each in _STOPPING:
            signal.signal(each, hear)
        if self._kept is not None:
            hear(self._kept, None)


async def _serve(
    manifest_path: Path, host: str, port: int, settings: Settings, start: _Start
) -> int:
    manifest = load_manifest(manifest_path)
    apply_environment(manifest)
    with contextlib.closing(listen(host, port)) as listener:
        async with _opened(manifest, settings, start.take_up) as service:
            patience = settings.send_timeout
            places = Places(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
            config = uvicorn_config(
                service.app, patience, service.turn_away, places, settings.trusted_proxies
            )
            server = Server(config)
            stop = _Stop(server, service, stop_limit(settings))
            tune_the_collector(settings.max_concurrent_runs)
            start.hand_on(stop.hear)  # before anybody is told that it serves
            _log.info(
                "serving",
                url=f"http://{host}:{listener.getsockname()[1]}",
                graphs=len(manifest.graphs),
                recovered=service.recovered,
                data=str(settings.data_dir),
            )
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(stop.obey)
                await server.serve(sockets=several(listener))
                stop.served.set()
                if not service.shutdown.begun:
                    tasks.cancel_scope.cancel()
    return stop.exit_code


@contextlib.asynccontextmanager
async def _opened(
    manifest: Manifest, settings: Settings, opened: Callable[[], None]
) -> AsyncGenerator[Service]:
    async with contextlib.AsyncExitStack() as stack:
        try:
            service = await stack.enter_async_context(open_service(manifest, settings, opened))
        except DatabaseError as error:
            where = str(settings.data_dir)
            raise ConfigurationError(where, str(error), "Nothing was started.") from error
        yield service


class _Stop:
    """Turns the first signal into a stop in order and the second into one that is forced.

    The signals are taken outside of the event loop, which user code may be blocking.
    """

    def __init__(self, server: uvicorn.Server, service: Service, limit: float) -> None:
        """``limit`` is how many seconds the first signal leaves."""
        self._server = server
        self._loop = service.loop
        self._shutdown = shutdown = service.shutdown
        self._give_up = service.give_up
        self._limit = limit
        self._events = asyncio.get_running_loop()
        self._first = asyncio.Event()
        self._second = asyncio.Event()
        self.served = asyncio.Event()  # set once no connection is left
        self.exit_code = 0
        shutdown.add(Step("connections", Tier.PARTS, self._hang_up, PART_GRACE, forced=_HANG_UP))

    async def obey(self) -> None:
        """Wait for signals and act on them."""
        await self._first.wait()
        _log.info("draining", working=self._loop.working)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._force)
            await self._shutdown.run()
            tasks.cancel_scope.cancel()

    def hear(self, number: int, _: object) -> None:
        """Take a signal; at any moment, in the main thread."""
        if not self.exit_code:
            self.exit_code = 128 + number
            self._tell(self._first)
            self._last_resort(self._limit)
            return
        self._tell(self._second)
        self._last_resort(_FORCED)

    def _last_resort(self, seconds: float) -> None:
        """End the process then, if the event loop does not get to it: it may be blocked.

        What works is found working at the next start.
        """
        timer = threading.Timer(seconds, self._leave)
        timer.daemon = True
        timer.start()

    def _leave(self) -> None:
        telling = threading.Thread(target=self._give_up, daemon=True)  # the disk may hang
        telling.start()
        telling.join(_HANG_UP)
        os._exit(self.exit_code)

    def _tell(self, event: asyncio.Event) -> None:
        with contextlib.suppress(RuntimeError):  # the event loop is closed: all is done
            self._events.call_soon_threadsafe(event.set)

    async def _force(self) -> None:
        await self._second.wait()
        _log.warning("second signal: stopping now")
        self._shutdown.force()
        self._server.force_exit = True

    async def _hang_up(self) -> None:
        self._server.should_exit = True
        await self.served.wait()


def uvicorn_config(
    app: ASGIApp,
    patience: float = PATIENCE,
    turn_away: TurnAway | None = None,
    places: Places | None = None,
    proxies: Sequence[str] = (),
) -> uvicorn.Config:
    """Return how ``app`` is served: our parser, our signals and logs, no lifespan of uvicorn's.

    ``patience`` is how many seconds a client may make us wait; ``turn_away`` answers those who are
    not let in; without ``places`` there is one for everybody. ``proxies`` are addresses and
    networks whose word is taken for where a request is from.
    """
    return uvicorn.Config(
        app,
        http=cast(
            "type[asyncio.Protocol]",
            partial(Connection, patience=patience, turn_away=turn_away, places=places),
        ),
        ws=WebSocketConnection,
        ws_max_size=_MESSAGE_BYTES,
        ws_per_message_deflate=False,
        proxy_headers=bool(proxies),
        forwarded_allow_ips=list(proxies),
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        backlog=_BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=_LAST_ANSWERS,
    )
