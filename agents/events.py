"""What pools and mailboxes report. Each is one fact; ``emit`` must take it without waiting."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SeatReady:
    """An agent took a seat, so many seconds after its start began."""

    pool: str
    seat: int
    took: float


@dataclass(frozen=True, slots=True)
class StartMissed:
    """An agent could not be started; another start follows after so many seconds."""

    pool: str
    seat: int
    reason: str
    stderr: str
    retry_in: float


@dataclass(frozen=True, slots=True)
class SeatLost:
    """An agent was given up; another one starts after so many seconds."""

    pool: str
    seat: int
    reason: str
    stderr: str
    retry_in: float


@dataclass(frozen=True, slots=True)
class SeatClosed:
    """An agent was ended because it was asked to be."""

    pool: str
    seat: int


@dataclass(frozen=True, slots=True)
class ProbeDone:
    """A probe was answered (``error`` is None) or missed, after so many seconds."""

    pool: str
    seat: int
    took: float
    error: str | None


@dataclass(frozen=True, slots=True)
class LeaseGranted:
    """Somebody got an agent, after so many seconds of waiting."""

    pool: str
    seat: int
    capability: str
    waited: float


@dataclass(frozen=True, slots=True)
class LeaseRefused:
    """Somebody got none; ``reason`` is the name of the error's class."""

    pool: str
    capability: str
    reason: str


@dataclass(frozen=True, slots=True)
class TaskEnded:
    """An agent is done with a task; ``error`` is the name of an error's class, or None."""

    pool: str
    seat: int
    capability: str
    took: float
    error: str | None
    events_cut: int
    run_id: str | None
    span_id: int | None = None  # in the trace of the run
    parent: int | None = None  # the span that it is a part of


@dataclass(frozen=True, slots=True)
class PoolDegraded:
    """A pool restarts its agents too often; the next restart waits so many seconds."""

    pool: str
    reason: str
    retry_in: float


@dataclass(frozen=True, slots=True)
class PoolResized:
    """A pool grew or shrank."""

    pool: str
    seats: int
    before: int


@dataclass(frozen=True, slots=True)
class MessageDelivered:
    """A message was received, by attempt number ``attempt``, which took so many seconds."""

    mailbox: str
    offset: int
    attempt: int
    took: float


@dataclass(frozen=True, slots=True)
class MessageRetried:
    """A message was not received; it is tried again after so many seconds."""

    mailbox: str
    offset: int
    attempt: int
    error: str
    retry_in: float


@dataclass(frozen=True, slots=True)
class MessageDead:
    """A message was not received, and is not tried again."""

    mailbox: str
    offset: int
    attempts: int
    error: str


Event = (
    SeatReady
    | StartMissed
    | SeatLost
    | SeatClosed
    | ProbeDone
    | LeaseGranted
    | LeaseRefused
    | TaskEnded
    | PoolDegraded
    | PoolResized
    | MessageDelivered
    | MessageRetried
    | MessageDead
)
Emit = Callable[[Event], None]
