"""Answers that wait for others: not more of them than there is room for."""

import pytest
from mcp.shared.exceptions import MCPError

from orchestration.mcp import answers
from orchestration.mcp.answers import PartialAnswers


def test_what_was_kept_last_is_told_until_it_is_forgotten() -> None:
    kept = PartialAnswers()
    assert kept.to("run") == {}
    kept.keep("run", {"a": 1})
    kept.keep("run", {"a": 2, "b": [3]})
    assert kept.to("run") == {"a": 2, "b": [3]}
    kept.forget("run")
    kept.forget("run")
    assert kept.to("run") == {}


def test_the_oldest_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "TASKS", 3)
    monkeypatch.setattr(answers, "ROOM", 100)
    kept = PartialAnswers()
    for number in range(4):
        kept.keep(f"run {number}", {"a": number})
    assert [bool(kept.to(f"run {number}")) for number in range(4)] == [False, True, True, True]
    kept.keep("run 1", {"a": "again"})  # the newest now
    kept.keep("long", {"a": "x" * 80})
    assert [name for name in ("run 1", "run 2", "run 3") if kept.to(name)] == []
    kept.forget("long")
    kept.keep("other", {"a": "x" * 80})
    kept.keep("short", {})
    assert kept.to("other"), "what is forgotten takes no room"


def test_more_than_may_be_kept_of_one_is_refused_and_leaves_what_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(answers, "LONGEST", 20)
    kept = PartialAnswers()
    kept.keep("run", {"a": 1})
    with pytest.raises(MCPError, match="may be 20 bytes long, and these are 25: answer all"):
        kept.keep("run", {"a": 1, "b": "x" * 11})
    assert kept.to("run") == {"a": 1}
