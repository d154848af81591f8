"""Work that goes on beside the service, and ends with it."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Protocol

import structlog

LAST_GRACE = 1.0  # seconds for what is under way when the service stops

_log = structlog.get_logger("masterloop")


class Worker(Protocol):
    """Somebody who works until told to stop."""

    async def run(self) -> None:
        """Work; return soon after ``close``."""
        ...

    def close(self) -> None:
        """Begin nothing more."""
        ...


@asynccontextmanager
async def in_background(worker: Worker, name: str) -> AsyncGenerator[None]:
    """Let ``worker`` work meanwhile; on leaving it has a second to end what is under way."""
    work = asyncio.create_task(worker.run(), name=name)
    work.add_done_callback(_tell_of_death)
    try:
        yield
    finally:
        worker.close()
        await asyncio.wait({work}, timeout=LAST_GRACE)
        work.cancel()
        await asyncio.wait({work})


def _tell_of_death(work: "asyncio.Task[None]") -> None:
    if not work.cancelled() and (error := work.exception()) is not None:
        _log.critical(
            "work in the background has ended until the next start",
            work=work.get_name(),
            exc_info=error,
        )
