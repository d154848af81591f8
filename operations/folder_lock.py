"""One process at a time works in a folder; what a dead one has left is taken over."""

import fcntl
import os
import socket
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import uuid4

import orjson

from operations.files import PARTS, write_whole

NAME = ".lock"
TTL = 60.0  # seconds without a sign of life after which a holder counts as dead
TRIES = 5
_FIRST_WAIT = 0.1  # seconds; doubled with each try: 1.5 s in all


class FolderLocked(Exception):
    """Another process works in the folder. Nothing was touched."""

    def __init__(self, folder: Path, pid: int, host: str) -> None:
        super().__init__(f"{folder} is in use by process {pid} on {host}")
        self.folder = folder


@dataclass(frozen=True, slots=True)
class _Holder:
    pid: int
    host: str
    began: str  # when the process did: a pid is given again
    token: str
    at: float  # seconds since 1970; the last sign of life


class FolderLock:
    """A file that says who works in a folder; ``beat`` is the sign of life to give within a TTL."""

    def __init__(
        self,
        folder: Path,
        *,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._folder = folder
        self._path = folder / NAME
        self._now = now
        self._sleep = sleep
        self._token = uuid4().hex

    def take(self) -> None:
        """Take the folder, which is made if it is not there; to be called in a thread.

        Raises:
            FolderLocked: somebody else has it, after five tries in less than three seconds.
            OSError: the folder cannot be written to.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        tried, wait = 0, _FIRST_WAIT
        while True:
            with self._alone():
                holder = self._holder()
                if holder is None or not self._lives(holder):
                    self._clear()
                    self._sign()
                    return
            tried += 1
            if tried == TRIES:
                raise FolderLocked(self._folder, holder.pid, holder.host)
            self._sleep(wait)
            wait *= 2

    def beat(self) -> None:
        """Give a sign of life.

        Raises:
            FolderLocked: none was given for so long that another process has taken the folder.
            OSError: it could not be written.
        """
        with self._alone():
            holder = self._holder()
            if holder is not None and holder.token != self._token:
                raise FolderLocked(self._folder, holder.pid, holder.host)
            self._sign()

    def release(self) -> None:
        """Let the folder go, if it is still ours."""
        with suppress(OSError), self._alone():
            holder = self._holder()
            if holder is not None and holder.token == self._token:
                self._path.unlink()

    def _clear(self) -> None:
        """Remove what a process that was killed while it wrote had not renamed yet."""
        for part in self._folder.glob(PARTS):
            with suppress(OSError):
                part.unlink()

    def _sign(self) -> None:
        pid = os.getpid()
        me = _Holder(pid, socket.gethostname(), _began(pid) or "", self._token, self._now())
        write_whole(self._path, orjson.dumps(asdict(me)))

    def _holder(self) -> _Holder | None:
        try:
            return _Holder(**orjson.loads(self._path.read_bytes()))
        except (FileNotFoundError, ValueError, TypeError):
            return None  # there is none, or nobody can say who

    def _lives(self, holder: _Holder) -> bool:
        age = self._now() - holder.at
        if age >= TTL:
            return False
        if holder.host == socket.gethostname():
            return _began(holder.pid) == holder.began
        return age > -TTL  # that far ahead, it is no sign of now: a clock was set since

    @contextmanager
    def _alone(self) -> Generator[None]:
        """Look and sign in one: of two who find a dead one's lock, one takes it over."""
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _began(pid: int) -> str | None:
    """Return when a process began, as its machine counts; None if there is no such process.

    Where the machine does not say when, it is the same text for all.
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass  # it is somebody else's
    try:
        # The name, in brackets, may have anything in it; the start is the 20th word after it.
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
