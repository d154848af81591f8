"""What happens on a thread, by channel and namespace: of late, now, and from now on."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack

import orjson
from starlette.responses import Response

from orchestration.api.access import Access
from orchestration.api.backend import Backend
from orchestration.api.delays import status_now
from orchestration.api.endpoint import EVENTS, Call, Endpoints
from orchestration.api.following import last_event_id
from orchestration.api.protocol import WORDING, EventsBody
from orchestration.api.sse import EventStream
from orchestration.loop.errors import ThreadNotFound
from orchestration.loop.run import Failure, Place
from orchestration.loop.streams import Listener, StreamEvent
from orchestration.loop.threadlog import ThreadEvent, ThreadLog

endpoint = Endpoints()
_WATCH = frozenset({"lifecycle", "input"})
_ENDED = {"idle": "completed", "error": "failed"}


@endpoint(
    "POST",
    "/threads/{thread_id}/stream/events",
    access=Access("threads", "read"),
    body=EventsBody,
    wording=WORDING,
    gives=EVENTS,
)
async def stream_thread_events(call: Call, body: EventsBody) -> Response:
    """Stream what happens on a thread, by channel and namespace, for as long as one listens."""
    thread_id, backend = call.uuid("thread_id"), call.backend
    logs = backend.loop.logs
    row = backend.threads.get(thread_id, call.visible)
    # Without authorisation the thread need not be there yet; with it, it could become another's.
    if backend.authority is not None and row is None:
        raise ThreadNotFound(thread_id)
    since = body.since if body.since is not None else last_event_id(call)
    log = logs.open(thread_id)
    # The clients' watches on the fate of runs; the end of an earlier one would end the next for
    # them, which they start only once they watch.
    watch = body.namespaces is None and frozenset(body.channels) == _WATCH
    listener = log.listen(since, unseen=watch)
    logs.settle(thread_id)
    backend.streams.replayed += listener.waiting
    back = since is not None
    ends = ExitStack()
    if row is not None and log.lacks(since):
        log.remind(listener, _reminders(backend, row, back=back))
        if back:
            ends = _remind_at_the_end(call, thread_id, log, listener)

    def leave(_: bool) -> None:  # noqa: FBT001 - a callback with one fact
        ends.close()
        log.unlisten(listener)
        logs.settle(thread_id)

    return EventStream(
        listener,
        backend.streams,
        leave=leave,
        wanted=_Reader(body, log),
        numbered=True,
        known=call.known,
    )


def _remind_at_the_end(call: Call, thread_id: str, log: ThreadLog, listener: Listener) -> ExitStack:
    """Have who comes back be told how a run ends that works and writes no log, until it is closed.

    It began when nobody followed the thread, as after a restart.
    """
    backend, ends = call.backend, ExitStack()

    def remind() -> None:
        row = None if listener.closed else backend.threads.get(thread_id, call.visible)
        if row is not None:
            log.remind(listener, _reminders(backend, row, back=True))
            listener.wake()

    def wake() -> None:
        asyncio.get_running_loop().call_soon(remind)  # when the run is gone

    for run in backend.loop.on_thread(thread_id):
        if run.place is Place.WORKING and run.log is None:
            run.waiters.add(wake)
            ends.callback(run.waiters.discard, wake)
    return ends


def _reminders(
    backend: Backend, row: sqlite3.Row, *, back: bool
) -> Iterator[tuple[str, str, bytes]]:
    """Return what a thread shows whose log does not go back to how it came to that.

    How its last run ended is for those who come ``back``: who is new waits for the next.
    """
    thread_id, status = row["thread_id"], status_now(backend, row)
    if status == "interrupted":
        yield from _questions(row)
    elif back and status in _ENDED and not backend.loop.on_thread(thread_id):
        metadata = orjson.loads(row["metadata"])
        if "assistant_id" in metadata:  # something ran here
            told = {"event": _ENDED[status], "graph_name": metadata.get("graph_id")}
            if row["error"] is not None:
                failure = Failure(**orjson.loads(row["error"]))
                told["error"] = failure.message or failure.error
            yield "lifecycle", "lifecycle", orjson.dumps(told)


def _questions(row: sqlite3.Row) -> Iterator[tuple[str, str, bytes]]:
    """Return what a thread waits for."""
    for asked in orjson.loads(row["interrupts"]).values():
        for each in asked:
            value = each["value"]
            told = {"interrupt_id": each["id"], "payload": value, "value": value}
            yield "input.requested", "input", orjson.dumps(told)
    yield "lifecycle", "lifecycle", orjson.dumps({"event": "interrupted"})


class _Reader:
    """Tells which events a client wants, and has the log know how far it has come."""

    def __init__(self, asked: EventsBody, log: ThreadLog) -> None:
        self._log = log
        self._channels = frozenset(asked.channels)
        self._namespaces = None if asked.namespaces is None else [*map(tuple, asked.namespaces)]
        self._depth = asked.depth

    def __call__(self, event: StreamEvent) -> bool:
        self._log.seen = max(self._log.seen, event.number)
        return isinstance(event, ThreadEvent) and self._wants(event)

    def _wants(self, event: ThreadEvent) -> bool:
        channel = event.channel
        if channel not in self._channels and (
            channel.partition(":")[0] != "custom" or "custom" not in self._channels
        ):
            return False
        if not self._namespaces:
            return self._depth is None or len(event.namespace) <= self._depth
        return any(self._below(event.namespace, prefix) for prefix in self._namespaces)

    def _below(self, namespace: tuple[str, ...], prefix: tuple[str, ...]) -> bool:
        depth = len(namespace) - len(prefix)
        if depth < 0 or (self._depth is not None and depth > self._depth):
            return False
        return all(map(_same, prefix, namespace))


def _same(asked: str, segment: str) -> bool:
    """Whether a segment is the one asked for, by its whole name or without its task's id."""
    return asked == segment or (":" not in asked and segment.partition(":")[0] == asked)
