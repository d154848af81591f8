"""Runs whose ends are written in two places at once: the database, and their manifests."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from operations.errors import StorageUnavailable
from orchestration.loop.run import Outcome, Run, RunStatus, ThreadState
from orchestration.store.runs import RunStore
from orchestration.telemetry.manifests import Manifests


class ManifestedRuns(RunStore):
    """The runs, each with a manifest that is written at the same time as its end.

    Neither waits for the other, and each says what became of it: the manifest has the fate of the
    row, the log has that of the manifest.
    """

    def __init__(self, manifests: Manifests, *known: Any, **named: Any) -> None:
        super().__init__(*known, **named)
        self._manifests = manifests

    def finish(self, run: Run, outcome: Outcome, state: ThreadState | None) -> Awaitable[bool]:
        """Write how a run ended; see the port."""
        return self._with_manifest(run, outcome, partial(super().finish, run, outcome, state))

    def erase(self, run: Run) -> Awaitable[bool]:
        """Undo a run; see the port."""
        outcome = Outcome(RunStatus.INTERRUPTED, rolled_back=True)
        return self._with_manifest(run, outcome, partial(super().erase, run))

    def _with_manifest(
        self, run: Run, outcome: Outcome, write: Callable[[], Awaitable[bool]]
    ) -> Awaitable[bool]:
        self._manifests.ending(run, outcome)
        try:
            written = asyncio.ensure_future(write())
        except StorageUnavailable as error:
            self._manifests.stored(run.run_id, type(error).__name__, last=False)
            raise
        written.add_done_callback(partial(self._stored, run))
        return written

    def _stored(self, run: Run, written: "asyncio.Future[bool]") -> None:
        error, last = None, False
        if written.cancelled():
            error = "CancelledError"
        elif (broken := written.exception()) is not None:
            error = type(broken).__name__
        elif written.result():
            last = run.attempt == 0  # of one that was tried it is told that it ended
        else:
            error, last = "the run was not there any more", True
        self._manifests.stored(run.run_id, error, last=last)
