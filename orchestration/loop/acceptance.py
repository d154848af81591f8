"""Runs that are being accepted, and those who wait to know whether they were."""

import asyncio
from collections.abc import Sequence

from orchestration.loop.run import Run


class Acceptance:
    """Runs that are kept all or none, each with the ``others`` of its thread that it stops.

    ``settled`` is resolved, or raises why not, for whoever submits them. It is not the write
    itself: of a submitter who is cancelled, the runs may be durable, and stand.
    """

    def __init__(self, runs: Sequence[Run], others: Sequence[Sequence[Run]]) -> None:
        self.runs = runs
        self.others = others
        self.settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._set = frozenset(runs)
        self._claims: list[asyncio.Future[bool]] = []

    def __contains__(self, run: Run) -> bool:
        """Return whether ``run`` is one of them."""
        return run in self._set

    def claim(self) -> asyncio.Future[bool]:
        """Return what tells a run that begins with its acceptance: True, or it is cancelled."""
        claimed: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._claims.append(claimed)
        return claimed

    def stand(self) -> None:
        """Let those that have begun go on: they are durable."""
        for claimed in self._claims:
            if not claimed.done():
                claimed.set_result(True)

    def refuse(self, error: BaseException) -> None:
        """End those that have begun: none was taken."""
        for claimed in self._claims:
            claimed.cancel()
        self.tell(error)

    def tell(self, error: BaseException | None = None) -> None:
        """Tell who submits them, if anybody still waits."""
        if self.settled.done():
            return
        if error is None:
            self.settled.set_result(None)
        else:
            self.settled.set_exception(error)
