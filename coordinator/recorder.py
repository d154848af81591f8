"""Takes note of experience without waiting, and has it kept a little later."""

import math
from collections import deque
from itertools import islice

import anyio

from coordinator.belief import Belief
from coordinator.events import Emit, ExperienceLost, ExperienceUnwritten
from coordinator.experience import Experience, ExperienceStore, Learned
from operations.alarm import Alarm, Sleep
from operations.errors import StorageUnavailable

WAITING = 10_000  # entries that wait to be written; those beyond are learned from, but not kept
BATCH = 1_000  # entries of one write
PAUSE = 0.5  # seconds in which entries gather: the most that a death of the process may cost
RETRY = 5.0  # seconds after a write that failed


class ExperienceRecorder:
    """Writes what is recorded, in batches, while it runs; what is left when it is closed."""

    def __init__(self, store: ExperienceStore, emit: Emit, *, sleep: Sleep = anyio.sleep) -> None:
        self._store = store
        self._emit = emit
        self._entries: deque[tuple[Experience, Belief]] = deque()
        self._lost = 0
        self._something = Alarm(sleep)
        self._end = Alarm(sleep)
        self._closed = False

    def record(self, experience: Experience, belief: Belief) -> None:
        """Keep ``experience`` soon, and what ``belief`` is by then."""
        if len(self._entries) >= WAITING:
            self._lost += 1
            return
        self._entries.append((experience, belief))
        self._something.ring()

    def close(self) -> None:
        """Take nothing more up; ``run`` returns once what is there is written."""
        self._closed = True
        self._end.ring()
        self._something.ring()

    async def run(self) -> None:
        """Write what is recorded, until closed."""
        while not self._closed:
            await self._something.rest(math.inf)
            await self._end.rest(PAUSE)
            if not await self._written() and not self._closed:
                await self._end.rest(RETRY)
                self._something.ring()
        await self._written()

    async def _written(self) -> bool:
        """Write all that is there; return False if it could not be."""
        if self._lost:
            self._emit(ExperienceLost(self._lost))
            self._lost = 0
        while self._entries:
            batch = list(islice(self._entries, BATCH))
            beliefs = {(entry.problem, entry.arm): belief for entry, belief in batch}
            learned = [
                Learned(problem, arm, belief.numbers(), belief.at)
                for (problem, arm), belief in beliefs.items()
            ]
            try:
                await self._store.append([entry for entry, _ in batch], learned)
            except StorageUnavailable as error:
                self._emit(ExperienceUnwritten(str(error), RETRY))
                return False
            for _ in batch:
                self._entries.popleft()
        return True
