"""Sweeps threads whose time to live is over: little by little, between everything else."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import Protocol

import anyio
import structlog

from operations.alarm import Alarm, Sleep
from operations.clock import Clock, iso, utc_now
from operations.errors import StorageUnavailable
from orchestration.loop.errors import ThreadBusy
from orchestration.store.expiry import Expired, ExpiryStore
from orchestration.store.ttl import Ttl

AT_ONCE = 16  # threads; their deletions share commits
LONGEST_REST = 3_600.0  # seconds until the wall clock is looked at again, in case it was set
_STORE_PAUSE = 60.0  # seconds until a store that failed is tried again

_log = structlog.get_logger("masterloop")

Hold = Callable[[str], AbstractContextManager[None]]


class Checkpoints(Protocol):
    """What can be pruned."""

    async def aprune(self, thread_ids: list[str], *, strategy: str) -> None:
        """Delete checkpoints of threads; see `BaseCheckpointSaver`."""
        ...


class ThreadSweeper:
    """Deletes, or prunes to the latest checkpoint, each thread whose time is over.

    ``hold`` lets no run of a thread start meanwhile, or raises ThreadBusy: what works is never
    touched. ``gone`` is told of each that was deleted; what is left of threads that are gone it
    deletes in small parts. It sleeps until the first thread expires; it sweeps at most every
    ``interval`` seconds and then ``limit`` threads. ``default`` is what threads get that are made
    from now on.
    """

    def __init__(
        self,
        store: ExpiryStore,
        checkpoints: Checkpoints,
        hold: Hold,
        gone: Callable[[str], None],
        *,
        interval: float,
        limit: int,
        default: Ttl | None,
        clock: Clock = utc_now,
        sleep: Sleep = anyio.sleep,
    ) -> None:
        self._store = store
        self._checkpoints = checkpoints
        self._hold = hold
        self._gone = gone
        self._interval = interval
        self._limit = limit
        self._default = default
        self._clock = clock
        self._alarm = Alarm(sleep)
        self._closed = False
        self._swept = 0
        self._failure: StorageUnavailable | None = None
        self._not_before = self._looks_at = clock()

    def expect(self, ttl: Ttl) -> None:
        """Look again in time: a thread was just given so long to live."""
        if self._clock() + timedelta(minutes=ttl.minutes) < self._looks_at:
            self._alarm.ring()

    def close(self) -> None:
        """Begin nothing more; ``run`` returns once what is under way has ended."""
        self._closed = True
        self._alarm.ring()

    async def run(self) -> None:
        """Sweep whenever a thread expires, until closed."""
        while not self._closed:
            at = self._clock()
            # Or a clock that was set back would put it off for as long as it was ahead.
            latest = at + timedelta(seconds=self._interval)
            self._not_before = min(self._not_before, latest)
            try:
                if at >= self._not_before:
                    await self._sweep(at)
                await self._clear()
                pause = self._until_next()
            except StorageUnavailable as error:
                _log.warning("threads cannot be swept; trying again", error=str(error))
                pause = _STORE_PAUSE
            self._looks_at = self._clock() + timedelta(seconds=pause)
            await self._alarm.rest(pause)

    async def _sweep(self, at: datetime) -> None:
        """Deal with what is expired; there is none at all on most days.

        Raises:
            StorageUnavailable: some of it could not be dealt with.
        """
        self._swept, left, self._failure = 0, 0, None
        while left < self._limit and not self._closed:
            threads = await self._store.expired(at, min(AT_ONCE, self._limit - left))
            if not threads:
                break
            left += len(threads)
            async with anyio.create_task_group() as work:
                for thread in threads:
                    work.start_soon(self._deal_with, thread, at)
            if self._failure is not None:
                raise self._failure
        if left:
            self._not_before = at + timedelta(seconds=self._interval)
        if self._swept:
            _log.info("threads have expired", threads=self._swept)

    async def _clear(self) -> None:
        """Delete what is left of threads that are gone."""
        while not self._closed and await self._store.delete_some():
            pass

    def _until_next(self) -> float:
        """Return the seconds until there may be something to sweep."""
        now = self._clock()
        expiry = self._store.next_expiry()
        seconds = math.inf if expiry is None else (expiry - now).total_seconds()
        if self._default is not None:  # which threads get that nobody tells of
            seconds = min(seconds, self._default.minutes * 60)
        wait = (self._not_before - now).total_seconds()
        return max(wait, min(max(0.0, seconds), LONGEST_REST))

    async def _deal_with(self, thread: Expired, at: datetime) -> None:
        """Deal with one thread: what it meets ends nothing for the others."""
        try:
            try:
                await self._try(thread, at)
            except StorageUnavailable:
                raise
            except Exception:  # noqa: BLE001 - whatever it is, its time begins anew
                _log.exception("an expired thread is left for later", thread_id=thread.thread_id)
                await self._store.postpone(thread, thread.ttl.after(iso(at)))
        except StorageUnavailable as error:
            self._failure = error

    async def _try(self, thread: Expired, at: datetime) -> None:
        ends, now = thread.ends(), iso(at)
        if ends > now:  # it was updated since
            await self._store.postpone(thread, ends)
            return
        try:
            with self._hold(thread.thread_id):
                done = await self._end(thread)
        except ThreadBusy:
            done = False
        if not done:
            await self._store.postpone(thread, thread.ttl.after(now))
            return
        self._swept += 1

    async def _end(self, thread: Expired) -> bool:
        """Do what its time to live says; return whether the thread is no more."""
        if thread.ttl.strategy == "keep_latest":
            await self._checkpoints.aprune([thread.thread_id], strategy="keep_latest")
            return False
        deleted = await self._store.delete(thread)
        if deleted:
            self._gone(thread.thread_id)
        return deleted
