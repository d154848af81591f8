"""Time in the test's hands, for what takes its clock and its sleep as arguments."""

import asyncio
import heapq
from datetime import UTC, datetime, timedelta
from itertools import count

_numbers = count()


class Clock:
    """Stands still until it is moved; whoever sleeps by it wakes in order.

    It is ahead of the real one, by which some of what becomes due is dated, for as long as a test
    may take. ``tick`` is how many seconds pass whenever somebody looks at it.
    """

    def __init__(self, start: datetime | None = None) -> None:
        self.tick = 0
        self._now = start or datetime.now(UTC) + timedelta(hours=1)
        self._sleepers: list[tuple[datetime, int, asyncio.Event]] = []
        self._asleep = asyncio.Condition()

    def __call__(self) -> datetime:
        self._now += timedelta(seconds=self.tick)
        return self._now

    async def sleep(self, seconds: float) -> None:
        alarm = asyncio.Event()
        sleeper = (self._now + timedelta(seconds=seconds), next(_numbers), alarm)
        heapq.heappush(self._sleepers, sleeper)
        try:
            async with self._asleep:
                self._asleep.notify_all()
            await alarm.wait()
        finally:
            self._sleepers = [other for other in self._sleepers if other[2] is not alarm]
            heapq.heapify(self._sleepers)

    async def next_alarm(self) -> float:
        """Wait until somebody sleeps; return for how long yet, in seconds."""
        async with self._asleep:
            await self._asleep.wait_for(lambda: self._sleepers)
        return (self._sleepers[0][0] - self._now).total_seconds()

    def set(self, time: datetime) -> None:
        """Set the clock, as an operator does: who sleeps sleeps for as long as before."""
        by = time - self._now
        self._now = time
        self._sleepers = [(at + by, number, alarm) for at, number, alarm in self._sleepers]

    def move(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)
        while self._sleepers and self._sleepers[0][0] <= self._now:
            heapq.heappop(self._sleepers)[2].set()
