"""``masterloop mcp``: for hosts of MCP that start their servers themselves."""

import asyncio
import selectors
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from operations.files import is_there
from orchestration.commands.hosts import FirstHost, joined
from orchestration.commands.remote import CONNECT_TIMEOUT, DEFAULT_URL, Url, key_headers
from orchestration.commands.terminal import FAILED, MISUSED, give_up, presumed_data_folder

if TYPE_CHECKING:
    import httpx

_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
_START = 60.0  # seconds that a service may take to start
_STOP = 25.0  # seconds that it may take to stop
_LONGEST = 16 * 1024**2  # bytes of a message
_PAUSE = 0.1  # seconds between two looks whether it has


def mcp(
    *,
    stdio: Annotated[
        bool, typer.Option("--stdio", help="Talk over stdin and stdout; the only way so far.")
    ] = False,
    url: Url = DEFAULT_URL,
    config: Annotated[Path, typer.Option(help="What to serve if no service answers there.")] = Path(
        "langgraph.json"
    ),
) -> None:
    """Talk MCP to a host that starts its servers: by a running service, or one of its own."""
    if not stdio:
        give_up("add --stdio; over HTTP, a service serves MCP by itself, at /mcp", MISUSED)
    _require_address(url)
    raise typer.Exit(asyncio.run(_talk(url.rstrip("/"), config)))


def _require_address(url: str) -> None:
    try:
        place = urlsplit(url)
        place.port  # noqa: B018 - to read it is to check it
    except ValueError as error:
        give_up(f"--url {url}: {error}", MISUSED)
    if place.scheme not in {"http", "https"} or not place.hostname:
        give_up(f"--url {url}: say where, such as {DEFAULT_URL}", MISUSED)


def _require_pipe() -> None:
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(sys.stdin, selectors.EVENT_READ)
    except (OSError, ValueError):  # a file, /dev/null, or closed
        give_up(
            "--stdio: stdin has to be a pipe, of which a host of MCP has the other end", MISUSED
        )


async def _talk(url: str, config: Path) -> int:
    import httpx  # noqa: PLC0415 - slow

    from orchestration.mcp.stdio import Bridge  # noqa: PLC0415 - httpx

    headers = key_headers()
    timeout = httpx.Timeout(None, connect=CONNECT_TIMEOUT)
    limits = httpx.Limits(max_connections=None)
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        async with (
            httpx.AsyncClient(headers=headers, timeout=timeout, limits=limits) as http,
            _service(http, url, config),
        ):
            _require_pipe()
            await Bridge(http, f"{url}/mcp", _say).run(_lines())
    except asyncio.CancelledError:
        return 128 + signal.SIGTERM
    return 0


@asynccontextmanager
async def _service(http: "httpx.AsyncClient", url: str, config: Path) -> AsyncGenerator[None]:
    """Have a service answer at ``url`` meanwhile: the one that does, or one that is started."""
    place = urlsplit(url)
    local = place.hostname in _LOCAL
    if await _answers(http, url):
        with joined(presumed_data_folder()) if local else nullcontext():
            yield
        return
    if not local:
        give_up(f"no service answers at {url}; one is started on this machine only", FAILED)
    if not _is_there(config):
        give_up(f"no service answers at {url}, and there is no {config} to start one: --config")
    # -P: a folder of where the host starts us may be called as one of our packages, agents say.
    command = [sys.executable, "-P", "-m", "orchestration", "serve", "--config", str(config)]
    command += ["--host", place.hostname or "", "--port", str(place.port or 80)]
    host = FirstHost(presumed_data_folder())
    service = _start(command, host.pipe)
    try:
        async with asyncio.timeout(_START):
            while not await _answers(http, url):
                if service.poll() is not None:
                    give_up(f"the service ended with {service.returncode}", FAILED)
                await asyncio.sleep(_PAUSE)
        yield
    finally:
        if host.leave():
            await _stopped(service)


def _is_there(config: Path) -> bool:
    try:
        return is_there(config)
    except OSError:  # nobody may look, of which the service speaks
        return True


def _start(command: list[str], pipe: int) -> subprocess.Popen[bytes]:
    """Start a service that may outlive us, and what else is ended with us.

    It has a session of its own: a process of ours that stands still when we end is hung up.
    """
    return subprocess.Popen(  # noqa: S603 - our own
        [*command, "--follow", str(pipe)],
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr.fileno(),  # where a host expects what is for people
        pass_fds=[pipe],
        start_new_session=True,
    )


async def _stopped(service: subprocess.Popen[bytes]) -> None:
    """Return once a service has ended that is about to."""
    ended = asyncio.ensure_future(asyncio.to_thread(service.wait))
    try:
        await asyncio.wait_for(asyncio.shield(ended), _STOP)
    except TimeoutError:
        service.kill()


async def _answers(http: "httpx.AsyncClient", url: str) -> bool:
    import httpx  # noqa: PLC0415 - slow

    try:
        return (await http.get(f"{url}/livez")).is_success
    except httpx.HTTPError:
        return False


async def _lines() -> AsyncIterator[bytes]:
    reader = asyncio.StreamReader(limit=_LONGEST)
    protocol = asyncio.StreamReaderProtocol(reader)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    while line := await reader.readline():
        yield line


async def _say(message: bytes) -> None:
    sys.stdout.buffer.write(message.replace(b"\n", b" ") + b"\n")
    sys.stdout.buffer.flush()
