"""What can go wrong with a workflow, and what is still true then."""


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
