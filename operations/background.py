"""Work that goes on beside the service, and ends with it."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

import structlog

LAST_GRACE = 1.0  # seconds for what is under way when the service stops
_GIVEN_UP = 0.5  # seconds more for what has not ended in time, as it is left

Stop = Callable[[], Awaitable[None]]

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
async def in_background(worker: Worker, name: str) -> AsyncGenerator[Stop]:
    """Let ``worker`` work meanwhile; on leaving it has a second to end what is under way.

    Yields what ends it earlier. It is waited for once: one that has taken no notice is left.
    """
    work = asyncio.create_task(worker.run(), name=name)
    work.add_done_callback(_tell_of_death)
    stopped = False

    async def stop() -> None:
        nonlocal stopped
        if stopped:
            return
        stopped = True
        worker.close()
        try:
            await asyncio.wait({work}, timeout=LAST_GRACE)
        finally:
            work.cancel()
        await asyncio.wait({work}, timeout=LAST_GRACE)

    try:
        yield stop
    finally:
        await stop()


@asynccontextmanager
async def held(context: AbstractAsyncContextManager[object], name: str) -> AsyncGenerator[Stop]:
    """Keep ``context`` open meanwhile; yields what closes it earlier, from whatever task.

    A closing that was cancelled is given up: leaving cancels it too, and waits half a second.
    """
    opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    closing, given_up = asyncio.Event(), asyncio.Event()

    async def live() -> None:
        async with context:
            opened.set_result(None)
            await closing.wait()

    life = asyncio.create_task(live(), name=name)

    async def stop() -> None:
        closing.set()
        try:
            await asyncio.wait({life})
        except asyncio.CancelledError:
            given_up.set()
            raise

    try:
        await asyncio.wait({life, opened}, return_when=asyncio.FIRST_COMPLETED)
    except asyncio.CancelledError:
        life.cancel()
        await asyncio.wait({life}, timeout=_GIVEN_UP)
        raise
    try:
        if opened.done():
            yield stop
    finally:
        if not given_up.is_set():
            await stop()
        life.cancel()
        await asyncio.wait({life}, timeout=_GIVEN_UP)
        if life.done() and not life.cancelled():
            life.result()


def _tell_of_death(work: "asyncio.Task[None]") -> None:
    if not work.cancelled() and (error := work.exception()) is not None:
        _log.critical(
            "work in the background has ended until the next start",
            work=work.get_name(),
            exc_info=error,
        )
