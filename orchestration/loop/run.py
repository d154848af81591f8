"""A run: what was submitted, and where it is."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal

import orjson

from operations.telemetry.traceparent import Span, span_of_run
from orchestration.loop.streams import RunStream

if TYPE_CHECKING:
    from orchestration.loop.threadlog import ThreadLog

NORMAL_PRIORITY = 5  # 0 is first, 10 last

Drain = Callable[[], None]  # asks a working run to stop at its next super-step


class RunStatus(StrEnum):
    """The status of a run, in LangGraph's words."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCESS = "success"
    ERROR = "error"
    TIMEOUT = "timeout"
    INTERRUPTED = "interrupted"


class MultitaskStrategy(StrEnum):
    """What to do with a run whose thread has unfinished ones."""

    REJECT = "reject"
    ENQUEUE = "enqueue"
    INTERRUPT = "interrupt"
    ROLLBACK = "rollback"


class Ending(StrEnum):
    """Why a run was told to stop before its graph had ended."""

    INTERRUPT = "interrupt"
    ROLLBACK = "rollback"
    TIMEOUT = "timeout"
    DRAIN = "drain"


class Place(StrEnum):
    """Where a live run waits or works; it is in exactly one place."""

    DELAYED = "delayed"
    LINE = "line"
    PARKED = "parked"
    READY = "ready"
    WORKING = "working"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as clients see it: the name of its class and its message."""

    error: str
    message: str


@dataclass(frozen=True, slots=True)
class ThreadState:
    """What a thread shows once a run on it has ended; JSON texts, ready to store and send.

    ``output`` is what a waiter is answered where that is more than ``values``: with interrupts.
    """

    values: bytes | None
    interrupts: bytes = b"{}"
    interrupted: bool = False
    output: bytes | None = None

    @property
    def answer(self) -> bytes | None:
        """What a waiter is answered."""
        return self.values if self.output is None else self.output


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended: its terminal status, what a waiter is answered as JSON text, its error.

    ``interrupted``: its graph has stopped to ask something, or at a breakpoint. ``poison``: what
    executed it has died too often.
    """

    status: RunStatus
    output: bytes | None = None
    failure: Failure | None = None
    rolled_back: bool = False
    interrupted: bool = False
    poison: bool = False

    @property
    def answer(self) -> bytes:
        """What a waiter is answered, as JSON text."""
        if self.failure is not None:
            return orjson.dumps({"__error__": self.failure})
        return self.output if self.output is not None else b"null"


@dataclass(frozen=True, slots=True)
class Firing:
    """Why a run is submitted by no client: its cron was ``due``, and is to be due ``next``."""

    cron_id: str
    due: str
    next: str | None


@dataclass(slots=True, eq=False)
class Run:
    """One unit of work: a graph, its arguments, and the state of its execution.

    ``kwargs`` are the arguments of the execution as they were submitted (``input``, ``command``,
    ``config``, ``context``, ``stream_mode``, ``stream_subgraphs``, ``interrupt_before``,
    ``interrupt_after``, ``checkpoint``, ``checkpoint_id``, ``durability``, …). An ``ephemeral``
    run has a thread of its own that is gone when it ends. ``delay`` and ``timeout`` are seconds.
    What a ``repeatable`` run tells is kept for those who ask for it again; ``receipt`` is what
    the store keeps of its acceptance besides, and means nothing to the loop.
    ``stamp`` is metadata that a thread gets if the run creates it, ``visible`` what the metadata
    of one that is there must contain for the run to be taken. ``principal`` is who it is for
    (``user``, and the ``namespace`` before all of theirs in the store), None if nobody was asked.
    A run that is not ``announced`` is one of which no client is told anything before it has ended,
    nor of its thread if it is to create one.
    ``stop`` is what it was told before the service died, and had not done; ``noted`` is done once
    it is known whether it would be told so after the next death, or has ended.
    ``source`` is the face by which it came, for as long as this service knows it. ``new_thread``
    says that the store has made its thread when it accepted the run, and had nothing of it before;
    ``recovered``, that it was there when the service started, and may have begun before.
    ``thread_metadata`` are those that its thread had when it was claimed.
    An attempt that has ``started`` may still wait for what executes it; ``began`` is when that did.
    ``waiters`` are called once ``done`` is: to take back a callback of a future costs as much as
    there are others.
    """

    run_id: str
    thread_id: str
    assistant_id: str
    graph_id: str
    kwargs: Mapping[str, Any]
    metadata: Mapping[str, Any]
    created_at: str
    priority: int = NORMAL_PRIORITY
    multitask_strategy: MultitaskStrategy = MultitaskStrategy.ENQUEUE
    ephemeral: bool = False
    resumable: bool = False
    repeatable: bool = False
    create_thread: bool = False
    tenant: str | None = None
    receipt: Any = None
    delay: float = 0.0
    timeout: float | None = None
    firing: Firing | None = None
    announced: bool = True
    source: Literal["api", "mcp"] = "api"
    attempt: int = 0
    crashes: int = 0
    stop: Ending | None = None
    stamp: Mapping[str, Any] = field(default_factory=dict[str, Any])
    visible: Mapping[str, Any] | None = None
    principal: Mapping[str, Any] | None = None

    new_thread: bool = False
    thread_metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    recovered: bool = False
    status: RunStatus = RunStatus.PENDING
    place: Place = Place.GONE
    token: str | None = None
    ending: Ending | None = None
    arrived: float = 0.0
    started: float = 0.0
    began: float = 0.0
    limits: tuple[str, ...] = ()
    stream: RunStream = field(default_factory=RunStream)
    log: "ThreadLog | None" = None
    done: "asyncio.Future[Outcome] | None" = None
    waiters: set[Callable[[], None]] = field(default_factory=set)
    stopped: "asyncio.Future[None] | None" = None
    noted: "asyncio.Future[bool] | None" = None
    task: "asyncio.Task[ThreadState] | None" = None
    drain: Drain | None = None
    timer: asyncio.TimerHandle | None = None

    def end(self, outcome: Outcome) -> None:
        """Tell everybody who waits how it ended, unless they know already."""
        if self.done is not None and not self.done.done():
            self.done.set_result(outcome)
            self._wake()

    def send_away(self, error: BaseException) -> None:
        """Tell those who wait now why they will not hear how the run ends; others may come."""
        self.stream.send_away()
        done = self.done
        if done is not None and not done.done():
            self.done = done.get_loop().create_future()
            _fail(done, error)
            self._wake()

    def break_off(self, error: BaseException) -> None:
        """Tell everybody who waits why they will not hear how the run ends, for good."""
        self.stream.close()
        if self.done is not None and not self.done.done():
            _fail(self.done, error)
            self._wake()

    def _wake(self) -> None:
        for wake in self.waiters:
            wake()

    @property
    def span(self) -> Span:
        """The span of its attempt, in a trace of its own or of who asked for it."""
        waited = self.started - self.arrived
        span, _, _ = span_of_run(self.run_id, self.attempt, waited, self.kwargs.get("trace"))
        return span

    @property
    def logged(self) -> bool:
        """Whether it was asked for by somebody who follows the log of its thread."""
        return self.kwargs.get("protocol") is not None

    @property
    def delayed(self) -> bool:
        """Whether it waits for its time, or is about to."""
        return self.delay > 0 and self.place in (Place.GONE, Place.DELAYED)

    @property
    def ends(self) -> bool:
        """Whether it was told to end: not only to stop here, and go on after the next start."""
        return self.ending not in (None, Ending.DRAIN)

    @property
    def resuming(self) -> bool:
        """Whether this execution continues one that was cut off: from its last checkpoint."""
        return self.attempt > 1 or self.crashes > 0


def _fail(done: "asyncio.Future[Outcome]", error: BaseException) -> None:
    done.set_exception(error)
    done.exception()  # marked as seen: there may be nobody who waits
