"""How working runs are let go at a stop: the less urgent, the sooner."""

import asyncio
from collections.abc import Callable, Iterable
from enum import IntEnum

from orchestration.loop.admission import Limits
from orchestration.loop.ports import RunStore
from orchestration.loop.run import Ending, Outcome, Place, Run, RunStatus

_LOW = 7  # priority from which a run is low
_NORMAL = 4
_LAST_GRACE = 3.0  # seconds for what has to be cancelled
_LOW_GRACE = 1.0  # seconds that a run of low priority may take to its next super-step


class RunTier(IntEnum):
    """How long a run is waited for at a stop."""

    LOW = 0
    NORMAL = 1
    CRITICAL = 2


def tier_of(run: Run) -> RunTier:
    """Return the tier of a run, by its priority: 0 to 3, 4 to 6, 7 to 10."""
    if run.priority >= _LOW:
        return RunTier.LOW
    return RunTier.NORMAL if run.priority >= _NORMAL else RunTier.CRITICAL


def grace_of(tier: RunTier, limits: Limits) -> float:
    """Return how many seconds runs of ``tier`` have to come to their next super-step."""
    match tier:
        case RunTier.LOW:
            return min(_LOW_GRACE, limits.drain_grace)
        case RunTier.NORMAL:
            return limits.drain_grace
        case RunTier.CRITICAL:
            return max(limits.drain_grace, limits.drain_grace_critical)


def drain_budget(limits: Limits) -> float:
    """Return how many seconds `let_go` takes at most."""
    return grace_of(RunTier.CRITICAL, limits) + _LAST_GRACE


async def let_go(runs: Iterable[Run], limits: Limits, stop: Callable[[Run, Ending], None]) -> None:
    """Return once ``runs``, which were told to stop, have; in the end they are made to."""
    tiers: dict[RunTier, list[Run]] = {}
    for run in runs:
        if run.place in (Place.WORKING, Place.GONE):  # the others wait in the store
            tiers.setdefault(tier_of(run), []).append(run)
    async with asyncio.TaskGroup() as group:
        for tier, members in tiers.items():
            group.create_task(_let_go(members, grace_of(tier, limits), stop))


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
