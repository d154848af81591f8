"""How working runs are let go at a stop: the less urgent, the sooner."""

import asyncio
from collections.abc import Callable, Iterable

from orchestration.loop.admission import Limits
from orchestration.loop.ports import RunStore
from orchestration.loop.run import Ending, Outcome, Place, Run, RunStatus

_LOW = 7  # priority from which a run is low
_NORMAL = 4  # and normal; before that it is critical
_LAST_GRACE = 3.0  # seconds for what has to be cancelled
_LOW_GRACE = 1.0  # seconds that a run of low priority may take to its next super-step


def grace_of(priority: int, limits: Limits) -> float:
    """Return how many seconds a run of ``priority`` has to come to its next super-step."""
    if priority >= _LOW:
        return min(_LOW_GRACE, limits.drain_grace)
    if priority >= _NORMAL:
        return limits.drain_grace
    return max(limits.drain_grace, limits.drain_grace_critical)


def drain_budget(limits: Limits) -> float:
    """Return how many seconds `let_go` takes at most."""
    return grace_of(0, limits) + _LAST_GRACE


async def let_go(runs: Iterable[Run], limits: Limits, stop: Callable[[Run, Ending], None]) -> None:
    """Return once ``runs``, which were told to stop, have; in the end they are made to."""
    graces: dict[float, list[Run]] = {}
    for run in runs:
        if run.place in (Place.WORKING, Place.GONE):  # the others wait in the store
            graces.setdefault(grace_of(run.priority, limits), []).append(run)
    async with asyncio.TaskGroup() as group:
        for grace, members in graces.items():
            group.create_task(_let_go(members, grace, stop))


async def _let_go(runs: list[Run], grace: float, stop: Callable[[Run, Ending], None]) -> None:
    left = {run.done for run in runs if run.done is not None}
    _, left = await asyncio.wait(left, timeout=grace)
    for run in runs:
        if run.place is Place.WORKING:
            stop(run, Ending.DRAIN)
    if left:
        await asyncio.wait(left, timeout=_LAST_GRACE)


def put_back(store: RunStore, run: Run) -> None:
    """Have a run that works found pending after the next start, or ended if it was to end.

    Found running, it would be taken for one that has brought the service down.
    """
    if run.token is None:
        return
    match run.ending:
        case Ending.INTERRUPT:
            store.finish(run, Outcome(RunStatus.INTERRUPTED), None)
        case Ending.ROLLBACK:
            store.erase(run)
        case _:
            store.requeue(run)
