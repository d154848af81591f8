"""Server-sent events: a listener's events, written as they come, while the client reads."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from random import randint
from typing import Protocol, TypeAlias

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from orchestration.api.alarm import Alarm
from orchestration.api.revalidation import Revalidation
from orchestration.loop.streams import StreamEvent
from orchestration.store.events import PAGE, PAGE_BYTES

_HEARTBEAT = b": heartbeat\n\n"
_SHUTDOWN = b"event: shutdown\nretry: %d\ndata: null\n\n"
_AWAY = (1_000, 5_000)  # milliseconds, at least and at most; not all are to be back at once
_GAP = b'event: gap\ndata: {"message": "the client was too slow; events are missing here"}\n\n'

Pages: TypeAlias = AsyncGenerator[Sequence[StreamEvent]]  # of what was kept


@dataclass(slots=True)
class Streams:
    """How long streams wait for their clients, how many are open, what became of those before."""

    keep_alive: float  # seconds that a silent one goes without a comment
    send_timeout: float  # seconds that a client may take to accept what is sent
    open: int = 0
    slow_closed: int = 0  # given up because their clients did not read
    replayed: int = 0  # events that were given to who came late or back


class Listener(Protocol):
    """Where events wait to be written."""

    @property
    def closed(self) -> bool:
        """Whether nothing will come any more."""
        ...

    @property
    def overflowed(self) -> bool:
        """Whether it was closed because the client was too slow."""
        ...

    def take(self) -> Sequence[StreamEvent]:
        """Return what waits, without waiting."""
        ...

    async def wait(self) -> None:
        """Return once there is something to take, nothing will come any more, or it is woken."""
        ...

    def wake(self) -> None:
        """End the wait."""
        ...

    def close(self) -> None:
        """Let nothing come any more."""
        ...


class EventStream(Response):
    """An ASGI response that ends after ``end``, when the client has gone, or reads too slowly.

    It is counted among ``streams``. ``leave`` is called with whether the client went away before
    the end. What comes ``before`` is known, and pages of what was ``missed`` are read as the client
    takes them. Events that are ``numbered`` have ids, those ``of_thread`` such as name their run,
    too. One without an end is given up, too, when its reader is not ``known`` any more, for which
    it asks as often as it shows signs of life.
    """

    def __init__(
        self,
        listener: Listener,
        streams: Streams,
        *,
        leave: Callable[[bool], None],
        headers: Mapping[str, str] = {},
        before: Iterable[StreamEvent] = (),
        missed: Pages | None = None,
        wanted: Callable[[StreamEvent], bool] | None = None,
        numbered: bool = False,
        of_thread: bool = False,
        known: Callable[[], bool] | None = None,
    ) -> None:
        self.status_code = HTTPStatus.OK
        self._listener = listener
        self._streams = streams
        self._head = headers
        self._leave = leave
        self._before = before
        self._missed = missed
        self._wanted = wanted
        self._numbered = numbered
        self._of_thread = of_thread
        self._known = known
        self._ended = False
        self._gone = False
        self._sending = False
        self._silent = False  # for as long as a stream may be

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's
        """Write the stream."""
        head = {
            "content-type": "text/event-stream; charset=utf-8",
            "cache-control": "no-store",
            "x-accel-buffering": "no",
            **self._head,
        }
        raw = [(name.encode(), value.encode()) for name, value in head.items()]
        watch = asyncio.create_task(self._watch(receive))
        limit = asyncio.timeout(None)
        alarm = Alarm(partial(self._ring, limit))
        rest = self._streams.keep_alive
        revalidation = self._known and Revalidation(self._known, rest, self._give_up)
        self._streams.open += 1
        try:
            async with limit:
                await send({"type": "http.response.start", "status": 200, "headers": raw})
                await self._write_all(send, alarm)
        except TimeoutError:
            self._gone = True
            self._streams.slow_closed += 1
        finally:
            alarm.stop()
            if revalidation:
                revalidation.stop()
            self._streams.open -= 1
            watch.cancel()
            self._leave(self._gone and not self._ended)

    def _ring(self, limit: asyncio.Timeout) -> None:
        """End what takes too long: the client's reading, or the silence."""
        if self._sending:
            limit.reschedule(asyncio.get_running_loop().time())
        else:
            self._silent = True
            self._listener.wake()

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._give_up()

    def _give_up(self) -> None:
        self._gone = True
        self._listener.close()

    async def _write_all(self, send: Send, alarm: Alarm) -> None:
        alarm.set(self._streams.keep_alive)
        body = self._frames(self._before)
        if self._missed is not None:
            async with aclosing(self._missed) as pages:
                async for page in pages:
                    body = await self._turn(send, alarm, body, page)
                    if self._gone:
                        break
        while True:
            taken = self._listener.take()
            # Looked at right after all was taken: to one that is closed by then nothing is added.
            over = self._gone or self._listener.closed
            for page in _pages(taken):
                body = await self._turn(send, alarm, body, page)
            if over:
                break
            if body or self._silent:
                await self._send(send, alarm, body or _HEARTBEAT, more=True)
                body = b""
            else:
                await self._listener.wait()
        last = b"" if self._ended or self._gone else self._farewell()
        await self._send(send, alarm, body + last, more=False)

    async def _turn(
        self, send: Send, alarm: Alarm, body: bytes, page: Sequence[StreamEvent]
    ) -> bytes:
        """Send what there is and return the frames of the next page."""
        if body or self._silent:
            await self._send(send, alarm, body or _HEARTBEAT, more=True)
            await asyncio.sleep(0)  # or who reads as fast as this writes has the loop for itself
        return self._frames(page)

    async def _send(self, send: Send, alarm: Alarm, body: bytes, *, more: bool) -> None:
        self._sending = True
        alarm.set(self._streams.send_timeout)
        await send({"type": "http.response.body", "body": body, "more_body": more})
        self._sending = self._silent = False
        alarm.set(self._streams.keep_alive)

    def _farewell(self) -> bytes:
        if not self._listener.overflowed:
            return _SHUTDOWN % randint(*_AWAY)
        self._streams.slow_closed += 1
        return _GAP

    def _frames(self, events: Iterable[StreamEvent]) -> bytes:
        frames: list[bytes] = []
        for event in events:
            # On a thread's stream the end of a run is not the last.
            self._ended = event.name == "end"
            if self._wanted is None or self._wanted(event):
                frames.append(_frame(event, self._identify(event)))
        return b"".join(frames)

    def _identify(self, event: StreamEvent) -> str:
        if not event.number:
            return ""
        if self._of_thread:
            return f"{event.origin}:{event.number}" if event.origin else ""
        return str(event.number) if self._numbered else ""


def _pages(events: Iterable[StreamEvent]) -> Iterator[Sequence[StreamEvent]]:
    """Yield what is to be sent at once, as much as is read at once of what is kept."""
    page: list[StreamEvent] = []
    size = 0
    for event in events:
        page.append(event)
        size += len(event.data)
        if len(page) >= PAGE or size >= PAGE_BYTES:
            yield page
            page, size = [], 0
    if page:
        yield page


def _frame(event: StreamEvent, event_id: str) -> bytes:
    # JSON text has no line breaks; a name has those that its author gave a node, and could forge
    # a field with them.
    name = " ".join(event.name.splitlines()).encode()
    if event_id:
        return b"id: %s\nevent: %s\ndata: %s\n\n" % (event_id.encode(), name, event.data)
    return b"event: %s\ndata: %s\n\n" % (name, event.data)
