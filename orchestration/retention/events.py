"""Forgets the events of runs that ended long ago, where the operator wants that."""

from datetime import datetime, timedelta

import anyio
import structlog

from operations.alarm import Alarm, Clock, Sleep, utc_now
from operations.errors import StorageUnavailable
from orchestration.store.events import EventStore

SHORTEST_REST = 60.0  # seconds between two sweeps
LONGEST_REST = 3_600.0  # seconds until the wall clock is looked at again, in case it was set

_log = structlog.get_logger("masterloop")


class EventSweeper:
    """Deletes what a run has streamed once it has ended ``kept`` ago; the run itself stays."""

    def __init__(
        self,
        events: EventStore,
        kept: timedelta,
        *,
        clock: Clock = utc_now,
        sleep: Sleep = anyio.sleep,
    ) -> None:
        self._events = events
        self._kept = kept
        self._clock = clock
        self._alarm = Alarm(sleep)
        self._closed = False

    def close(self) -> None:
        """Begin nothing more; ``run`` returns once what is under way has ended."""
        self._closed = True
        self._alarm.ring()

    async def run(self) -> None:
        """Forget whenever there is something to forget, until closed."""
        while not self._closed:
            pause = self._kept.total_seconds()
            try:
                while await self._forget_some():
                    pass
                oldest = self._events.oldest()
                if oldest is not None:
                    until = datetime.fromisoformat(oldest) + self._kept
                    pause = (until - self._clock()).total_seconds()
            except StorageUnavailable as error:
                _log.warning("events cannot be forgotten; trying again", error=str(error))
                pause = SHORTEST_REST
            await self._alarm.rest(min(max(pause, SHORTEST_REST), LONGEST_REST))

    async def _forget_some(self) -> bool:
        """Return whether there may be more to forget."""
        before = (self._clock() - self._kept).isoformat(timespec="microseconds")
        return not self._closed and await self._events.forget(before)
