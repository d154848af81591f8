"""What can go wrong with agents, and what is still true then."""


class AgentsError(Exception):
    """The base of all that this room raises."""


class StartFailed(AgentsError):
    """An agent could not be started. It left nothing behind."""

    def __init__(self, reason: str, stderr: str = "") -> None:
        super().__init__(_with_stderr(reason, stderr))
        self.reason = reason
        self.stderr = stderr


class ArgumentsTooLong(StartFailed):
    """The kernel starts no subprocess with so many bytes of arguments; with fewer it does."""

    def __init__(self, command: str, size: int) -> None:
        super().__init__(
            f"{command!r} cannot be started with {size} bytes of arguments: they are too long for "
            "a command line"
        )
        self.size = size


class AgentLost(AgentsError):
    """An agent ended, or was given up. ``started``: its task may have had effects."""

    def __init__(self, reason: str, stderr: str = "", *, started: bool = True) -> None:
        super().__init__(_with_stderr(reason, stderr))
        self.reason = reason
        self.stderr = stderr
        self.started = started


class TaskFailed(AgentsError):
    """The agent answered that the task failed. It can take the next one."""


class TaskRejected(AgentsError):
    """The task cannot be done as it was given. Nothing was done."""


class TaskTimeout(AgentsError):
    """The task took too long and was cancelled. It may have had effects."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the task took longer than {seconds:g} seconds")
        self.seconds = seconds


class NotLeased(AgentsError):
    """No agent was lent; nothing was done."""


class UnknownCapability(NotLeased):
    """No agent can do that."""

    def __init__(self, capability: str, hint: str) -> None:
        super().__init__(f"no agent can do {capability!r}. {hint}")
        self.capability = capability


class LeaseTimeout(NotLeased):
    """No agent came free in time."""

    def __init__(self, pool: str, waited: float, reason: str) -> None:
        super().__init__(f"no agent of {pool!r} came free within {waited:.3g} s: {reason}")
        self.pool = pool
        self.waited = waited


class TooManyWaiting(NotLeased):
    """As many wait for an agent as may."""

    def __init__(self, pool: str, waiting: int) -> None:
        super().__init__(f"{waiting} already wait for an agent of {pool!r}, which is the limit")
        self.pool = pool
        self.waiting = waiting


class PoolClosed(NotLeased):
    """The pool lends no more agents: it is drained, or the service stops."""

    def __init__(self, pool: str) -> None:
        super().__init__(f"the pool {pool!r} is drained and lends no agents")
        self.pool = pool


class PoolNotFound(AgentsError):
    """There is no pool of that name."""

    def __init__(self, name: str, hint: str) -> None:
        super().__init__(f"there is no pool {name!r}. {hint}")
        self.name = name


def _with_stderr(reason: str, stderr: str) -> str:
    return f"{reason}. It wrote to stderr:\n{stderr}" if stderr else reason
