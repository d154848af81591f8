"""How a process of ours shares the interpreter."""

import gc
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from operations.event_loop import tune_the_interpreter

DEFAULT = 0.005  # seconds: CPython's
RUNS = 200


@pytest.fixture
def tuned() -> Iterator[None]:
    thresholds, interval = gc.get_threshold(), sys.getswitchinterval()
    tune_the_interpreter(RUNS)
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("tuned")
def test_a_thread_that_computes_hands_over_sooner_than_by_default() -> None:
    over = False

    def compute() -> None:
        while not over:
            pass

    thread = threading.Thread(target=compute)
    thread.start()
    waits: list[float] = []
    while len(waits) < 10:
        began = time.perf_counter()
        time.sleep(0)  # lets go of the interpreter, and asks for it again
        took = time.perf_counter() - began
        if took > DEFAULT / 10:  # it had gone to the other one
            waits.append(took)
    over = True
    thread.join()
    assert min(waits) < DEFAULT


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
