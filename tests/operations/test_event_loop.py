"""How a process of ours collects its garbage."""

import gc
from collections.abc import Iterator
from typing import Any

import pytest

from operations.event_loop import tune_the_collector

RUNS = 200


@pytest.fixture
def tuned() -> Iterator[None]:
    thresholds = gc.get_threshold()
    tune_the_collector(RUNS)
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


@pytest.mark.usefixtures("tuned")
def test_what_runs_hold_that_are_under_way_is_not_looked_through() -> None:
    collected: list[int] = []

    def note(phase: str, info: dict[str, int]) -> None:
        collected.append(info["generation"])

    gc.collect()
    gc.callbacks.append(note)
    try:
        held: list[list[Any]] = [
            [[] for _ in range(270)] for _ in range(RUNS)
        ]  # as many objects as of no-op runs
    finally:
        gc.callbacks.remove(note)
    assert len(held) == RUNS
    assert collected == []
