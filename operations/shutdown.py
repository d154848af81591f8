"""How a service stops: step by step in tiers, each step with a deadline of its own."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from itertools import groupby
from operator import attrgetter
from typing import Any

import structlog

_log = structlog.get_logger("masterloop")


class Tier(IntEnum):
    """What stops together. Tiers stop in this order."""

    READINESS = 0  # nobody sends new work any more
    INTAKE = 1  # new work is refused
    RUNS = 2
    STREAMS = 3
    PARTS = 4  # agents, connections, what works in the background
    RECORDS = 5  # the audit trail, telemetry; and what others have opened


class Result(StrEnum):
    """How a step ended."""

    DONE = "done"
    FAILED = "failed"
    TIMED_OUT = "timed out"
    CUT_SHORT = "cut short"  # the stop was forced


@dataclass(frozen=True, slots=True)
class Step:
    """Something to stop, for which there are ``grace`` seconds.

    ``forced`` is how many it has in a stop that must not take any time; None: it is left out.
    """

    name: str
    tier: Tier
    stop: Callable[[], Awaitable[object]]
    grace: float
    forced: float | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """How a step ended, after so many seconds."""

    name: str
    tier: Tier
    result: Result
    seconds: float
    error: str | None = None


class Shutdown:
    """Runs steps tier after tier, those of one tier at the same time.

    A step that takes too long is cancelled and left behind: nothing waits for it, and what it
    holds up is its own. No timer is left when the run has ended. ``told`` is called with each
    change.
    """

    def __init__(self, told: Callable[[], None] = lambda: None) -> None:
        self._told = told
        self._steps: list[Step] = []
        self._ended: list[Ended] = []
        self._phase: Tier | None = None
        self._running: asyncio.Task[None] | None = None
        self._forced: asyncio.Future[None] | None = None
        self._left: set[asyncio.Future[object]] = set()

    @property
    def begun(self) -> bool:
        """Whether the service is stopping."""
        return self._running is not None

    @property
    def phase(self) -> Tier | None:
        """The tier that is being stopped, or was the last."""
        return self._phase

    @property
    def ended(self) -> Sequence[Ended]:
        """The steps that have ended, in that order."""
        return tuple(self._ended)

    def add(self, *steps: Step) -> None:
        """Have ``steps`` done; within a tier they begin in the reverse order of their adding."""
        self._steps.extend(steps)

    async def run(self) -> None:
        """Do every step, once: who calls this again waits for the same end."""
        if self._running is None:
            self._forced = asyncio.get_running_loop().create_future()
            self._running = asyncio.create_task(self._run(self._forced), name="shutdown")
        await asyncio.shield(self._running)

    def force(self) -> None:
        """Cut short what is being done; of the rest do only what must be done even so."""
        if self._forced is not None and not self._forced.done():
            self._forced.set_result(None)

    async def _run(self, forced: asyncio.Future[None]) -> None:
        clock = asyncio.get_running_loop().time
        began = clock()
        by_tier = attrgetter("tier")
        latest_first = reversed(self._steps)
        for tier, steps in groupby(sorted(latest_first, key=by_tier), key=by_tier):
            self._phase = tier
            self._told()
            async with asyncio.TaskGroup() as group:
                for step in steps:
                    group.create_task(self._end(step, forced), name=f"stop {step.name}")
        _log.info(
            "stopped",
            seconds=round(clock() - began, 3),
            forced=forced.done(),
            steps={one.name: f"{one.result}, {one.seconds:.3f} s" for one in self._ended},
        )

    async def _end(self, step: Step, forced: asyncio.Future[None]) -> None:
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            result, error = await self._stop(step, forced)
        except Exception as broken:  # noqa: BLE001 - one step must not take the others down
            result, error = Result.FAILED, f"{type(broken).__name__}: {broken}"
        ended = Ended(step.name, step.tier, result, round(clock() - began, 6), error)
        self._ended.append(ended)
        self._told()
        if result is not Result.DONE:
            _log.warning(
                "a step of the stop was not done",
                step=step.name,
                result=result,
                seconds=ended.seconds,
                error=error,
            )

    async def _stop(self, step: Step, forced: asyncio.Future[None]) -> tuple[Result, str | None]:
        if forced.done() and step.forced is None:
            return Result.CUT_SHORT, None
        work = asyncio.ensure_future(step.stop())
        if not forced.done():
            either: set[asyncio.Future[Any]] = {work, forced}
            await asyncio.wait(either, timeout=step.grace, return_when=asyncio.FIRST_COMPLETED)
        if forced.done() and step.forced is not None:
            await asyncio.wait({work}, timeout=step.forced)
        if not work.done():
            self._leave(work)
            return (Result.CUT_SHORT if forced.done() else Result.TIMED_OUT), None
        if work.cancelled():
            return Result.FAILED, asyncio.CancelledError.__name__
        work.result()
        return Result.DONE, None

    def _leave(self, work: asyncio.Future[object]) -> None:
        """Cancel ``work`` and wait no longer for it."""
        self._left.add(work)
        work.add_done_callback(self._left.discard)
        work.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        work.cancel()
