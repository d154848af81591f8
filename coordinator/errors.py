"""What can go wrong with a workflow, and what is still true then."""

from collections.abc import Sequence


class CoordinatorError(Exception):
    """The base of all that this room raises."""


class BudgetSpent(CoordinatorError):
    """No more of ``what`` is left; what would have used it was not begun."""

    def __init__(self, whose: str, what: str, most: float) -> None:
        super().__init__(f"the budget of {whose} is spent: {most:g} {what}")
        self.whose = whose
        self.what = what
        self.most = most


class ToolFailed(CoordinatorError):
    """A tool did not do what it was used for; ``kind`` is the name of the error's class."""

    def __init__(self, tool: str, kind: str, message: str) -> None:
        super().__init__(f"tool {tool!r}: {kind}: {message}")
        self.tool = tool
        self.kind = kind


class StepFailed(CoordinatorError):
    """A step failed for good, and its workflow with it; ``kind`` is what it failed with."""

    def __init__(self, step: str, kind: str, message: str) -> None:
        super().__init__(f"step {step!r}: {kind}: {message}")
        self.step = step
        self.kind = kind
        self.message = message


class NeedsUnmet(CoordinatorError):
    """A step needs others that this run does not come to, and so its workflow fails."""

    def __init__(self, step: str, needs: Sequence[str]) -> None:
        super().__init__(
            f"step {step!r} needs {', '.join(map(repr, needs))}, to which this run does not come: "
            "it was sent past that, or began with another workflow. Begin anew, with an input."
        )
        self.step = step
        self.needs = needs


class StepsAtOnce(CoordinatorError):
    """Steps of a sequential workflow are to begin together, and so it fails.

    Each would go on to those after it, which would be done again and again.
    """

    def __init__(self, steps: Sequence[str]) -> None:
        super().__init__(
            f"steps {', '.join(map(repr, steps))} are to begin at once, and their workflow is "
            "sequential: this run was sent to several of them, or began with another workflow. "
            "Begin anew, with an input."
        )
        self.steps = steps


class StepsLeftOut(CoordinatorError):
    """A run goes on with a workflow with steps that are no part of it, and so it fails.

    They would never be done, and nobody told.
    """

    def __init__(self, steps: Sequence[str]) -> None:
        super().__init__(
            f"this run does not come to steps {', '.join(map(repr, steps))}: it began with another "
            "workflow, or its state was changed meanwhile. Begin anew, with an input."
        )
        self.steps = steps


class StepsRepeated(CoordinatorError):
    """A sequential run goes on with a workflow that has steps again that it did, and so it fails.

    Nothing was done twice; with the workflow that it began with, it goes on.
    """

    def __init__(self, steps: Sequence[str]) -> None:
        super().__init__(
            f"this run would do steps {', '.join(map(repr, steps))} again: it began with another "
            "workflow. Begin anew, with an input."
        )
        self.steps = steps


class StepsSentTwice(CoordinatorError):
    """A run was sent to a step several times at once, and so it fails. Nothing was done.

    A step has one turn and one result.
    """

    def __init__(self, steps: Sequence[str]) -> None:
        super().__init__(
            f"this run was sent to steps {', '.join(map(repr, steps))} more than once. "
            "Send it to each of them once."
        )
        self.steps = steps


class StepTimeout(CoordinatorError):
    """What does a step took too long and was cancelled. It may have had effects."""

    def __init__(self, step: str, seconds: float) -> None:
        super().__init__(f"it took longer than {seconds:g} seconds")
        self.step = step


class CancelledItself(CoordinatorError):
    """What does a step has ended as if cancelled, by nobody else. It may have had effects."""

    def __init__(self) -> None:
        super().__init__("it cancelled itself")


class OutputRefused(CoordinatorError):
    """What does a step has given what cannot be kept as JSON. It was done all the same."""

    def __init__(self, why: str) -> None:
        super().__init__(f"what it gave cannot be kept: it is {why}")


class ApprovalRefused(CoordinatorError):
    """A human said no. Nothing was done."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"it was not approved: {reason}")
        self.reason = reason


class NobodyThere(CoordinatorError):
    """The service has none of what a step needs. Nothing was done."""
