"""The stream of a thread: run after run, resumed after a break, with changes of its state."""

import math
import re
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus

from orchestration.api.endpoint import Call
from orchestration.api.own_runs import left_waiting
from orchestration.api.problems import Problem
from orchestration.api.run_models import ThreadStreamHow
from orchestration.api.sse import EventStream
from orchestration.loop.streams import StreamEvent, run_done

STATE_UPDATE = "state_update"
# The ids of runs are UUIDs of version 7: in the order in which the runs were created.
_EVENT_ID = re.compile(
    r"([0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}):([0-9]{1,15})"
)
_EVERYTHING = frozenset({"-1", "0"})
_LIFECYCLE = frozenset({"metadata", "error"})
_GAP = "gap"
_GONE = b'{"message": "the run of the last event is gone, and what else it told"}'


async def follow_thread(call: Call, thread_id: str, how: ThreadStreamHow) -> EventStream:
    """Return the stream of what happens on a thread: what is missed of it, then what comes.

    Missed are the kept events past ``Last-Event-ID``, which names a resumable run and one of its
    events, and all those of the resumable runs after it; ``-1`` stands for before the first. Where
    that run is gone, by a rollback as a rule, ``gap`` comes first.
    """
    loop, settings = call.backend.loop, call.backend.settings
    listener = loop.watchers.watch(thread_id)
    try:
        missed = [event async for event in _missed(call, thread_id)]
    except BaseException:
        loop.watchers.unwatch(thread_id, listener)
        raise
    told = {event.origin: _place(event) for event in missed}
    # What was published while the missed ones were read is among both.
    came = [one for one in listener.take() if _place(one) > told.get(one.origin, 0)]
    listener.give(came)
    return EventStream(
        listener,
        headers={},
        keep_alive=settings.keep_alive,
        send_timeout=settings.send_timeout,
        figures=call.backend.streams,
        leave=lambda _: loop.watchers.unwatch(thread_id, listener),
        before=missed,
        wanted=_wanted(how),
        of_thread=True,
    )


async def _missed(call: Call, thread_id: str) -> AsyncIterator[StreamEvent]:
    last = call.header(b"last-event-id")
    if last is None:
        return
    found = _EVENT_ID.fullmatch(last)
    if found is None and last not in _EVERYTHING:
        raise _unknown(last)
    run_id, number = (found[1], int(found[2])) if found else (None, 0)
    rows = await call.backend.runs.resumable(thread_id, run_id)
    if run_id is not None and (not rows or rows[0]["run_id"] != run_id):
        row = call.backend.runs.get(run_id)
        if row is not None and row["thread_id"] == thread_id:
            raise _unknown(last)
        yield StreamEvent(0, _GAP, _GONE, run_id)
        number = 0
    for row in rows:
        run_id = row["run_id"]
        # Before its events are read: what one that ends meanwhile tells last is to come live.
        over = call.backend.loop.live(run_id) is None and not left_waiting(call, run_id)
        for event in await call.backend.events.after(run_id, number):
            call.backend.streams.replayed += 1
            yield event
        number = 0
        if over:
            yield run_done(run_id)


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
