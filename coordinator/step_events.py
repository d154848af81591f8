"""What a workflow reports. Each is one fact; ``emit`` must take it without waiting.

``run_id`` is None where a workflow works outside of a run. Times are seconds.
"""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StepBegan:
    """A step does its work, after so many seconds of waiting for its turn."""

    workflow: str
    run_id: str | None
    step: str
    waited: float


@dataclass(frozen=True, slots=True)
class StepEnded:
    """A step has its result; ``error`` is the name of an error's class, or None."""

    workflow: str
    run_id: str | None
    step: str
    status: str
    by: str | None
    attempts: int
    took: float
    error: str | None


@dataclass(frozen=True, slots=True)
class AttemptFailed:
    """Who did a step failed at it; it is tried again, or by another, or given up."""

    workflow: str
    run_id: str | None
    step: str
    by: str
    attempt: int
    error: str


@dataclass(frozen=True, slots=True)
class StepCached:
    """A step was given what it gave before for the same key."""

    workflow: str
    run_id: str | None
    step: str


@dataclass(frozen=True, slots=True)
class GraphLeft:
    """A graph of a step ignored its cancellation, and is waited for no longer."""

    graph: str
    workflow: str
    step: str
    run_id: str | None


@dataclass(frozen=True, slots=True)
class ApprovalAsked:
    """A step waits for a human to approve what it is about to do."""

    workflow: str
    run_id: str | None
    step: str
    digest: str


@dataclass(frozen=True, slots=True)
class WaveBegan:
    """Steps became able to work: so many of them, of which at most ``width`` do so at once."""

    workflow: str
    run_id: str | None
    ready: int
    running: int
    width: int
    why: str


Event = StepBegan | StepEnded | AttemptFailed | StepCached | GraphLeft | ApprovalAsked | WaveBegan
Emit = Callable[[Event], None]
