"""Which events of the loop and of the pools people read in the log."""

import pytest
from structlog.testing import capture_logs

from agents import events as agents
from coordinator import events as coordinator
from coordinator.advice import Arm
from coordinator.step_events import GraphLeft
from operations.logs import configure_logs
from operations.telemetry.record import Importance, Record
from operations.telemetry.traceparent import span_of_run
from orchestration.loop.events import (
    Event,
    RunAccepted,
    RunCrashed,
    RunEnded,
    RunRejected,
    RunRequeued,
    StateUnknown,
    StopRequested,
    WriteFailed,
    ZombieLeft,
)
from orchestration.loop.run import Ending, RunStatus
from orchestration.telemetry.journal import Journal


def write(journal: Journal, *events: Event | agents.Event | coordinator.Event) -> None:
    batch = [Record(1, 0.0, Importance.DETAIL, event, {}) for event in events]
    journal.take(journal.prepare(batch))


@pytest.mark.parametrize(
    ("event", "level"),
    [
        (RunAccepted("r", "t", "a", "g", 5, "api", None), None),
        (RunEnded("r", "t", "g", RunStatus.SUCCESS, 1, 0.1), "info"),
        (RunEnded("r", "t", "g", RunStatus.ERROR, 1, 0.1, "ValueError"), "info"),
        (RunRejected("g", "QueueFull"), "info"),
        (RunRequeued("r", "g"), "info"),
        (RunCrashed("r", "g", 1, "it was killed"), "warning"),
        (StopRequested("r", Ending.INTERRUPT), None),
        (StateUnknown("r", "ValueError"), "warning"),
        (ZombieLeft("r", "g"), "warning"),
        (WriteFailed("r", "StorageFull", 1.0), "warning"),
        (coordinator.ToolFellBack("a", "b", "w", "r", "no"), "info"),
        (coordinator.ToolLeft("a", "w", "s", "r"), "warning"),
        (GraphLeft("g", "w", "s", "r"), "warning"),
        (coordinator.CircuitOpened("agent a", 5, "no", 30.0), "warning"),
        (coordinator.CircuitClosed("agent a"), "info"),
        (coordinator.ExperienceLost(5), "warning"),
        (coordinator.ExperienceUnwritten("no room", 5.0), "warning"),
        (coordinator.DecisionMade("d", "w", "r", "s", Arm(), 2, "because"), None),
        (agents.SeatReady("p", 1, 0.1), None),
        (agents.TaskEnded("p", 1, "c", 0.1, "TaskFailed", 0, None), None),
        (agents.SeatLost("p", 1, "it ended", "last words", 1.0), "warning"),
        (agents.StartMissed("p", 1, "it did not start", "", 1.0), "warning"),
        (agents.PoolDegraded("p", "too often", 1.0), "warning"),
        (agents.PoolResized("p", 2, 1), "info"),
    ],
)
def test_only_what_matters_is_written(
    event: Event | agents.Event | coordinator.Event, level: str | None
) -> None:
    with capture_logs() as entries:
        write(Journal(), event)
    assert [entry["log_level"] for entry in entries] == ([] if level is None else [level])


def test_refusals_of_a_moment_are_told_by_their_number() -> None:
    told = [RunRejected("g", "QueueFull")] * 3 + [RunRejected(None, "QueueFull")] * 2
    with capture_logs() as entries:
        write(Journal(), *told)
    assert [(entry["event"], entry["graph_id"], entry["count"]) for entry in entries] == [
        ("runs rejected", "g", 3),
        ("runs rejected", None, 2),
    ]


@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.usefixtures("logs_as_before")
def test_lines_are_written_in_the_order_of_what_they_tell_and_refusals_last(
    capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    told: list[Event] = [
        RunRejected("g", "QueueFull"),
        RunEnded("first", "t", "g", RunStatus.SUCCESS, 1, 0.1),
        ZombieLeft("second", "g"),
        RunEnded("third", "t", "g", RunStatus.SUCCESS, 1, 0.1),
    ]
    configure_logs("info", json=as_json)
    write(Journal(), *told)
    lines = capsys.readouterr().err.splitlines()
    words = ["first", "second", "third", "runs rejected"]
    assert len(lines) == len(words)
    assert all(word in line for word, line in zip(words, lines, strict=True))


@pytest.mark.usefixtures("logs_as_before")
def test_of_what_is_below_the_level_there_is_nothing_to_write() -> None:
    told = [RunRejected("g", "QueueFull"), RunEnded("r", "t", "g", RunStatus.SUCCESS, 1, 0.1)]
    configure_logs("warning", json=True)
    batch = [Record(1, 0.0, Importance.DETAIL, event, {}) for event in told]
    assert not Journal().prepare(batch)


def test_a_run_has_one_line_at_its_end_with_all_its_durations() -> None:
    journal = Journal()
    trace = {"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"}
    ended = RunEnded("r", "t", "g", RunStatus.ERROR, 1, 1.5, "ValueError", 0.25, trace)
    with capture_logs() as entries:
        write(journal, ended)
    assert entries == [
        {
            "event": "run ended",
            "log_level": "info",
            "run_id": "r",
            "thread_id": "t",
            "graph_id": "g",
            "status": "error",
            "attempt": 1,
            "waited": 0.25,
            "trace_id": "ab" * 16,
            "span_id": f"{span_of_run('r', 1, 0.25, None)[0].span_id:016x}",
            "took": 1.5,
            "error": "ValueError",
        }
    ]
