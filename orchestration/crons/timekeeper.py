"""Fires crons: a run for each that is due, at once, and one for all that a stop made it miss."""

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random

import anyio
import structlog

from operations.alarm import Alarm, Sleep
from operations.clock import Clock, utc_now
from operations.errors import StorageUnavailable
from orchestration.crons.schedule import parse_schedule
from orchestration.loop.errors import (
    LoopError,
    QueueFull,
    RateLimited,
    Restricted,
    ThreadBusy,
    ThreadNotFound,
)
from orchestration.loop.run import Firing
from orchestration.store.crons import Cron, CronStore, as_text

AT_ONCE = 64  # crons; their runs are accepted in one commit
LONGEST_REST = 60.0  # seconds until the wall clock is looked at again, in case it was set
LONGEST_WAIT = 60.0  # seconds until a refused run is submitted again
_STORE_PAUSE = 5.0  # seconds until a store that failed is tried again

_log = structlog.get_logger("masterloop")

Submit = Callable[[Cron, Firing], Awaitable[None]]


class Unrunnable(Exception):
    """What a cron asks for cannot be run as the service is now, however often it is tried."""


@dataclass(frozen=True, slots=True)
class _Refusal:
    """A run that was refused: how often so far, when last, and when to submit it again."""

    times: int
    since: datetime
    until: datetime

    def holds(self, at: datetime) -> bool:
        """Return whether to wait still; before it began, no: the clock was set back."""
        return self.since <= at < self.until


class Timekeeper:
    """Submits a run for every cron that is due, exactly once for each time it was.

    ``submit`` takes the run and moves the cron in one transaction: a firing is durable, or it is
    still due. What is due lies in the store; there is one timer, for the first of it. Due times
    are wall-clock times: a clock set forward is noticed within a minute, and one set back makes
    nothing run twice.
    """

    def __init__(
        self,
        store: CronStore,
        submit: Submit,
        *,
        rng: Random,
        clock: Clock = utc_now,
        sleep: Sleep = anyio.sleep,
    ) -> None:
        self._store = store
        self._submit = submit
        self._rng = rng
        self._clock = clock
        self._alarm = Alarm(sleep)
        self._closed = False
        self._refused: dict[str, _Refusal] = {}

    def changed(self, cron_id: str) -> None:
        """Look again: a cron is new, or not what it was."""
        self._refused.pop(cron_id, None)
        self._alarm.ring()

    def close(self) -> None:
        """Begin nothing more; ``run`` returns once what is under way has ended."""
        self._closed = True
        self._alarm.ring()

    async def run(self) -> None:
        """Fire what is due, whenever it is, until closed."""
        while not self._closed:
            at = self._clock()
            try:
                while await self._fire_due(at):
                    pass
                self._forget_refusals(at)
                pause = self._until_next(at)
            except StorageUnavailable as error:
                _log.warning("crons cannot be read; trying again", error=str(error))
                pause = _STORE_PAUSE
            await self._alarm.rest(pause)

    async def _fire_due(self, at: datetime) -> bool:
        """Fire some of what is due; return whether that was anything."""
        if self._closed:
            return False
        waiting = [cron_id for cron_id, one in self._refused.items() if one.holds(at)]
        due = await self._store.due(at, without=waiting, limit=AT_ONCE)
        async with anyio.create_task_group() as firings:
            for cron in due:
                firings.start_soon(self._fire, cron, at)
        return bool(due)

    def _forget_refusals(self, at: datetime) -> None:
        """Forget whose time had come: it has been fired since, or refused anew, or is no more."""
        self._refused = {cron_id: one for cron_id, one in self._refused.items() if one.holds(at)}

    def _until_next(self, at: datetime) -> float:
        """Return the seconds until something is due that was not yet at ``at``."""
        times = [one.until for one in self._refused.values()]
        next_due = self._store.next_due(at)
        if next_due is not None:
            times.append(next_due)
        if not times:
            return math.inf
        left = (min(times) - self._clock()).total_seconds()
        return min(max(0.0, left), LONGEST_REST)

    async def _fire(self, cron: Cron, at: datetime) -> None:
        try:
            await self._fire_once(cron, at)
        except Exception as error:  # noqa: BLE001 - one that cannot be fired holds up no other
            self._wait(cron, at, error)
        else:
            self._refused.pop(cron.cron_id, None)

    async def _fire_once(self, cron: Cron, at: datetime) -> None:
        firing = Firing(cron.cron_id, cron.next_run_date or "", due_after(cron, at))
        now = at.replace(microsecond=0)  # the alarm rings some ms after what is due
        if cron.end_time is not None and now > datetime.fromisoformat(cron.end_time):
            await self._store.skip(firing)
            return
        try:
            await self._submit(cron, firing)
        except (ThreadBusy, ThreadNotFound, Unrunnable) as error:
            _log.warning(
                "a run of a cron was left out",
                cron_id=cron.cron_id,
                due=firing.due,
                next=firing.next,
                reason=str(error),
            )
            await self._store.skip(firing)

    def _wait(self, cron: Cron, at: datetime, error: Exception) -> None:
        """Have a run that was refused submitted again, later each time."""
        before = self._refused.get(cron.cron_id)
        times = 1 if before is None else before.times + 1
        wait = min(LONGEST_WAIT, 2.0 ** min(times, 10)) * self._rng.uniform(0.5, 1.0)
        if isinstance(error, QueueFull | RateLimited | Restricted):
            wait = max(wait, error.retry_after)
        self._refused[cron.cron_id] = _Refusal(times, at, at + timedelta(seconds=wait))
        _log.warning(
            "a run of a cron was refused; trying again",
            cron_id=cron.cron_id,
            due=cron.next_run_date,
            times=times,
            retry_in=wait,
            reason=str(error),
            exc_info=None if isinstance(error, LoopError | StorageUnavailable) else error,
        )


def due_after(cron: Cron, at: datetime) -> str | None:
    """Return the first time after ``at`` that a cron is due; None if there is none.

    Raises:
        BadSchedule: its schedule or its time zone is none.
    """
    end = None if cron.end_time is None else datetime.fromisoformat(cron.end_time)
    due = parse_schedule(cron.schedule, cron.timezone).after(at, end)
    return None if due is None else as_text(due)
