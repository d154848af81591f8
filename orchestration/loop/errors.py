"""What the loop refuses, and why. Each error says what is still true afterwards."""

from orchestration.loop.rate import Allowance


class LoopError(Exception):
    """The base of what the loop raises."""


class QueueFull(LoopError):
    """The queue is at its bound. Nothing was queued; the caller may try again."""

    def __init__(self, capacity: int, retry_after: float) -> None:
        super().__init__(f"the run queue is full ({capacity} runs)")
        self.capacity = capacity
        self.retry_after = retry_after


class RateLimited(LoopError):
    """One caller submits faster than its limit. Nothing was queued."""

    def __init__(self, key: str, rate: float, retry_after: float, allowance: Allowance) -> None:
        super().__init__(f"{key} may submit {rate:g} runs a second")
        self.allowance = allowance
        self.key = key
        self.retry_after = retry_after


class Restricted(LoopError):
    """Only what is not of low priority is taken at the moment. Nothing was queued."""

    def __init__(self, why: str, retry_after: float) -> None:
        super().__init__(f"runs of low priority are not taken: {why}")
        self.retry_after = retry_after


class ThreadBusy(LoopError):
    """The thread has a run that is not finished, and the new one asked to be rejected then."""

    def __init__(self, thread_id: str) -> None:
        super().__init__(
            f"Thread {thread_id} is already running a task. "
            "Wait for it, cancel it, or choose another multitask strategy."
        )
        self.thread_id = thread_id


class ThreadNotFound(LoopError):
    """There is no such thread. Nothing was queued."""

    def __init__(self, thread_id: str) -> None:
        super().__init__(f"Thread {thread_id} not found")
        self.thread_id = thread_id


class AskedTwice(LoopError):
    """A request with the same idempotency key is being answered. Nothing was done."""

    def __init__(self) -> None:
        super().__init__("a request with this Idempotency-Key is being answered; ask again")


class Draining(LoopError):
    """The service is stopping and takes no new runs."""

    reason = "the service is stopping"
    advice = "try again in a few seconds"

    def __init__(self) -> None:
        super().__init__(f"{self.reason}; {self.advice}")


class WorkerLost(LoopError):
    """What executed a run has died under it; what was committed of the run stands.

    Its executor raises this once nothing of that execution can have effects any more.
    """


class Drained(LoopError):
    """An executor raises this when its run stopped at a super-step because it was asked to."""
