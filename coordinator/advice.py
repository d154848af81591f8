"""What a workflow asks before it goes on, and what it tells of how that went."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to go on: in which mode, by which variant of a step, with agents of which pool."""

    mode: str | None = None
    variant: str | None = None
    pool: str | None = None


@dataclass(frozen=True, slots=True)
class Features:
    """What may decide which arm is best.

    ``steps`` are those of the workflow that have not ended, ``width`` how many of them could work
    now, ``priority`` the run's (0 is first), ``load`` how busy the pools in question are (0 to 1).
    """

    steps: int
    width: int
    priority: int
    load: float


@dataclass(frozen=True, slots=True)
class Question:
    """A choice between ``arms``: of a whole workflow, or of one ``step`` of it."""

    workflow: str
    run_id: str | None
    step: str | None
    arms: Sequence[Arm]
    features: Features


@dataclass(frozen=True, slots=True)
class Decision:
    """The arm that was chosen, under an id by which its result is told."""

    decision_id: str
    arm: Arm
    why: str


@dataclass(frozen=True, slots=True)
class Result:
    """How what was decided went: seconds, whether it did what it should, what it cost (0 up)."""

    duration: float
    success: bool
    cost: float = 0.0


class Advisor(Protocol):
    """Who chooses. Neither method waits for anything."""

    def choose(self, question: Question) -> Decision:
        """Return what to do; ``question`` has at least one arm."""
        ...

    def learn(self, decision_id: str, result: Result) -> None:
        """Take note of how it went; of an id that is not known any more, nothing."""
        ...
