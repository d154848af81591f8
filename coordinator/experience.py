"""The port: where is kept what was decided, and how it went."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from coordinator.advice import Arm, Features, Result
from coordinator.belief import Belief


@dataclass(frozen=True, slots=True)
class Problem:
    """What is learned about: a workflow of an owner (None: nobody asked whose), or one step of it.

    Nobody's runs teach anybody else's.
    """

    owner: str | None
    workflow: str
    step: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Experience:
    """A decision, and how it went."""

    decision_id: str
    at: datetime
    problem: Problem
    arm: Arm
    features: Features
    result: Result
    reward: float


@dataclass(frozen=True, slots=True)
class Remembered:
    """What was known of an arm when the service ended."""

    problem: Problem
    arm: Arm
    belief: Belief


@dataclass(frozen=True, slots=True)
class Learned:
    """What is known of an arm now, as numbers that nothing changes any more."""

    problem: Problem
    arm: Arm
    numbers: Sequence[float]
    at: float


class Recorder(Protocol):
    """Takes note of experience, without waiting."""

    def record(self, experience: Experience, belief: Belief) -> None:
        """Keep ``experience`` soon, and what ``belief`` is by then."""
        ...


class ExperienceStore(Protocol):
    """Keeps experience: append-only, bounded, oldest forgotten first."""

    async def append(self, entries: Sequence[Experience], learned: Sequence[Learned]) -> None:
        """Add entries, and put what was learned in the place of what was known of those arms."""
        ...
