"""What a scrape gets: the text of all metrics, made in a thread."""

import gzip
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread

import anyio
import structlog

from operations.errors import ConfigurationError
from operations.handover import handover

FORMAT = "text/plain; version=0.0.4; charset=utf-8"
_LEVEL = 1  # of compression: most of the gain for little of the time
_PATIENCE = 10.0  # seconds that a client on the port of its own may take to ask, and to read

_log = structlog.get_logger("masterloop")


class Exposition:
    """Shows the text of all metrics. One scrape at a time is made; the others wait."""

    def __init__(self, text: Callable[[], bytes]) -> None:
        self._text = text
        self._turn = Lock()
        self._thread = anyio.CapacityLimiter(1)

    async def __call__(self, *, compressed: bool) -> bytes:
        """Return the text, in gzip if it is to be compressed."""
        return await anyio.to_thread.run_sync(self._made, compressed, limiter=self._thread)

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
            server = _Server(("127.0.0.1", port), _handler(self._made))
        except OSError as error:
            where = "MASTERLOOP_ADMIN_PORT"
            problem = f"cannot listen on 127.0.0.1:{port}: {error.strerror}"
            raise ConfigurationError(where, problem, "Choose another one.") from error
        thread = Thread(target=server.serve_forever, name="metrics", daemon=True)
        thread.start()
        try:
            yield
        finally:
            with anyio.CancelScope(shield=True):  # it looks twice a second whether it is to end
                limiter = anyio.CapacityLimiter(1)  # not after what others have threads do
                await anyio.to_thread.run_sync(server.shutdown, limiter=limiter)
            server.server_close()
            thread.join()

    def _made(self, compressed: bool) -> bytes:  # noqa: FBT001 - a thread takes no names
        with self._turn, handover:
            text = self._text()
        return gzip.compress(text, _LEVEL) if compressed else text


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002
        if not isinstance(sys.exception(), ConnectionError):  # the scraper has gone
            _log.exception("a scrape failed")


def _handler(made: Callable[[bool], bytes]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = _PATIENCE

        def do_GET(self) -> None:
            compressed = "gzip" in self.headers.get("accept-encoding", "")
            body = made(compressed)
            self.send_response(HTTPStatus.OK)
            self.send_header("content-type", FORMAT)
            self.send_header("content-length", str(len(body)))
            if compressed:
                self.send_header("content-encoding", "gzip")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's
            """Say nothing: it is asked all the time."""

    return Handler
