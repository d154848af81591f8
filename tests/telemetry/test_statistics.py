"""The figures of runs: of whom they are kept, and through what."""

import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from operations.telemetry.labels import OTHER
from operations.telemetry.record import Importance, Record
from orchestration.loop.events import RunEnded
from orchestration.loop.run import RunStatus
from orchestration.telemetry.statistics import RunStatistics


def ended(
    graph: str, status: RunStatus = RunStatus.SUCCESS, took: float = 0.5, attempt: int = 1
) -> Record:
    event = RunEnded("r", "t", graph, status, attempt, took)
    return Record(1, time.time(), Importance.LIFECYCLE, event, {})


def test_runs_are_counted_of_all_and_of_each_assistant(tmp_path: Path) -> None:
    statistics = RunStatistics(tmp_path / "figures.json")
    statistics.prepare([ended("a"), ended("a", RunStatus.ERROR), ended("b")])
    summary = statistics.summary()
    assert (summary["runs"]["1m"]["count"], summary["runs"]["1m"]["success"]) == (3, 2)
    assert summary["assistants"]["a"]["1m"]["count"] == 2
    assert list(statistics.summary("b")["assistants"]) == ["b"]
    assert statistics.summary("c")["assistants"] == {}


def test_what_never_began_says_nothing_of_how_runs_go(tmp_path: Path) -> None:
    statistics = RunStatistics(tmp_path / "figures.json")
    statistics.prepare([ended("a"), ended("a", RunStatus.INTERRUPTED, took=0.0, attempt=0)])
    assert statistics.summary()["runs"]["1m"]["count"] == 1


def test_the_assistants_are_bounded_and_the_rest_counts_as_other(tmp_path: Path) -> None:
    statistics = RunStatistics(tmp_path / "figures.json", most=3)
    statistics.prepare([ended(str(number)) for _ in range(5) for number in range(10)])
    statistics.close(1.0)
    again = RunStatistics(tmp_path / "figures.json", most=3)
    again.prepare([ended("0"), ended("9")])
    for figures, known, others in ((statistics, [5, 5], 40), (again, [6, 5], 41)):
        summary = figures.summary()
        counts = {name: one["1d"]["count"] for name, one in summary["assistants"].items()}
        assert counts == {"0": known[0], "1": known[1], OTHER: others}


def test_they_outlive_the_service(tmp_path: Path) -> None:
    first = RunStatistics(tmp_path / "figures.json")
    first.prepare([ended("a")])
    first.close(1.0)
    assert RunStatistics(tmp_path / "figures.json").summary()["assistants"]["a"]["1d"]["count"] == 1


def test_once_a_minute_they_are_given_to_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = {"now": 0.0}
    monkeypatch.setattr(time, "monotonic", lambda: clock["now"])
    statistics = RunStatistics(tmp_path / "figures.json")

    def told(at: float) -> Sequence[Record]:
        clock["now"] = at
        return statistics.prepare([ended("a")])

    given = [told(at) for at in (59.0, 60.0)]
    assert [len(batch) for batch in given] == [0, 1]
    statistics.take(given[1])
    assert RunStatistics(tmp_path / "figures.json").summary()["runs"]["1d"]["count"] == 2
    given = [told(at) for at in (61.0, 120.0)]
    assert [len(batch) for batch in given] == [0, 1]
    statistics.take(given[1])
    assert RunStatistics(tmp_path / "figures.json").summary()["runs"]["1d"]["count"] == 4


def test_while_they_cannot_be_written_no_others_are_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = {"now": 0.0}
    monkeypatch.setattr(time, "monotonic", lambda: clock["now"])
    folder = tmp_path / "missing"
    statistics = RunStatistics(folder / "figures.json")

    def told(at: float) -> Sequence[Record]:
        clock["now"] = at
        return statistics.prepare([ended("a")])

    first = told(60.0)
    with pytest.raises(FileNotFoundError):
        statistics.take(first)
    assert [len(told(at)) for at in (120.0, 180.0, 240.0)] == [0, 0, 0]
    folder.mkdir()
    statistics.take(first)
    statistics.take(told(241.0))
    assert RunStatistics(folder / "figures.json").summary()["runs"]["1d"]["count"] == 5


def test_a_file_that_cannot_be_read_is_told_and_they_begin_anew(tmp_path: Path) -> None:
    for damage in (b"", b"{}", b'{"runs": [[1]]}', b"\xff"):
        (tmp_path / "figures.json").write_bytes(damage)
        with capture_logs() as logs:
            statistics = RunStatistics(tmp_path / "figures.json")
        assert [entry["log_level"] for entry in logs] == ["warning"]
        assert statistics.summary()["runs"]["1d"]["count"] == 0


def test_a_folder_that_cannot_be_written_to_costs_the_file_only(tmp_path: Path) -> None:
    statistics = RunStatistics(tmp_path / "missing" / "figures.json")
    statistics.prepare([ended("a")])
    with capture_logs() as logs:
        statistics.close(1.0)
    assert [entry["event"] for entry in logs] == ["the figures of runs could not be written"]
    assert statistics.summary()["runs"]["1m"]["count"] == 1
