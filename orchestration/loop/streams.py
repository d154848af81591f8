"""The events of a run, and those who listen.

An event's data is JSON text, made once and shared by all listeners. A run nobody listens to
makes none: ask ``wanted`` before serialising.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import orjson

LISTENER_LIMIT = 10_000  # events waiting for one slow listener
LISTENER_BYTES = 8 * 1024**2  # of their data
HISTORY_LIMIT = 50_000  # events kept in memory of one resumable run
HISTORY_BYTES = 16 * 1024**2  # of their data


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """One event: its number within the run (from 1), its name, its data as JSON text.

    ``origin`` is the run, of an event that can be asked for again, and of a run's end.
    """

    number: int
    name: str
    data: bytes
    origin: str = ""


Tap = Callable[[StreamEvent], None]
Watcher = Callable[[bool], None]


def run_done(run_id: str) -> StreamEvent:
    """Return what those who watch a thread are told when a run on it has ended."""
    data = orjson.dumps({"status": "run_done", "run_id": run_id})
    return StreamEvent(0, "metadata", data, run_id)


class Keeper(Protocol):
    """Keeps the events of runs where they outlive these."""

    @property
    def full(self) -> bool:
        """Whether it is behind, and runs are to wait before they say more."""
        ...

    def append(self, run_id: str, event: StreamEvent) -> None:
        """Keep an event of a run; never waits."""
        ...

    async def room(self) -> None:
        """Return once it is no longer full."""
        ...


class Listener:
    """A place where events wait for one reader."""

    def __init__(self) -> None:
        self._events: list[StreamEvent] = []
        self._behind = 0  # events that wait, those given at the start not counted
        self._size = 0
        self._waiter: asyncio.Future[None] | None = None
        self.closed = False
        self.overflowed = False

    @property
    def waiting(self) -> int:
        """How many events wait to be read."""
        return len(self._events)

    def put_nowait(self, event: StreamEvent) -> None:
        """Keep ``event`` for the reader; a reader that is too far behind is closed instead."""
        if self.closed:
            return
        if self._behind >= LISTENER_LIMIT or self._size >= LISTENER_BYTES:
            self.overflowed = True
            self.close()
            return
        self._events.append(event)
        self._behind += 1
        self._size += len(event.data)
        self.wake()

    def give(self, events: Iterable[StreamEvent]) -> None:
        """Let the reader begin with ``events``, however many; they are kept elsewhere anyway."""
        self._events.extend(events)

    def close(self) -> None:
        """Let the reader take what is left and then see the end."""
        self.closed = True
        self.wake()

    def take(self) -> list[StreamEvent]:
        """Return what waits, without waiting."""
        events, self._events = self._events, []
        self._behind = self._size = 0
        return events

    async def wait(self) -> None:
        """Return once there is something to take, nothing will come any more, or it is woken."""
        if self._events or self.closed:
            return
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def wake(self) -> None:
        """End the wait."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class RunStream:
    """The events of one run, in order, for any number of listeners.

    A tap is called with every event as it comes; unlike a listener it outlives the run.
    """

    __slots__ = (
        "_closed", "_history", "_keeper", "_listeners", "_number", "_origin", "_size", "_taps",
        "_watcher",
    )  # fmt: skip

    def __init__(self) -> None:
        # Dictionaries for their order: thousands may leave at once, none searched for among all.
        self._listeners: dict[Listener, None] = {}
        self._taps: dict[Tap, None] = {}
        self._history: deque[StreamEvent] | None = None
        self._keeper: Keeper | None = None
        self._origin = ""
        self._number = 0
        self._size = 0
        self._closed = False
        self._watcher: Watcher | None = None

    @property
    def wanted(self) -> bool:
        """Whether an event published now would reach anybody."""
        return bool(self._listeners or self._taps) or self._history is not None

    def watch(self, watcher: Watcher | None) -> None:
        """Call ``watcher`` with whether events are wanted, whenever that may have changed."""
        self._watcher = watcher

    @property
    def first(self) -> int:
        """The number of the oldest event that a listener can still be given."""
        return self._history[0].number if self._history else self._number + 1

    @property
    def full(self) -> bool:
        """Whether what keeps the events is behind; see ``room``."""
        return self._keeper is not None and self._keeper.full

    async def room(self) -> None:
        """Return once more events can be kept."""
        if self._keeper is not None:
            await self._keeper.room()

    def keep(self, after: int = 0, keeper: Keeper | None = None, origin: str = "") -> None:
        """Keep events for those who come later, numbering on from ``after``.

        ``keeper`` keeps those, too, for which there is no place in memory, as events of the run
        ``origin``; that is what they say themselves.
        """
        self._number = max(self._number, after)
        self._history = deque()
        self._keeper = keeper
        self._origin = origin
        self._tell_watcher()

    def tap(self, tap: Tap) -> None:
        """Call ``tap`` with every event."""
        self._taps[tap] = None
        self._tell_watcher()

    def untap(self, tap: Tap) -> None:
        """Call ``tap`` no more."""
        del self._taps[tap]
        self._tell_watcher()

    def publish(self, name: str, data: bytes) -> None:
        """Give an event to everybody who listens."""
        if self._closed:
            return
        self._number += 1
        event = StreamEvent(self._number, name, data, self._origin)
        if self._history is not None:
            self._remember(self._history, event)
        if self._keeper is not None:
            self._keeper.append(self._origin, event)
        for tap in self._taps:
            tap(event)
        for listener in self._listeners:
            listener.put_nowait(event)

    def listen(self, after: int | None = None) -> Listener:
        """Return a listener for what comes, and for what is kept of the events past ``after``."""
        listener = Listener()
        if after is not None and self._history is not None:
            listener.give(event for event in self._history if event.number > after)
        if self._closed:
            listener.close()
        else:
            self._listeners[listener] = None
            self._tell_watcher()
        return listener

    def _remember(self, history: deque[StreamEvent], event: StreamEvent) -> None:
        history.append(event)
        self._size += len(event.data)
        while len(history) > HISTORY_LIMIT or (self._size > HISTORY_BYTES and len(history) > 1):
            self._size -= len(history.popleft().data)

    def leave(self, listener: Listener) -> None:
        """Forget a listener."""
        if listener in self._listeners:
            del self._listeners[listener]
            self._tell_watcher()

    def _tell_watcher(self) -> None:
        if self._watcher is not None:
            self._watcher(self.wanted)

    def send_away(self) -> None:
        """End the stream for those who listen now."""
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        self._tell_watcher()

    def close(self) -> None:
        """End the stream for all listeners, those who come later too."""
        self._closed = True
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
