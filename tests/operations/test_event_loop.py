"""How a process of ours runs its event loop, and collects its garbage."""

import asyncio
import gc
from collections.abc import Iterator
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import sniffio

from operations.event_loop import open_runner, tune_the_collector

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


def test_what_runs_is_known_without_a_look_but_only_in_its_thread() -> None:
    async def within() -> tuple[str | None, object]:
        def elsewhere() -> object:  # as a node that is no coroutine function does it
            return anyio.run(anyio.lowlevel.checkpoint)

        return sniffio.thread_local.name, await asyncio.to_thread(elsewhere)

    with open_runner() as runner:
        assert runner.run(within()) == ("asyncio", None)
    assert sniffio.thread_local.name is None
    anyio.run(anyio.lowlevel.checkpoint)  # refused where something runs already
