"""What the loop reports, in the log: one line per run that ended, more only when it matters."""

from dataclasses import asdict

import structlog

from orchestration.loop.events import (
    Event,
    RunEnded,
    RunRejected,
    RunRequeued,
    StateUnknown,
    WriteFailed,
    ZombieLeft,
)
from orchestration.loop.run import RunStatus


class Journal:
    """Takes the loop's events and writes those that people want to read."""

    def __init__(self) -> None:
        self._log = structlog.get_logger("masterloop")

    def __call__(self, event: Event) -> None:
        """Write ``event``, or not."""
        match event:
            case RunEnded(status=RunStatus.SUCCESS):
                return
            case RunEnded():
                self._log.info("run ended", **asdict(event))
            case RunRequeued():
                self._log.info("run requeued", **asdict(event))
            case RunRejected():
                self._log.info("run rejected", **asdict(event))
            case WriteFailed():
                self._log.warning("the store could not write; trying again", **asdict(event))
            case StateUnknown():
                self._log.warning("the state after a run could not be read", **asdict(event))
            case ZombieLeft():
                self._log.warning("a run ignores its cancellation", **asdict(event))
            case _:
                return
