"""Streams of runs and threads: from the start, joined later, resumed after a break."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from http import HTTPStatus

from orchestration.api.backend import Backend
from orchestration.api.endpoint import Call
from orchestration.api.own_runs import left_waiting
from orchestration.api.problems import Problem
from orchestration.api.quota import quota
from orchestration.api.run_models import JoinHow
from orchestration.api.sse import EventStream, Pages
from orchestration.loop.run import Ending, Run
from orchestration.loop.streams import Listener, StreamEvent

_EVENT_ID = re.compile(r"-1|[0-9]{1,16}")
_END = StreamEvent(0, "end", b"null")
_LOST = StreamEvent(0, "gap", b'{"message": "events that could not be stored are missing here"}')
_FORGOTTEN = StreamEvent(0, "gap", b'{"message": "what else the run told is no longer kept"}')
_UNSEEN = 1_000_000
_ALWAYS = frozenset({"metadata", "error", "end", "shutdown", "gap"})


def place(thread_id: str, run_id: str, rest: str | None = None) -> dict[str, str]:
    """Return the headers that say where a run is, and where the ``rest`` of it is to be had."""
    path = f"/threads/{thread_id}/runs/{run_id}"
    return {"content-location": path} | ({} if rest is None else {"location": f"{path}/{rest}"})


def keep_events(backend: Backend, run: Run, *, recovered: bool = False) -> None:
    """Have the events of a resumable run kept, beyond a restart if its thread is."""
    if not run.resumable:
        return
    # Of what was sent before a crash, the last may not be stored: no number is given out twice.
    after = backend.events.last(run.run_id) + _UNSEEN if recovered else 0
    if not run.ephemeral or run.repeatable:
        run.stream.keep(after, backend.events, run.run_id)
    else:
        run.stream.keep(after)


def follow(call: Call, run: Run, listener: Listener, *, cancel: bool) -> EventStream:
    """Return the stream of a run that was just submitted; ``cancel`` it if the client goes away."""
    where = place(run.thread_id, run.run_id, "stream")
    return EventStream(
        listener,
        call.backend.streams,
        leave=_leave(call, run, listener, cancel=cancel),
        headers={**where, **quota(call.backend.loop, run)},
        numbered=run.resumable,
    )


async def follow_again(
    call: Call,
    run: Run | None,
    run_id: str,
    how: JoinHow,
    *,
    after: int | None = None,
    where: Mapping[str, str] = {},
) -> EventStream:
    """Return the stream of a run that is known: what is missed of it, then what comes.

    The stream of one that a stop of the service has put back says ``shutdown`` last, not ``end``.
    Where the client does not say what it has seen, all ``after`` that number is missed. Of
    one that has ended, ``where`` it was is told by these headers.
    """
    seen = last_event_id(call)
    after = after if seen is None else seen
    if run is None:
        return EventStream(
            _closed(),
            call.backend.streams,
            leave=lambda _: None,
            headers=where,
            missed=_ended(call, run_id, after),
            wanted=_wanted(how),
            numbered=True,
        )
    listener, first = run.stream.listen(after), run.stream.first
    call.backend.streams.replayed += listener.waiting
    missed = None
    if after is not None and after + 1 < first:
        missed = _missed(call, run_id, after, first)
    return EventStream(
        listener,
        call.backend.streams,
        leave=_leave(call, run, listener, cancel=how.cancel_on_disconnect),
        headers=place(run.thread_id, run.run_id, "stream"),
        missed=missed,
        wanted=_wanted(how),
        numbered=run.resumable,
    )


async def _ended(call: Call, run_id: str, after: int | None) -> Pages:
    """Yield what a run that has ended told past a number, and that it has."""
    last = ""
    if after is not None:
        async for page in _missed(call, run_id, after):
            yield page
            last = page[-1].name
    if last == "end":
        return
    if (after or last) and _forgotten(call, run_id):
        yield [_FORGOTTEN]
    if not left_waiting(call, run_id):
        yield [_END]


def _forgotten(call: Call, run_id: str) -> bool:
    """Whether the events of a run that has ended are kept no longer, if ever they were."""
    row = call.backend.runs.get(run_id)
    return row is not None and not row["resumable"]


async def _missed(call: Call, run_id: str, after: int, before: int | None = None) -> Pages:
    """Yield the kept events between two, with a note where some could not be kept."""
    async for page in call.backend.events.pages(run_id, after):
        known = [one for one in page if before is None or one.number < before]
        call.backend.streams.replayed += len(known)
        if known:
            yield list(_noted(known, after))
            after = known[-1].number
        if len(known) < len(page):
            break
    if before is not None and _lost(after, before):
        yield [_LOST]


def _noted(events: Iterable[StreamEvent], after: int) -> Iterator[StreamEvent]:
    for event in events:
        if _lost(after, event.number):
            yield _LOST
        yield event
        after = event.number


def _lost(after: int, number: int) -> bool:
    return 1 < number - after < _UNSEEN


def _leave(call: Call, run: Run, listener: Listener, *, cancel: bool) -> Callable[[bool], None]:
    def leave(gone: bool) -> None:  # noqa: FBT001 - a callback with one fact
        run.stream.leave(listener)
        if gone and cancel:
            call.backend.loop.cancel(run, Ending.INTERRUPT)

    return leave


def _closed() -> Listener:
    listener = Listener()
    listener.close()
    return listener


def _wanted(how: JoinHow) -> Callable[[StreamEvent], bool] | None:
    modes = frozenset(how.stream_mode or ())
    if not modes:
        return None
    return lambda event: _mode(event.name) in modes | _ALWAYS


def _mode(name: str) -> str:
    """Return the stream mode that an event belongs to."""
    kind = name.partition("|")[0]
    if kind.startswith("messages/"):
        return "messages"
    return "messages-tuple" if kind == "messages" else kind


def last_event_id(call: Call) -> int | None:
    """Return the number of the last event that a client has got, None if it does not say.

    Raises:
        Problem: 400, no event has such a number.
    """
    text = call.header(b"last-event-id")
    if text is None:
        return None
    if not _EVENT_ID.fullmatch(text):
        raise Problem(HTTPStatus.BAD_REQUEST, f"Last-Event-ID: not an id of ours: {text[:64]!r}")
    return max(0, int(text))  # -1 is what clients send to have everything
