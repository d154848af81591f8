"""The log of a thread: what its runs did, event by event, for those who follow the thread.

A log lives for as long as a run writes to it or somebody reads it, and a while longer, for
those who come late or back. Its events are numbered on from run to run. Those of threads on which
nothing happens are given up, the oldest first, where they take too much room together.
"""

import asyncio
import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from orchestration.loop.run import Outcome, Run, RunStatus
from orchestration.loop.streams import Listener, StreamEvent

EVENTS = 10_000  # kept of one thread
BYTES = 8 * 1024**2  # of their data
BRANCHES = 1_000  # subgraphs of a run that are remembered, unless more work at once
LINGER = 120.0  # seconds that a log outlives its last run and its last reader
IDLE_BYTES = 64 * 1024**2  # kept of all threads on which nothing happens
_OPEN = frozenset({"started", "running"})
_OVER = frozenset({"completed", "failed"})


@dataclass(frozen=True, slots=True)
class ThreadEvent(StreamEvent):
    """An event in its envelope, beside what it is found by."""

    channel: str = ""
    namespace: tuple[str, ...] = ()


@dataclass(slots=True)
class Branch:
    """What a graph or a subgraph of a run is doing."""

    graph_name: str
    status: str


@dataclass(slots=True, eq=False)
class ThreadLog:
    """The events of one thread and those who listen.

    ``begin`` and ``end`` frame the events of a run. A reader who names no number is given those
    of the latest run. ``seen`` is how far the reader who is furthest has come, ``asked`` holds
    the ids of the questions of the run that works or was the last to, ``answered`` those of them
    to which an answer was taken meanwhile.
    """

    number: int = 0
    seen: int = 0
    graphs: dict[tuple[str, ...], Branch] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)
    answered: set[str] = field(default_factory=set)
    size: int = 0
    _events: deque[ThreadEvent] = field(default_factory=deque)
    _listeners: dict[Listener, None] = field(default_factory=dict)
    _runs: list[Run] = field(default_factory=list)
    _origin: int = 0
    _began: int = 0
    _given_up: int = 0
    _closed: bool = False

    @property
    def written(self) -> bool:
        """Whether a run writes, or is to."""
        return bool(self._runs)

    @property
    def read(self) -> bool:
        """Whether anybody listens."""
        return bool(self._listeners)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to be read."""
        return not self._events

    def lacks(self, after: int | None) -> bool:
        """Whether what happened past ``after``, or of late, was given up and nothing came since."""
        return self.empty and (after is None or after < self._given_up)

    @property
    def unanswered(self) -> set[str]:
        """The questions that wait for an answer."""
        return self.asked - self.answered

    def enter(self, run: Run) -> None:
        """Expect ``run`` to write; if no other is due, who comes from now on comes for it."""
        if not run.delayed and all(other.delayed for other in self._runs):
            self._origin = self.number
        self._runs.append(run)

    def begin(self, run: Run) -> None:
        """Note that a run works; one that was cut off begins again when it is taken up."""
        self._origin = self._began = self.number
        self.graphs.clear()
        self.asked.clear()
        self.answered.clear()
        self.lifecycle((), "running", graph_name=run.graph_id)

    def end(self, run: Run, outcome: Outcome) -> None:
        """Note how a run ended, and with it every subgraph that was still open."""
        event, error = _ending(outcome)
        if run.attempt or not any(other.attempt for other in self._runs if other is not run):
            for namespace in sorted(self._unfinished(), key=len, reverse=True):
                self.lifecycle(namespace, event, error=error)
            self.lifecycle((), event, graph_name=run.graph_id, error=error)

    def leave(self, run: Run) -> None:
        """Expect nothing more of ``run``."""
        if run in self._runs:
            self._runs.remove(run)
            # If it did not begin, what was asked before it still is.
            if self.asked and all(other.delayed for other in self._runs):
                self._origin = self._began

    def lifecycle(
        self,
        namespace: tuple[str, ...],
        event: str,
        *,
        graph_name: str | None = None,
        error: str | None = None,
        cause: Mapping[str, Any] | None = None,
    ) -> None:
        """Publish what becomes of a graph or a subgraph."""
        self.note(namespace, event, graph_name)
        data = {"event": event, "graph_name": graph_name, "error": error, "cause": cause}
        told = {key: value for key, value in data.items() if value is not None}
        self.publish("lifecycle", namespace, orjson.dumps(told))

    def note(self, namespace: tuple[str, ...], event: str, graph_name: str | None) -> None:
        """Remember what becomes of a graph or a subgraph."""
        known = self.graphs.get(namespace)
        if known is not None:
            known.status = event
        else:
            self.graphs[namespace] = Branch(graph_name or "", event)
            self._prune()

    def ask(self, interrupt_id: str) -> bool:
        """Remember a question of the run that works; False if it is known."""
        new = interrupt_id not in self.asked
        self.asked.add(interrupt_id)
        return new

    def publish(
        self,
        method: str,
        namespace: tuple[str, ...],
        data: bytes,
        *,
        node: str | None = None,
        channel: str | None = None,
    ) -> None:
        """Give an event to everybody who listens, and keep it; ``data`` is JSON text."""
        event = self._enveloped(method, namespace, data, node=node, channel=channel)
        self._keep(event)
        for listener in tuple(self._listeners):
            listener.put_nowait(event)

    def remind(self, listener: Listener, reminders: Iterable[tuple[str, str, bytes]]) -> None:
        """Give one reader what the log does not have: pairs of method and channel, with data."""
        listener.give(
            [
                self._enveloped(method, (), data, channel=channel)
                for method, channel, data in reminders
            ]
        )

    def _enveloped(
        self,
        method: str,
        namespace: tuple[str, ...],
        data: bytes,
        *,
        node: str | None = None,
        channel: str | None = None,
    ) -> ThreadEvent:
        self.number += 1
        whose = b"" if node is None else b',"node":' + orjson.dumps(node)
        text = (
            b'{"type":"event","event_id":"%d","seq":%d,"method":"%s",'
            b'"params":{"namespace":%s,"timestamp":%d%s,"data":%s}}'
        ) % (
            self.number,
            self.number,
            method.encode(),
            orjson.dumps(namespace),
            time.time_ns() // 1_000_000,
            whose,
            data,
        )
        return ThreadEvent(
            self.number, method, text, channel=channel or method, namespace=namespace
        )

    def listen(self, after: int | None = None, *, unseen: bool = False) -> Listener:
        """Return a listener for what comes, and for what is kept of the events past ``after``.

        ``unseen``: nothing of a run that is over and done with, if somebody has seen that.
        """
        listener = Listener()
        origin = self._origin if after is None else after
        root = self.graphs.get(())
        if unseen and after is None and root is not None and root.status in _OVER:
            origin = max(origin, self.seen)
        listener.give(event for event in self._events if event.number > origin)
        if self._closed:
            listener.close()
        self._listeners[listener] = None
        return listener

    def unlisten(self, listener: Listener) -> None:
        """Forget a listener."""
        del self._listeners[listener]

    def clear(self) -> None:
        """Keep none of the events; who reads has been given them."""
        self._events.clear()
        self.size = 0
        self._given_up = self.number

    def close(self) -> None:
        """Let all readers take what is left and then see the end, as does who comes later."""
        self._closed = True
        for listener in self._listeners:
            listener.close()

    def _prune(self) -> None:
        """Forget the subgraph that ended first, if there are too many."""
        if len(self.graphs) > BRANCHES:
            over = (name for name, one in self.graphs.items() if name and one.status not in _OPEN)
            first = next(over, None)
            if first is not None:
                del self.graphs[first]

    def _unfinished(self) -> Iterable[tuple[str, ...]]:
        return [name for name, branch in self.graphs.items() if name and branch.status in _OPEN]

    def _keep(self, event: ThreadEvent) -> None:
        self._events.append(event)
        self.size += len(event.data)
        while len(self._events) > EVENTS or (self.size > BYTES and len(self._events) > 1):
            self.size -= len(self._events.popleft().data)


def _ending(outcome: Outcome) -> tuple[str, str | None]:
    match outcome.status:
        case RunStatus.SUCCESS:
            return ("interrupted" if outcome.interrupted else "completed"), None
        case RunStatus.INTERRUPTED:
            return "interrupted", None
        case _:
            failure = outcome.failure
            error = None if failure is None else failure.message or failure.error
            return "failed", error


class ThreadLogs:
    """The logs of all threads that are written or read, and for a while of those that were."""

    def __init__(self) -> None:
        self._logs: dict[str, ThreadLog] = {}
        self._idle: dict[str, asyncio.TimerHandle] = {}  # the longest idle first
        self._idle_bytes = 0
        self._closed = False

    def find(self, thread_id: str) -> ThreadLog | None:
        """Return the log of a thread, if there is one."""
        return self._logs.get(thread_id)

    def open(self, thread_id: str, *, new_thread: bool = False) -> ThreadLog:
        """Return the log of a thread, to be written or read; ``settle`` is to follow.

        The numbers of a thread that may have had a log before begin far above those: no run writes
        an event for each microsecond.
        """
        log = self._logs.get(thread_id)
        if log is None:
            begin = 0 if new_thread else time.time_ns() // 1_000
            log = self._logs[thread_id] = ThreadLog(begin, _origin=begin, _given_up=begin)
            if self._closed:
                log.close()
        self._wake(thread_id, log)
        return log

    def enter(self, run: Run) -> None:
        """Have a run write the log of its thread, if there is one; if it is followed, there is.

        One that writes none, or is delayed, is to come again when it begins: there may be by then.
        """
        log = self.open(run.thread_id) if run.logged else self._logs.get(run.thread_id)
        if log is not None and (run.logged or not run.delayed):
            self._wake(run.thread_id, log)
            run.log = log
            log.enter(run)

    def settle(self, thread_id: str) -> None:
        """Keep the log of a thread for a while longer if no run writes it now, or for its readers.

        All those together have so much room; where that is over, the longest idle are emptied.
        """
        log = self._logs.get(thread_id)
        if log is None or log.written:
            return
        self._wake(thread_id, log)
        if log.empty or self._closed:
            if not log.read:
                del self._logs[thread_id]
            return
        loop = asyncio.get_running_loop()
        self._idle[thread_id] = loop.call_later(LINGER, self.forget, thread_id)
        self._idle_bytes += log.size
        while self._idle_bytes > IDLE_BYTES:
            self._empty(next(iter(self._idle)))

    def forget(self, thread_id: str) -> None:
        """Drop the log of a thread, if nobody writes or reads it."""
        log = self._logs.get(thread_id)
        if log is not None and not log.written and not log.read:
            self._wake(thread_id, log)
            del self._logs[thread_id]

    def discard(self, thread_id: str) -> None:
        """Drop the log of a thread that is gone; who reads it sees its end."""
        log = self._logs.pop(thread_id, None)
        if log is not None:
            self._wake(thread_id, log)
            log.close()

    def close(self) -> None:
        """End all streams, those to come as well, and wait for nothing any more."""
        self._closed = True
        for timer in self._idle.values():
            timer.cancel()
        for log in self._logs.values():
            log.close()

    def _empty(self, thread_id: str) -> None:
        log = self._logs[thread_id]
        self._wake(thread_id, log)
        log.clear()
        if not log.read:
            del self._logs[thread_id]

    def _wake(self, thread_id: str, log: ThreadLog) -> None:
        timer = self._idle.pop(thread_id, None)
        if timer is not None:
            timer.cancel()
            self._idle_bytes -= log.size
