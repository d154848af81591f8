"""A file that says when its process was last alive, written at every tick."""

import os
from collections.abc import Callable
from pathlib import Path

import anyio
import orjson
import structlog

from operations.alarm import Alarm, Sleep
from operations.clock import Clock, iso, utc_now
from operations.files import write_whole
from operations.folder_lock import FolderLock, FolderLocked

NAME = ".heartbeat"
EVERY = 5.0  # seconds

_log = structlog.get_logger("masterloop")


class Heartbeat:
    """Says in a folder, every five seconds, that who holds its lock lives.

    ``lost`` is called, once, in a thread, when the folder is found to be another process's.
    """

    def __init__(
        self,
        folder: Path,
        lock: FolderLock,
        lost: Callable[[], None],
        *,
        clock: Clock = utc_now,
        sleep: Sleep = anyio.sleep,
    ) -> None:
        self._path = folder / NAME
        self._lock = lock
        self._lost = lost
        self._clock = clock
        self._alarm = Alarm(sleep)
        self._closing = False

    async def run(self) -> None:
        """Beat; a beat that fails is told in the log, and the next one is tried all the same."""
        while not self._closing:
            try:
                await anyio.to_thread.run_sync(self._beat)
            except FolderLocked as error:
                _log.error("no manifests are written any more", error=str(error))
                await anyio.to_thread.run_sync(self._lost)
                return
            except OSError as error:
                _log.warning("the heartbeat could not be written", error=str(error))
            await self._alarm.rest(EVERY)

    def close(self) -> None:
        """Beat no more."""
        self._closing = True
        self._alarm.ring()

    def _beat(self) -> None:
        self._lock.beat()
        write_whole(self._path, orjson.dumps({"at": iso(self._clock()), "pid": os.getpid()}))
