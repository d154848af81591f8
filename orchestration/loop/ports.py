"""What the loop needs from others, in the loop's words."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from orchestration.loop.run import Drain, Failure, Outcome, Run, ThreadState


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a start found: the runs that go on, and those that are dead letters now.

    Those that go on are in the order in which they do: what may have begun, then by since when each
    has waited, or will. Of all so many were ``working``, for the service died (``crashed``) or for
    they could not be put back at its end.
    """

    runs: Sequence[Run]
    dead: Sequence[Run] = ()
    working: int = 0
    crashed: bool = False


class RunStore(Protocol):
    """Where runs are kept. Writes take effect in the order in which they were called.

    Every method may be called without awaiting what it returns at once: the loop relies on the
    order of the calls, and awaits where it needs to know that a write is durable. Every write
    raises StorageUnavailable when it could not be made, and has then changed nothing.
    """

    def accept(self, *runs: Run) -> Awaitable[bool]:
        """Keep runs, all or none, and their threads where they are to be created.

        They are pending, but for those with a token, which are running under it already. False if
        there is no thread. What a run's receipt says is kept in the same transaction. One that is
        not ``announced`` is safe from the death of the process within a moment, and
        from that of the machine too once it is announced or has ended.
        """
        ...

    def claim(self, run: Run, token: str) -> Awaitable[bool]:
        """Mark a pending run running under ``token``, one attempt more; False if it is none."""
        ...

    def finish(self, run: Run, outcome: Outcome, state: ThreadState | None) -> Awaitable[bool]:
        """Write the terminal status and free the thread, in one transaction.

        The run must be pending (``run.token`` is None) or running under ``run.token``; False if
        it is neither, and nothing was changed. ``state`` of None leaves what the thread shows.
        An ephemeral run is deleted, unless it is ``outcome.poison``: a dead letter.
        """
        ...

    def requeue(self, run: Run) -> Awaitable[bool]:
        """Put a running run back to pending, its attempt not charged."""
        ...

    def crash(self, run: Run) -> Awaitable[bool]:
        """Put a running run back to pending, with the crashes that it has by now."""
        ...

    def note_stop(self, run: Run) -> Awaitable[bool]:
        """Have a running run be told as it was (``ending``) by `recover` too, as its ``stop``."""
        ...

    def erase(self, run: Run) -> Awaitable[bool]:
        """Delete a pending or running run with the checkpoints it wrote (rollback)."""
        ...

    def recover(self, crash_limit: int, failure: Failure) -> Awaitable[Recovered]:
        """Return every unfinished run, oldest first, after a start.

        Those found running go back to pending, with one crash more; after a stop in order they
        are what could not be put back, and not charged. Those with ``crash_limit`` crashes end as
        ``error`` with ``failure``, and are dead letters.
        """
        ...


class Executor(Protocol):
    """What executes a run's graph."""

    async def execute(
        self, run: Run, drainable: Callable[[Drain], None], begun: Callable[[Run], None]
    ) -> ThreadState:
        """Drive the run's graph to its end or to an interrupt, publishing to ``run.stream``.

        ``drainable`` is called once, with what asks for a drain, if the graph can be drained.
        ``begun`` is called once, with the run, before any of that: what it waits for until then
        takes none of its time.

        Raises:
            Drained: the graph stopped at a super-step as asked, its checkpoint written.
            WorkerLost: what executed the graph has died, and the graph with it.
            Exception: whatever the graph raised.
        """
        ...

    async def settle(self, run: Run, *, own: bool = False) -> ThreadState | None:
        """Return what the thread of a run that was cut off shows, from its last checkpoint.

        None if there is none; or, where only its ``own`` counts, if another run has put that.
        """
        ...

    def fence(self, run: Run) -> Callable[[], None]:
        """Let a run that has ended write no more checkpoints; return what lifts the fence."""
        ...

    def describe(self, error: BaseException) -> Failure:
        """Put an error of user code into words."""
        ...


def called(write: Callable[..., Awaitable[bool]], *given: Any) -> "asyncio.Future[bool]":
    """Call the store; what it raises at once is raised to whoever waits: that holds a slot."""
    try:
        return asyncio.ensure_future(write(*given))
    except Exception as error:  # noqa: BLE001 - as above
        failed: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        failed.set_exception(error)
        return failed
