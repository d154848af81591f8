"""What a step has come to: JSON, kept in the checkpoints of its run."""

from collections.abc import Mapping
from typing import Any, Literal, TypedDict

from coordinator.errors import CoordinatorError

Status = Literal["done", "skipped", "failed"]


class StepError(TypedDict):
    """Why a step failed: the name of the error's class, and its message."""

    error: str
    message: str


class StepResult(TypedDict):
    """What is kept of a step that has ended, and what expressions see of it.

    ``by`` is who did it; ``tool_calls`` were used; ``took`` is seconds.
    """

    status: Status
    output: Any
    error: StepError | None
    by: str | None
    attempts: int
    tool_calls: int
    took: float


Results = dict[str, StepResult]


def merged(before: Results | None, update: Mapping[str, StepResult | None]) -> Results:
    """Return results with further ones; None in the place of one takes it away."""
    both = {**(before or {}), **update}
    return {step: result for step, result in both.items() if result is not None}


def kind_of(error: BaseException) -> str:
    """Return the name of an error's class; of one that only passes on another, that one's."""
    kind = getattr(error, "kind", None) if isinstance(error, CoordinatorError) else None
    return kind or type(error).__name__


def described(error: BaseException) -> StepError:
    """Put an error into words."""
    return {"error": kind_of(error), "message": str(error)[:16_384]}
