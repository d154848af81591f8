"""The hosts of a service that one of them has started: it goes on until the last of them has gone.

Each keeps a named pipe open, in the data folder of the service, which follows that.
"""

import os
import select
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

_PIPE = "mcp.hosts"


@contextmanager
def joined(folder: Path) -> Generator[None]:
    """Be one of the hosts of the service that works in ``folder``, if a host has started it."""
    try:
        ours = os.open(folder / _PIPE, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:  # there is none, or no service that follows it
        yield
        return
    try:
        yield
    finally:
        os.close(ours)


class FirstHost:
    """The host that starts the service of ``folder``, which is to follow the end ``pipe``.

    Where no named pipe can be made there is one without a name, and the service has this host only.
    """

    def __init__(self, folder: Path) -> None:
        try:
            self.pipe, self._ours = _named(folder)
        except OSError:
            self.pipe, self._ours = os.pipe()

    def leave(self) -> bool:
        """Be no host any more; return whether that was the last one, and so the service ends."""
        os.close(self._ours)
        ended, _, _ = select.select([self.pipe], [], [], 0)
        os.close(self.pipe)
        return bool(ended)


def _named(folder: Path) -> tuple[int, int]:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / _PIPE
    with suppress(FileExistsError):
        os.mkfifo(path, 0o600)
    # Opened so, neither end waits for the other; whoever follows is to wait, though.
    reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    writing = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    os.set_blocking(reading, True)
    return reading, writing
