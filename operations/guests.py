"""Code of others that is open for as long as the service is. However it ends, it ends alone."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Generic, TypeVar

import structlog

from operations.background import Stop

T = TypeVar("T")
_GIVEN_UP = 0.5  # seconds for an opening that is cancelled

_log = structlog.get_logger("masterloop")


class GuestExit(RuntimeError):
    """What was open asked for the end of the process as it was closed, which ends by itself."""

    def __init__(self, error: SystemExit) -> None:
        super().__init__(f"it raised {error!r} as it was closed")


class Guests:
    """Keeps contexts open, each in a task of its own.

    One that is left has ``grace`` seconds to close, unless it was closed before. An error of its
    closing is logged, and raised to nobody but who has closed it before.
    """

    def __init__(self, grace: float) -> None:
        self._grace = grace
        self._closings: dict[str, Stop] = {}

    @property
    def closings(self) -> Mapping[str, Stop]:
        """What closes each before it is left, from whatever task; cancelled, it is given up."""
        return self._closings

    @asynccontextmanager
    async def open(self, name: str, context: AbstractAsyncContextManager[T]) -> AsyncGenerator[T]:
        """Keep ``context`` open meanwhile; yields what it gives. Raises what its opening does."""
        guest = _Guest(name, context)
        given = await guest.opened()
        self._closings[name] = guest.close
        try:
            yield given
        finally:
            await guest.leave(self._grace)


class _Guest(Generic[T]):
    """A context that is open."""

    def __init__(self, name: str, context: AbstractAsyncContextManager[T]) -> None:
        self._name = name
        self._given: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._closing = asyncio.Event()
        self._error: Exception | None = None
        self._life = asyncio.create_task(self._live(context), name=name)
        self._life.add_done_callback(self._over)

    async def opened(self) -> T:
        try:
            await asyncio.wait({self._given})
        except asyncio.CancelledError:
            self._life.cancel()
            await asyncio.wait({self._life}, timeout=_GIVEN_UP)
            raise
        return self._given.result()

    async def close(self) -> None:
        self._closing.set()
        try:
            await asyncio.wait({self._life})
        except asyncio.CancelledError:
            self._life.cancel()
            raise
        if self._error is not None:
            raise self._error

    async def leave(self, grace: float) -> None:
        self._closing.set()
        try:
            if not self._life.cancelling():
                await asyncio.wait({self._life}, timeout=grace)
        finally:
            self._life.cancel()

    async def _live(self, context: AbstractAsyncContextManager[T]) -> None:
        try:
            async with context as given:
                self._given.set_result(given)
                await self._closing.wait()
        except SystemExit as error:
            if not self._given.done():
                raise
            self._fail(GuestExit(error))
        except Exception as error:  # noqa: BLE001 - theirs, whatever it is
            if self._given.done():
                self._fail(error)
            else:
                self._given.set_exception(error)

    def _fail(self, error: Exception) -> None:
        self._error = error
        _log.error("what was open beside the service has failed", part=self._name, exc_info=error)

    def _over(self, life: asyncio.Task[None]) -> None:
        self._given.cancel()
        if not life.cancelled():
            life.exception()  # seen: a signal that came while it was opened
