"""The stream of a thread: run after run, resumed after a break, with changes of its state."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus

from orchestration.api.endpoint import Call
from orchestration.api.own_runs import left_waiting
from orchestration.api.problems import Problem
from orchestration.api.run_models import ThreadStreamHow
from orchestration.api.sse import EventStream, Pages
from orchestration.loop.streams import Listener, StreamEvent, run_done

STATE_UPDATE = "state_update"
# The ids of runs are UUIDs of version 7: even where one is gone, it says which were made later.
_EVENT_ID = re.compile(
    r"([0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}):([0-9]{1,15})"
)
_EVERYTHING = frozenset({"-1", "0"})
_LIFECYCLE = frozenset({"metadata", "error"})
_GAP = "gap"
_GONE = b'{"message": "the run of the last event is gone, or what else it told"}'


async def follow_thread(call: Call, thread_id: str, how: ThreadStreamHow) -> EventStream:
    """Return the stream of what happens on a thread: what is missed of it, then what comes.

    Missed are the kept events past ``Last-Event-ID``, which names a resumable run and one of its
    events, and all those of the resumable runs that worked after it, however early they were made;
    ``-1`` stands for before the first. Where that run is gone, by a rollback as a rule, or what it
    told was forgotten, ``gap`` comes first.
    """
    loop = call.backend.loop
    listener = loop.watchers.watch(thread_id)
    try:
        missed = await _missed(call, thread_id)
    except BaseException:
        loop.watchers.unwatch(thread_id, listener)
        raise
    return EventStream(
        listener,
        call.backend.streams,
        leave=lambda _: loop.watchers.unwatch(thread_id, listener),
        missed=_once(missed, listener),
        wanted=_wanted(how),
        of_thread=True,
        known=call.known,
    )


async def _once(missed: Pages, listener: Listener) -> Pages:
    """Yield what is missed, and have the listener give nothing of it again."""
    told: dict[str, float] = {}
    async for page in missed:
        told |= {event.origin: _place(event) for event in page}
        yield page
    # What was published while the missed ones were read is among both.
    listener.give([one for one in listener.take() if _place(one) > told.get(one.origin, 0)])


async def _missed(call: Call, thread_id: str) -> Pages:
    last = call.header(b"last-event-id")
    if last is None:
        return _pages(call, [], {})
    found = _EVENT_ID.fullmatch(last)
    if found is None and last not in _EVERYTHING:
        raise _unknown(last)
    since = found[1] if found else None
    runs = [row["run_id"] for row in await call.backend.runs.resumable(thread_id, since)]
    if found is None:
        return _pages(call, runs, {})
    gap = None if since in runs else StreamEvent(0, _GAP, _GONE, found[1])
    return _pages(call, runs, {found[1]: int(found[2])}, gap)


async def _pages(
    call: Call, runs: Sequence[str], seen: Mapping[str, int], gap: StreamEvent | None = None
) -> Pages:
    if gap is not None:
        yield [gap]
    for run_id in runs:
        # Before its events are read: what one that ends meanwhile tells last is to come live.
        over = call.backend.loop.live(run_id) is None and not left_waiting(call, run_id)
        async for page in call.backend.events.pages(run_id, seen.get(run_id, 0)):
            call.backend.streams.replayed += len(page)
            yield page
        if over:
            yield [run_done(run_id)]


def _place(event: StreamEvent) -> float:
    """Return where an event is among those of its run: without a number, it is the end."""
    return event.number or math.inf


def _wanted(how: ThreadStreamHow) -> Callable[[StreamEvent], bool]:
    modes = frozenset(how.stream_mode or ["run_modes"])

    def wanted(event: StreamEvent) -> bool:
        if event.name == STATE_UPDATE:
            return STATE_UPDATE in modes
        if event.name == _GAP:
            return True
        return "run_modes" in modes or ("lifecycle" in modes and event.name in _LIFECYCLE)

    return wanted


def _unknown(last: str) -> Problem:
    detail = f"Last-Event-ID: not an id of an event on this thread: {last[:64]!r}"
    return Problem(HTTPStatus.BAD_REQUEST, detail)
