"""The failures that end a run: none does while what another one calls for is being done."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager

from coordinator.errors import StepFailed


class Failures:
    """Steps of a run that failed for good, and how many compensations are under way.

    LangGraph cancels all that is under way as soon as it hears of a failure; ``heard`` is whether
    it has.
    """

    def __init__(self) -> None:
        self.heard = False
        self._failed: list[StepFailed] = []
        self._compensations = 0
        self._quiet = asyncio.Event()

    def __bool__(self) -> bool:
        return bool(self._failed)

    @contextmanager
    def compensating(self) -> Generator[None]:
        """Have all failures wait for the end of the block."""
        self._compensations += 1
        self._quiet.clear()
        try:
            yield
        finally:
            self._compensations -= 1
            if not self._compensations:
                self._quiet.set()

    async def together(self, failed: StepFailed) -> StepFailed:
        """Return, once no compensation is under way, what tells of ``failed`` and all others."""
        self._failed.append(failed)
        while self._compensations:
            await self._quiet.wait()
        self.heard = True
        others = [str(other) for other in self._failed if other is not failed]
        return StepFailed(failed.step, failed.kind, "; ".join([failed.message, *others]))
