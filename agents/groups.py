"""The process groups that there are, noted in a folder: the next start ends what is left."""

from collections.abc import Mapping
from contextlib import suppress
from os import getsid
from pathlib import Path
from uuid import uuid4

import psutil

_TOKEN = "MASTERLOOP_AGENT"  # noqa: S105 - the name of a variable


class Group:
    """One group: its first process is to have ``environment``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._token = uuid4().hex

    @property
    def environment(self) -> dict[str, str]:
        """What all of it are known by."""
        return {_TOKEN: self._token}

    def note(self, pid: int) -> None:
        """Note that it has begun; where that cannot be written, nobody will look for it."""
        with suppress(OSError):
            self._folder.mkdir(mode=0o700, exist_ok=True)
            (self._folder / str(pid)).write_text(self._token, encoding="ascii")

    def forget(self, pid: int) -> None:
        """Note that nothing of it is left."""
        with suppress(OSError):
            (self._folder / str(pid)).unlink()


class Groups:
    """A file for each group, named after it.

    A process is one of a group if it is in its session and has its token in its environment, which
    nobody else ever had: a number that was given again is none of ours. What has left the group by
    ``setsid`` has left its session, too.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def new(self) -> "Group":
        """Return a group that is about to begin."""
        return Group(self._folder)

    def end_left(self) -> int:
        """End what a server that was killed has left; return how many processes. For a thread.

        Nobody else may work in the folder.
        """
        tokens = {file.name: file for file in self._folder.glob("[0-9]*")}
        ended = sum(_ended(process, tokens) for process in psutil.process_iter()) if tokens else 0
        for file in tokens.values():
            with suppress(OSError):
                file.unlink()
        return ended


def _ended(process: psutil.Process, tokens: Mapping[str, Path]) -> bool:
    """End a process if it is of one of the groups."""
    try:
        file = tokens.get(str(getsid(process.pid)))
        if file is None or process.environ().get(_TOKEN) != file.read_text(encoding="ascii"):
            return False
        process.kill()
    except (OSError, ValueError, psutil.Error):  # it has ended, or is somebody else's
        return False
    return True
