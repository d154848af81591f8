"""Who advises workflows, what is kept of how they went, and the tools that they use."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial
from random import Random
from typing import Any

from coordinator.advisor import NOBODY, BanditAdvisor, Cause, CauseOf
from coordinator.events import Emit
from coordinator.recorder import ExperienceRecorder
from coordinator.tools.box import ConfiguredTools
from coordinator.zombies import Zombies
from operations.background import in_background
from operations.database import Database
from operations.errors import ConfigurationError
from orchestration.graphs.manifest import Manifest
from orchestration.graphs.targets import load_target
from orchestration.loop.run import Run
from orchestration.store.experience import SqliteExperience

# Of the grace that a cancelled run has, what its steps have: left behind by then, they are told
# of, and the run that they are part of ends in time.
_OF_GRACE = 0.9


class Coordination:
    """An advisor that knows what it knew before this start, and the tools that ask it, too."""

    def __init__(
        self,
        manifest: Manifest,
        database: Database,
        emit: Emit,
        cause_of: CauseOf,
        cancel_grace: float,
    ) -> None:
        """Make the tools that the manifest names. Nothing runs yet.

        Cancelled, they and the graphs of steps have most of ``cancel_grace`` seconds to stop.

        Raises:
            ConfigurationError: the function of a tool cannot be loaded.
        """
        self.experience = SqliteExperience(database)
        self._recorder = ExperienceRecorder(self.experience, emit)
        self.advisor = BanditAdvisor(emit, self._recorder, Random(), cause_of=cause_of)
        self.zombies = Zombies(cancel_grace * _OF_GRACE)
        self.tools = ConfiguredTools(
            manifest.masterloop.tools,
            partial(_load, manifest),
            self.advisor,
            emit,
            cause_of=cause_of,
            time=asyncio.get_running_loop().time,
            zombies=self.zombies,
        )

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


def _load(manifest: Manifest, reference: str, tool: str) -> Callable[..., Any]:
    where = f"{manifest.file}: masterloop.tools.{tool}.function"
    function: object = load_target(reference, folder=manifest.folder, where=where)
    if not callable(function):
        kind = type(function).__name__
        raise ConfigurationError(where, f"{reference!r} is of {kind}", "Name a function.")
    return function
