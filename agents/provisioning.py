"""Who sits where: agents are started, ended and replaced here."""

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any

import anyio

from agents.agent import Agent
from agents.configuration import PoolSection
from agents.errors import AgentLost, StartFailed
from agents.events import Emit, PoolDegraded, SeatClosed, SeatLost, SeatReady, StartMissed
from agents.restarts import Backoff, Intensity
from agents.seat import Seat
from operations.redaction import redact

Make = Callable[[], Agent]


class Provisioner:
    """Keeps an agent on each seat of one pool; at most ``starts`` of them start at a time."""

    def __init__(
        self, pool: str, make: Make, section: PoolSection, emit: Emit, rng: Random
    ) -> None:
        self.intensity = Intensity(section.restart)
        self._pool = pool
        self._make = make
        self._policy = section.restart
        self._ending = section.ending
        self._emit = emit
        self._rng = rng
        self._starts = asyncio.Semaphore(section.restart.starts)
        self._loop = asyncio.get_running_loop()

    async def keep(self, seat: Seat, opened: Callable[[Seat], None]) -> None:
        """Have one agent after the other sit on ``seat`` until it is retired.

        ``opened`` is called for each of them.
        """
        backoff = Backoff(self._policy, self._rng)
        while not seat.retired:
            lost, healthy = await self._lived(seat, opened)
            if lost is None:
                self._emit(SeatClosed(self._pool, seat.number))
            elif await self._rested(seat, lost, backoff.next(healthy), ran=healthy > 0):
                continue
            backoff.failures = 0

    async def _lived(
        self, seat: Seat, opened: Callable[[Seat], None]
    ) -> tuple[AgentLost | None, float]:
        """Make an agent and have it live and end; return what ``_live`` does."""
        try:
            agent = self._make()
        except Exception as error:  # noqa: BLE001 - whatever it is, the seat outlives it
            return AgentLost(f"it cannot be made: {_told(error)}"), 0.0
        try:
            return await self._live(seat, agent, opened)
        finally:
            await _close(agent, self._ending)
            seat.vacate()

    async def _live(
        self, seat: Seat, agent: Agent, opened: Callable[[Seat], None]
    ) -> tuple[AgentLost | None, float]:
        """Return how an agent ended, and how many seconds it was in health."""
        async with self._starts:
            lost = await self._start(seat, agent)
        if lost is not None or seat.over.done():
            return lost, 0.0
        began = self._loop.time()
        seat.seat(agent)
        opened(seat)
        await asyncio.wait({seat.over})
        return seat.over.result(), self._loop.time() - began

    async def _start(self, seat: Seat, agent: Agent) -> AgentLost | None:
        """Start an agent unless the seat is over before; return what went wrong."""
        if seat.over.done():
            return seat.over.result()
        began = self._loop.time()
        seat.begin()
        over = seat.over

        def lost(error: AgentLost) -> None:
            if seat.over is over:  # not when another agent sits there by now
                seat.lose(error)

        start = self._loop.create_task(agent.start(lost))
        start.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # seen
        try:
            either: set[asyncio.Future[Any]] = {start, seat.over}
            await asyncio.wait(
                either, timeout=self._policy.start_timeout, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            start.cancel()
        if seat.over.done():
            return seat.over.result()
        if not start.done():
            return AgentLost(f"it did not start within {self._policy.start_timeout:g} s")
        failure = _failure(start)
        if failure is None:
            self._emit(SeatReady(self._pool, seat.number, self._loop.time() - began))
        return failure

    async def _rested(self, seat: Seat, lost: AgentLost, pause: float, *, ran: bool) -> bool:
        """Wait until the next start is due; return False if it was asked for before."""
        if seat.retired:
            return True
        now = self._loop.time()
        until = self.intensity.plan(now + pause)
        if until > now + pause:
            reason = "its agents ended too often"
            self._emit(PoolDegraded(self._pool, reason, until - now))
        seat.record.restarts += 1
        seat.trouble = redact(lost.reason)  # every caller is shown it
        seat.resting_until = until
        event = SeatLost if ran else StartMissed
        self._emit(event(self._pool, seat.number, lost.reason, lost.stderr, until - now))
        asked, _ = await asyncio.wait({seat.over}, timeout=until - now)
        seat.resting_until = None
        seat.vacate()
        return not asked


def _failure(start: "asyncio.Task[None]") -> AgentLost | None:
    if start.cancelled():
        return AgentLost("its start was cancelled")
    error = start.exception()
    if isinstance(error, StartFailed):
        return AgentLost(error.reason, error.stderr)
    return None if error is None else AgentLost(_told(error))


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


async def _close(agent: Agent, seconds: float) -> None:
    """End an agent, however it feels about it; after so many seconds it is left to itself."""
    with anyio.move_on_after(seconds, shield=True):
        try:
            await agent.aclose()
        except Exception:  # noqa: BLE001 - it is given up; another one takes its seat
            return
