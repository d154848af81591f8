"""Who advises workflows, and what is kept of how they went."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from random import Random

from coordinator.advisor import NOBODY, BanditAdvisor, Cause, CauseOf
from coordinator.events import Emit
from coordinator.recorder import ExperienceRecorder
from operations.background import in_background
from operations.database import Database
from orchestration.loop.run import Run
from orchestration.store.experience import SqliteExperience


class Coordination:
    """An advisor that knows what it knew before this start, and the experience behind it."""

    def __init__(self, database: Database, emit: Emit, cause_of: CauseOf) -> None:
        self.experience = SqliteExperience(database)
        self._recorder = ExperienceRecorder(self.experience, emit)
        self.advisor = BanditAdvisor(emit, self._recorder, Random(), cause_of=cause_of)

    async def remember(self) -> None:
        """Take up what was learned before this start."""
        async for remembered in self.experience.remembered():
            self.advisor.remember(remembered)

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Write down what is learned meanwhile; in the end, what is left."""
        async with in_background(self._recorder, "experience"):
            yield


def cause(run: Run | None) -> Cause:
    """Return whose run it is, and who may see what is decided for it; of one that ended, nobody."""
    if run is None:
        return NOBODY
    owner = None if run.principal is None else str(run.principal["user"]["identity"])
    return Cause(owner, run.metadata)
