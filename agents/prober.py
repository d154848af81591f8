"""Probes: who is asked when. One timer for all."""

import asyncio
import math
from collections import deque
from heapq import heappop, heappush
from itertools import count
from random import Random
from typing import Protocol

from agents.configuration import Probing


class Probed(Protocol):
    """What is probed, and is told how that went."""

    async def probe(self) -> None:
        """Return if it is well, raise if not."""
        ...

    def probed(self, began: float, took: float, error: str | None) -> None:
        """Take the outcome of a probe; times are in seconds, those of the event loop."""
        ...


class _Round:
    """One subject's probes: on a grid of its own, so that lateness does not add up."""

    __slots__ = ("due", "start", "subject")

    def __init__(self, subject: Probed, start: float) -> None:
        self.subject = subject
        self.start = start  # the grid's next point; the probe is near it
        self.due = start


class _InFlight:
    __slots__ = ("began", "round", "task")

    def __init__(self, one: _Round, began: float, task: "asyncio.Task[None]") -> None:
        self.round = one
        self.began = began
        self.task = task


class Prober:
    """Probes every subject about once a period, the first time at random within the first.

    Never more than ``at_once`` probes are in flight; those that are due meanwhile follow in turn.
    A probe that has not ended after ``timeout`` seconds has failed.
    """

    def __init__(self, policy: Probing, rng: Random) -> None:
        self._policy = policy
        self._rng = rng
        self._loop = asyncio.get_running_loop()
        self._rounds: dict[Probed, _Round] = {}
        self._heap: list[tuple[float, int, _Round | _InFlight]] = []  # when to begin, when to end
        self._numbers = count()
        self._late: deque[_Round] = deque()
        self._in_flight: dict[_Round, _InFlight] = {}  # those whose outcome is open
        self._tasks: set[asyncio.Task[None]] = set()  # those and the ones that are being cancelled
        self._timer: asyncio.TimerHandle | None = None
        self._due = math.inf
        self._closed = False

    @property
    def in_flight(self) -> int:
        """How many probes have begun and not ended."""
        return len(self._tasks)

    def add(self, subject: Probed) -> None:
        """Probe ``subject`` from now on."""
        offset = self._rng.random() * self._policy.period
        one = self._rounds[subject] = _Round(subject, self._loop.time() + offset)
        self._push(one.due, one)
        self._arm()

    def discard(self, subject: Probed) -> None:
        """Probe ``subject`` no more; of a probe in flight nothing is told."""
        one = self._rounds.pop(subject, None)
        if one is not None and (probe := self._in_flight.pop(one, None)) is not None:
            probe.task.cancel()

    def close(self) -> None:
        """Probe nothing more."""
        self._closed = True
        self._late.clear()
        for subject in tuple(self._rounds):
            self.discard(subject)
        if self._timer is not None:
            self._timer.cancel()

    def _push(self, when: float, what: _Round | _InFlight) -> None:
        heappush(self._heap, (when, next(self._numbers), what))

    def _arm(self) -> None:
        """Set the timer to what is due next."""
        while self._heap and self._is_stale(self._heap[0][2]):
            heappop(self._heap)
        due = self._heap[0][0] if self._heap and not self._closed else math.inf
        if due == self._due:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._due = due  # kept here: what uvloop returns for a time that is past does not know it
        self._timer = None if due == math.inf else self._loop.call_at(due, self._ring)

    def _is_stale(self, what: _Round | _InFlight) -> bool:
        if isinstance(what, _InFlight):
            return self._in_flight.get(what.round) is not what
        return self._rounds.get(what.subject) is not what

    def _ring(self) -> None:
        self._timer, self._due = None, math.inf
        now = self._loop.time()
        while self._heap and self._heap[0][0] <= now:
            what = heappop(self._heap)[2]
            if self._is_stale(what):
                continue
            if isinstance(what, _InFlight):
                what.task.cancel()
                self._ended(what, f"no answer within {self._policy.timeout:g} s")
            else:
                self._late.append(what)
        self._begin_late()
        self._arm()

    def _begin_late(self) -> None:
        while self._late and len(self._tasks) < self._policy.at_once:
            one = self._late.popleft()
            if not self._is_stale(one):
                self._begin(one)

    def _begin(self, one: _Round) -> None:
        now = self._loop.time()
        probe = _InFlight(one, now, self._loop.create_task(one.subject.probe()))
        self._in_flight[one] = probe
        self._tasks.add(probe.task)
        probe.task.add_done_callback(lambda task: self._answered(probe, task))
        self._push(now + self._policy.timeout, probe)
        self._arm()

    def _answered(self, probe: _InFlight, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if self._in_flight.get(probe.round) is probe:  # or else it was told, or is not wanted
            self._ended(probe, None if error is None else str(error) or type(error).__name__)
        self._begin_late()
        self._arm()

    def _ended(self, probe: _InFlight, error: str | None) -> None:
        now = self._loop.time()
        one = probe.round
        del self._in_flight[one]
        self._plan(one, now)
        one.subject.probed(probe.began, now - probe.began, error)

    def _plan(self, one: _Round, now: float) -> None:
        """Plan the next probe near the next point of the grid that is still to come."""
        period, jitter = self._policy.period, self._policy.jitter
        skipped = max(1, math.ceil((now - one.start) / period))
        one.start += skipped * period
        one.due = max(now, one.start + period * self._rng.uniform(-jitter, jitter))
        self._push(one.due, one)
