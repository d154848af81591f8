"""A file that says how the service is, for those who cannot ask it: also when it is gone."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import anyio
import orjson
import structlog

from operations.alarm import Alarm
from operations.clock import iso_now
from operations.files import write_whole

EVERY = 10.0  # seconds; a file that is much older is of a service that hangs or was killed

State = Literal["serving", "stopping", "stopped", "crashed"]
Figures = Callable[[], Mapping[str, Any]]

_log = structlog.get_logger("masterloop")


class StatusFile:
    """Written beside the service while it works, and before anything else when it ends."""

    def __init__(self, path: Path, figures: Figures) -> None:
        self._path = path
        self._figures = figures
        self._alarm = Alarm()
        self._closing = False

    async def run(self) -> None:
        """Write it every ten seconds, in a thread."""
        while not self._closing:
            await anyio.to_thread.run_sync(self._write, self._content("serving"))
            await self._alarm.rest(EVERY)

    def close(self) -> None:
        """Write no more of that kind."""
        self._closing = True
        self._alarm.ring()

    def write_now(self, state: State, error: str | None = None) -> None:
        """Write it at once: there may be no later."""
        self._write(self._content(state, error))

    def _content(self, state: State, error: str | None = None) -> bytes:
        told = {"state": state, "at": iso_now(), **self._figures()}
        if error is not None:
            told["error"] = error
        return orjson.dumps(told, default=str, option=orjson.OPT_INDENT_2)

    def _write(self, content: bytes) -> None:
        try:
            write_whole(self._path, content)
        except OSError as error:
            _log.warning("the status file could not be written", error=str(error))


@asynccontextmanager
async def last_words(file: StatusFile) -> AsyncGenerator[None]:
    """Have ``file`` say how the block ended."""
    try:
        yield
    except (asyncio.CancelledError, KeyboardInterrupt):
        file.write_now("stopped")
        raise
    except BaseException as error:
        file.write_now("crashed", type(error).__name__)
        raise
    file.write_now("stopped")
