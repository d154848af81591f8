"""A subprocess in a process group of its own. None of the group outlives it."""

import asyncio
import errno
import os
import resource
import shutil
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol, cast

import psutil

from agents.captured import Captured
from agents.configuration import Resources, Subprocess
from agents.errors import ArgumentsTooLong, StartFailed
from agents.groups import Group, Groups

# What every subprocess gets of the server's environment; secrets have other names.
INHERITED = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "TZ")
# Has the kernel end a subprocess with the server, however that ends; from util-linux.
_SETPRIV = shutil.which("setpriv")
_WITH_US = (_SETPRIV, "--pdeathsig", "KILL", "--") if _SETPRIV else ()
_STANDING_STILL = (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP, psutil.STATUS_ZOMBIE)
_LAST_WORDS = 1.0  # seconds after its end until its pipes are given up: somebody else holds them
UNREAD = 2  # of the longest lines that an agent is sent may wait for it to read: a task, answers

_STDIN, _STDOUT, _STDERR = range(3)


class Listener(Protocol):
    """Who is told of what a subprocess does."""

    def wrote(self, data: bytes) -> None:
        """Take the next bytes of its stdout."""
        ...

    def fell_silent(self) -> None:
        """Learn that its stdout is closed."""
        ...

    def went_deaf(self) -> None:
        """Learn that it has closed its stdin."""
        ...

    def ended(self, exit_code: int) -> None:
        """Learn that it has ended, and that all it wrote was read."""
        ...


class Child(asyncio.SubprocessProtocol):
    """A running subprocess.

    Not ``asyncio.subprocess.Process``, whose ``wait`` waits for whoever inherited the pipes, too.
    """

    def __init__(self, listener: Listener, error_limit: int, group: Group | None) -> None:
        self.stderr = Captured(error_limit)
        self._group = group
        self._listener = listener
        self._gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport: asyncio.SubprocessTransport | None = None
        self._ending = False
        self._closed_stdin = False  # by us

    @property
    def pid(self) -> int:
        """The id of the process, and of its group."""
        return self._running.get_pid()

    @property
    def stands_still(self) -> bool:
        """Whether it was stopped, or has ended."""
        try:
            return psutil.Process(self.pid).status() in _STANDING_STILL
        except psutil.NoSuchProcess:
            return True

    @property
    def is_deaf(self) -> bool:
        """Whether its stdin is closed."""
        return self._stdin is None or self._stdin.is_closing()

    @property
    def unread(self) -> int:
        """How many bytes wait here until it reads what was written to its stdin before."""
        return 0 if self._stdin is None else self._stdin.get_write_buffer_size()

    def write(self, data: bytes) -> None:
        """Have ``data`` written to its stdin; if nobody reads there any more, nothing happens."""
        if self._stdin is not None and not self._stdin.is_closing():
            self._stdin.write(data)

    def close_stdin(self) -> None:
        """Let it read the end of its stdin once it has read the rest."""
        self._closed_stdin = True
        if self._stdin is not None:
            self._stdin.close()

    async def end(self, grace: float) -> None:
        """End the group: SIGTERM, so many seconds of grace, SIGKILL; at once if cancelled."""
        self._ending = True
        if self._gone.done():
            self._running.close()
            return
        try:
            await self._terminated(grace)
            await asyncio.wait({self._gone}, timeout=_LAST_WORDS)
        finally:
            self._running.close()

    async def _terminated(self, grace: float) -> None:
        self.close_stdin()
        try:
            if self._running.get_returncode() is None:
                self._signal(signal.SIGTERM)
                await asyncio.wait({self._gone}, timeout=grace)
        finally:
            self._signal(signal.SIGKILL)

    @property
    def _running(self) -> asyncio.SubprocessTransport:
        if self._transport is None:
            raise RuntimeError("the subprocess was never started")
        return self._transport

    @property
    def _stdin(self) -> asyncio.WriteTransport | None:
        return cast("asyncio.WriteTransport | None", self._running.get_pipe_transport(_STDIN))

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    # The event loop's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.SubprocessTransport", transport)
        if self._group is not None:
            self._group.note(self.pid)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd == _STDERR:
            self.stderr.append(data)
        else:
            self._listener.wrote(data)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        later = asyncio.get_running_loop().call_later  # most likely because it is about to end
        if fd == _STDOUT:
            later(_LAST_WORDS, self._tell_of_silence)
        elif fd == _STDIN and not self._closed_stdin:
            later(_LAST_WORDS, self._tell_of_deafness)

    def process_exited(self) -> None:
        if not self._ending:
            self._signal(signal.SIGKILL)  # what it started and left behind
        asyncio.get_running_loop().call_later(_LAST_WORDS, self._finish)

    def _tell_of_silence(self) -> None:
        if not self._gone.done():
            self._listener.fell_silent()

    def _tell_of_deafness(self) -> None:
        if not self._gone.done():
            self._listener.went_deaf()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        self._finish()

    def _finish(self) -> None:
        if not self._gone.done():
            self._gone.set_result(None)
            if self._group is not None:
                self._group.forget(self.pid)
            self._listener.ended(self._running.get_returncode() or 0)


async def spawn(
    section: Subprocess,
    listener: Listener,
    *,
    root: Path,
    error_limit: int,
    arguments: Sequence[str] | None = None,
    trace: Mapping[str, str] | None = None,
    groups: Groups | None = None,
) -> Child:
    """Start the subprocess of ``section``, with other ``arguments`` if they are given.

    ``trace`` is a W3C trace context, for its environment; ``groups`` is where its group is noted.

    Raises:
        ArgumentsTooLong: it would start with shorter ones.
        StartFailed: there is no such command or folder, or it may not be executed.
    """
    argv = [section.argv[0], *(section.argv[1:] if arguments is None else arguments)]
    environment = environment_of(section, os.environ)
    environment |= {name.upper(): value for name, value in (trace or {}).items()}
    group = None if groups is None else groups.new()
    if group is not None:
        environment |= group.environment
    folder = root / section.folder
    if not find(section, root):
        raise StartFailed(f"there is no command {argv[0]!r}")
    loop = asyncio.get_running_loop()
    try:
        _, child = await loop.subprocess_exec(
            lambda: Child(listener, error_limit, group),
            *_WITH_US,
            *argv,
            env=environment,
            cwd=folder,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno == errno.E2BIG:
            raise ArgumentsTooLong(argv[0], sum(map(len, map(os.fsencode, argv)))) from error
        raise StartFailed(f"{argv[0]!r} cannot be started in {folder}: {error}") from error
    _limit(child.pid, section.resources)
    return child


def find(section: Subprocess, root: Path) -> str | None:
    """Return where the command of ``section`` is, None if it is nowhere."""
    name = section.argv[0]
    path = environment_of(section, os.environ).get("PATH")
    return shutil.which(root / section.folder / name if "/" in name else name, path=path)


def environment_of(section: Subprocess, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a subprocess: what is named, and nothing else."""
    names = (*INHERITED, *section.inherit)
    return {name: environment[name] for name in names if name in environment} | section.env


def _limit(pid: int, resources: Resources) -> None:
    """Limit a process that has just begun; there is no other way that does not slow every start."""
    prlimit: Callable[[int, int, tuple[int, int]], object] | None
    prlimit = getattr(resource, "prlimit", None)
    if prlimit is None:  # not Linux
        return
    limits = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_AS: resources.memory,
        resource.RLIMIT_CPU: resources.cpu,
        resource.RLIMIT_NOFILE: resources.files,
        resource.RLIMIT_FSIZE: resources.file_size,
        resource.RLIMIT_NPROC: resources.processes,
    }
    with suppress(ProcessLookupError, PermissionError):
        for kind, limit in limits.items():
            if limit is not None:
                prlimit(pid, kind, (limit, limit))
