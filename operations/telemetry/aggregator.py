"""Takes events from those who work and hands them to sinks, off the event loop."""

import asyncio
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from random import Random
from typing import Self

import structlog

from operations.handover import handover
from operations.telemetry.backlog import Inbox
from operations.telemetry.inline import Inline
from operations.telemetry.lane import Lane, LaneState
from operations.telemetry.record import Batch, Importance, Record, Sink, Writer

CAPACITY = 16_384  # records that wait to be handed on, or an eighth more; as many for each sink
TRAIL_CAPACITY = 200_000  # records of the audit that wait for a disk that does not take them
CADENCE = 0.15  # seconds from the first record that waits until they are handed on
GRACE = 3.0  # seconds for the sinks to take what is left at the end
MUCH = 512  # records at once, after which the next ones wait for longer
PART = 2_048  # records handed on without a rest: for each part the interpreter is waited for
LONGER = 3  # times the cadence: each handing on takes the interpreter from a busy event loop
REST = 0.02  # seconds between two parts, while there is room for what is told meanwhile
AUDITED = 4  # parts, after which what was told meanwhile is handed to the trail
_OTHERS = 2 / 3  # of the time at the end, until who takes what sinks tell is closed
_RESTART_FIRST = 0.1  # seconds
_RESTART_MOST = 30.0  # seconds

_log = structlog.get_logger("masterloop")


class Aggregator:
    """Where everything that happens is told: ``emit`` costs whoever tells it one append.

    A thread hands what was told to the sinks 0.15 s later, the rest of it 0.45 s later while that
    is much, or as soon as there is room for only as much again; while nothing happens, it sleeps.
    Should it die, the event loop hands on until another one is started. Each sink has a thread of
    its own, and takes its time; but ``counters``, which only compute, are handed everything by the
    thread itself, and it computes what ``writers`` write.

    ``importance`` says it of the types of events that are more than details. Events of the audit
    are handed to ``trail`` too, which keeps all of them: it is to be a sink that writes them down.
    The ``last`` sinks are closed after the others, for these tell or count what those send.
    """

    def __init__(
        self,
        sinks: Iterable[Sink],
        *,
        writers: Iterable[Writer] = (),
        counters: Iterable[Sink] = (),
        trail: Writer | None = None,
        importance: Mapping[type, Importance],
        common: Mapping[str, str],
        rng: Random,
        last: Iterable[Sink] = (),
        first: int = 1,
        capacity: int = CAPACITY,
        cadence: float = CADENCE,
    ) -> None:
        self._something = threading.Event()
        self._enough = threading.Event()
        self._inbox = Inbox(
            capacity, importance, common, first, wake=self._something.set, hurry=self._hurry
        )
        self.emit: Callable[[object], None] = self._inbox.put
        """Tell of something; never waits, from whatever thread."""
        self._cadence = cadence
        self._counters = [Inline(sink) for sink in counters]
        self._last = [Lane(sink, capacity, rng) for sink in last]
        self._lanes = [
            *(Lane(sink, capacity, rng, sink.prepare) for sink in writers),
            *(Lane(sink, capacity, rng) for sink in sinks),
            *self._last,
        ]
        self._trail = None if trail is None else Lane(trail, TRAIL_CAPACITY, rng, trail.prepare)
        self._parts = deque[Sequence[Record]]()  # of what was told, that are to be handed on
        self._ended = threading.Event()
        self._closing = False
        self._much = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._restart_in = _RESTART_FIRST
        self.restarts = 0

    @property
    def waiting(self) -> int:
        """How many records have not been handed to the sinks yet."""
        parts = sum(map(len, tuple(self._parts)))
        return len(self._inbox) + parts

    @property
    def dropped(self) -> Mapping[Importance, int]:
        """How many events were dropped before any sink could have them."""
        return Counter(self._inbox.dropped)

    @property
    def sinks(self) -> Sequence[LaneState]:
        """How each of the sinks does."""
        lanes, counters = self._all_lanes, self._counters
        return [*(lane.state for lane in lanes), *(counter.state for counter in counters)]

    async def __aenter__(self) -> Self:
        """Begin to hand on."""
        self._loop = asyncio.get_running_loop()
        for lane in self._all_lanes:
            lane.start()
        self._start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close, unless that was done already."""
        await self.aclose()

    async def aclose(self, grace: float = GRACE) -> Sequence[str]:
        """Hand on what is left; return the sinks that had not taken theirs when time was up.

        What is told from now on is kept no more. Never takes longer than ``grace`` seconds.
        """
        if self._closing or self._loop is None:
            return ()
        self._closing = True
        deadline = time.monotonic() + grace
        done = asyncio.Event()
        threading.Thread(
            target=self._close, args=(deadline, done), name="telemetry-closing", daemon=True
        ).start()
        with suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await done.wait()
        if late := [lane.name for lane in self._all_lanes if lane.working]:
            _log.warning("telemetry was not taken before the end", sinks=late)
        return late

    @property
    def _all_lanes(self) -> Sequence[Lane]:
        return self._lanes if self._trail is None else [self._trail, *self._lanes]

    def _hurry(self) -> None:
        if not self._enough.is_set():
            self._enough.set()

    def _start(self) -> None:
        threading.Thread(target=self._run, name="telemetry", daemon=True).start()

    def _run(self) -> None:
        try:
            while not self._closing:
                self._something.wait()
                for _ in range(LONGER if self._much else 1):
                    if self._enough.wait(self._cadence):
                        break
                    self._hand_on_audit()
                self._something.clear()
                self._enough.clear()
                self._inbox.rouse()
                self._hand_on(rest=True)
                self._restart_in = _RESTART_FIRST
        except BaseException as error:  # noqa: BLE001 - whatever it is, another thread takes over
            _log.error("the telemetry thread died; another one follows", exc_info=error)
        finally:
            self._ended.set()
            if not self._closing and self._loop is not None:
                with suppress(RuntimeError):  # the event loop has ended as well
                    self._loop.call_soon_threadsafe(self._stand_in, self._restart_in)

    def _hand_on(self, *, rest: bool = False) -> None:
        """Hand on what waits: the audit at once, all in parts, with a ``rest`` between two.

        What a thread that dies has not come to is left in ``_parts``, for whoever is next.
        """
        batch = self._inbox.take()
        self._much = len(batch) >= MUCH
        self._parts.extend(batch[begin : begin + PART] for begin in range(0, len(batch), PART))
        self._hand_on_audit()
        while self._parts:
            with suppress(IndexError):  # who closes, and cannot wait, takes parts as well
                self._hand_on_part(self._parts.popleft())
            if self._parts and rest and not self._closing:
                self._enough.wait(REST)
            if not len(self._parts) % AUDITED:
                self._hand_on_audit()
        for lane in self._lanes:
            lane.wake()

    def _hand_on_audit(self) -> None:
        """Hand what is for the audit to the trail; the others have it later, with the rest."""
        audit = self._inbox.take_audit()
        if self._trail is None or not audit:
            return
        try:
            self._trail.put(Batch(audit))
        except BaseException:
            self._inbox.give_back(audit)  # to whoever follows this thread
            raise
        self._trail.wake()

    def _hand_on_part(self, part: Sequence[Record]) -> None:
        with handover:
            batch = Batch(part)
            for lane in self._lanes:
                lane.put(batch)
            for counter in self._counters:
                counter.put(batch)

    def _stand_in(self, remaining: float) -> None:
        """Do the work of the thread, which has died, until it is time to start another."""
        if self._closing or self._loop is None:
            return
        self._hand_on()
        if remaining > 0:
            pause = min(self._cadence, remaining)
            self._loop.call_later(pause, self._stand_in, remaining - pause)
            return
        self.restarts += 1
        self._restart_in = min(_RESTART_MOST, self._restart_in * 2)
        self._ended.clear()
        self._start()

    @staticmethod
    def _end(lanes: Sequence[Lane], deadline: float, patience: float) -> None:
        """Close lanes, which have until ``deadline``; wait for them until ``patience``."""
        for lane in lanes:
            lane.close(deadline)
        for lane in lanes:
            lane.join(patience)

    def _close(self, deadline: float, done: asyncio.Event) -> None:
        self._something.set()
        self._enough.set()
        self._ended.wait(max(0.0, deadline - time.monotonic()))
        self._hand_on()
        others = [lane for lane in self._all_lanes if lane not in self._last]
        # What a sink that hangs leaves of the time is for those that wait for the others.
        share = _OTHERS if self._last else 1.0
        self._end(others, deadline, time.monotonic() + share * (deadline - time.monotonic()))
        self._hand_on()
        for counter in self._counters:
            counter.close()
        self._end(self._last, deadline, deadline)
        if self._loop is not None:
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(done.set)
