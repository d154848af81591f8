"""Which of the loop's events people read in the log."""

import pytest
from structlog.testing import capture_logs

from orchestration.journal import Journal
from orchestration.loop.events import (
    Event,
    RunAccepted,
    RunEnded,
    RunRejected,
    RunRequeued,
    StateUnknown,
    StopRequested,
    WriteFailed,
    ZombieLeft,
)
from orchestration.loop.run import Ending, RunStatus


@pytest.mark.parametrize(
    ("event", "level"),
    [
        (RunAccepted("r", "g", 5), None),
        (RunEnded("r", "t", "g", RunStatus.SUCCESS, 1, 0.1), None),
        (RunEnded("r", "t", "g", RunStatus.ERROR, 1, 0.1, "ValueError"), "info"),
        (RunRejected("g", "QueueFull"), "info"),
        (RunRequeued("r", "g"), "info"),
        (StopRequested("r", Ending.INTERRUPT), None),
        (StateUnknown("r", "ValueError"), "warning"),
        (ZombieLeft("r", "g"), "warning"),
        (WriteFailed("r", "StorageFull", 1.0), "warning"),
    ],
)
def test_only_what_matters_is_written(event: Event, level: str | None) -> None:
    with capture_logs() as entries:
        Journal()(event)
    assert [entry["log_level"] for entry in entries] == ([] if level is None else [level])
