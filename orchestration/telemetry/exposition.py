"""What a scrape gets: the text of all metrics, made in a thread."""

import gzip
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
from prometheus_client import CollectorRegistry, generate_latest, start_http_server

from operations.errors import ConfigurationError

_LEVEL = 1  # of compression: most of the gain for little of the time


class Exposition:
    """Shows a registry. One scrape at a time is made; the others wait."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._turn = anyio.CapacityLimiter(1)

    async def __call__(self, *, compressed: bool) -> bytes:
        """Return the text, in gzip if it is to be compressed."""
        return await anyio.to_thread.run_sync(self._text, compressed, limiter=self._turn)

    @asynccontextmanager
    async def listening(self, port: int | None) -> AsyncGenerator[None]:
        """Show it on a port of the loopback interface, too, without asking who it is; None: do not.

        Raises:
            ConfigurationError: the port is taken.
        """
        if port is None:
            yield
            return
        try:
            server, thread = start_http_server(port, "127.0.0.1", self._registry)
        except OSError as error:
            where = "MASTERLOOP_ADMIN_PORT"
            problem = f"cannot listen on 127.0.0.1:{port}: {error.strerror}"
            raise ConfigurationError(where, problem, "Choose another one.") from error
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def _text(self, compressed: bool) -> bytes:  # noqa: FBT001 - a thread takes no names
        text = generate_latest(self._registry)
        return gzip.compress(text, _LEVEL) if compressed else text
