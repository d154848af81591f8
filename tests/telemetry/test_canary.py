"""A secret in what happened is in nothing that is told of it."""

import asyncio
import time
from pathlib import Path

import pytest

from agents import events as agents
from operations.logs import configure_logs
from operations.redaction import HIDDEN
from operations.telemetry.record import Importance, Record
from orchestration.loop.events import RunEnded, WriteFailed
from orchestration.loop.run import RunStatus
from orchestration.telemetry.importance import IMPORTANCE
from orchestration.telemetry.journal import Journal
from orchestration.telemetry.live import LiveView
from orchestration.telemetry.statistics import RunStatistics

CANARY = "sk-canary-0123456789abcdef"
EVENTS = [
    agents.SeatLost("workers", 1, f"401 for {CANARY}", f"stderr: OPENAI_API_KEY={CANARY}", 1.0),
    agents.StartMissed("workers", 1, "no", f"postgres://user:{CANARY}@db/x", 1.0),
    agents.MessageDead("notes", 7, 3, f"Bearer {CANARY}"),
    WriteFailed("r", f"OSError {CANARY}", None),
    RunEnded("r", "t", "g", RunStatus.ERROR, 1, 0.5, f"KeyError_{CANARY}"),
    RunEnded("r", CANARY, CANARY, RunStatus.ERROR, 1, 0.5, "ValueError"),
]


def records() -> list[Record]:
    return [
        Record(number, time.time(), IMPORTANCE.get(type(event), Importance.DETAIL), event, {})
        for number, event in enumerate(EVENTS)
    ]


@pytest.mark.usefixtures("logs_as_before")
@pytest.mark.parametrize("as_json", [True, False])
def test_not_in_the_log(capsys: pytest.CaptureFixture[str], as_json: bool) -> None:
    configure_logs("debug", json=as_json)
    journal = Journal()
    journal.take(journal.prepare(records()))
    told = capsys.readouterr().err
    assert "canary" not in told
    assert told.count(HIDDEN) >= len(EVENTS)


async def test_not_in_what_is_shown_live_nor_in_the_last_events() -> None:
    view = LiveView(list, list, dict)
    looker, _ = view.live.look(["runs", "agents", "activity"])
    view.take(records())
    await asyncio.sleep(0)
    news = looker.take()
    _, before = view.live.look(["activity"])
    told = [*(one.data.decode() for one in (*news, *before)), repr(view.activity())]
    assert len(news) >= len(EVENTS)
    assert "canary" not in "".join(told)


def test_a_run_s_figures_are_of_graphs_and_of_nothing_else(tmp_path: Path) -> None:
    statistics = RunStatistics(tmp_path / "figures.json")
    ended = [one for one in records() if type(one.event) in statistics.kinds]
    statistics.prepare([one for one in ended if one.event.graph_id == "g"])
    statistics.close(1.0)
    assert b"canary" not in (tmp_path / "figures.json").read_bytes()
