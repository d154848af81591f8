"""What the coordinator reports. Each is one fact; ``emit`` must take it without waiting."""

from collections.abc import Callable
from dataclasses import dataclass

from coordinator.advice import Arm


@dataclass(frozen=True, slots=True)
class DecisionMade:
    """One of ``of`` arms was chosen, of a workflow or of one step of it."""

    decision_id: str
    workflow: str
    run_id: str | None
    step: str | None
    arm: Arm
    of: int
    why: str


@dataclass(frozen=True, slots=True)
class DecisionJudged:
    """What came of a decision: seconds, success, cost, and the reward (0 to 1) for it."""

    decision_id: str
    workflow: str
    run_id: str | None
    step: str | None
    arm: Arm
    duration: float
    success: bool
    cost: float
    reward: float


@dataclass(frozen=True, slots=True)
class ExperienceLost:
    """So many results were learned from but will not be kept: too many waited to be written."""

    entries: int


@dataclass(frozen=True, slots=True)
class ExperienceUnwritten:
    """Experience could not be written; it is tried again after so many seconds."""

    error: str
    retry_in: float


@dataclass(frozen=True, slots=True)
class ToolFellBack:
    """A tool failed, and another one was used in its place."""

    tool: str
    fallback: str
    workflow: str
    run_id: str | None
    error: str


@dataclass(frozen=True, slots=True)
class ToolLeft:
    """A tool ignored its cancellation, and is waited for no longer; it may go on for ever."""

    tool: str
    workflow: str
    step: str
    run_id: str | None


@dataclass(frozen=True, slots=True)
class CircuitOpened:
    """A target of tools failed so often in a row that it is left alone for so many seconds."""

    target: str
    failures: int
    error: str
    rest: float


@dataclass(frozen=True, slots=True)
class CircuitClosed:
    """A target of tools that was left alone works again."""

    target: str


Event = (
    DecisionMade
    | DecisionJudged
    | ExperienceLost
    | ExperienceUnwritten
    | ToolFellBack
    | ToolLeft
    | CircuitOpened
    | CircuitClosed
)
Emit = Callable[[Event], None]
