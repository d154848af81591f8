"""What holds up the event loop is named and counted, and costs nobody else a turn."""

import asyncio
import threading
import time
from collections.abc import Callable
from itertools import pairwise

import pytest
from structlog.testing import capture_logs

from operations.telemetry.events import LoopBlocked, LoopTurned
from operations.watchdog import Block, Watchdog


def hold_up(seconds: float) -> None:
    time.sleep(seconds)  # held up here


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - it comes about in a thread
            await asyncio.sleep(0)


async def held_up(watchdog: Watchdog) -> Block:
    """Hold up the loop until that is found; a busy machine may have held it up just before."""
    for _ in range(20):
        before = watchdog.last_block
        await asyncio.sleep(0.02)  # a first look
        hold_up(0.5)
        await asyncio.sleep(0.02)
        found = watchdog.last_block
        if found is not None and found is not before and "in hold_up" in found.line:
            return found
    raise AssertionError("it was never found")


async def test_the_line_that_holds_up_the_event_loop_is_named_and_counted() -> None:
    with capture_logs() as logs:
        async with Watchdog(blocked_after=0.02, period=0.01) as watchdog:
            block = await held_up(watchdog)
    (told,) = {entry["line"] for entry in logs if "in hold_up" in entry.get("line", "")}
    assert told.endswith("in hold_up: time.sleep(seconds)  # held up here")
    assert "test_watchdog.py" in told
    assert block.line == told
    assert block.seconds > 0.02
    assert watchdog.blocks


async def test_the_same_line_is_told_once_a_minute_and_counted_each_time() -> None:
    with capture_logs() as logs:
        async with Watchdog(blocked_after=0.02, period=0.01) as watchdog:
            for _ in range(3):
                await held_up(watchdog)
    told = [entry["line"] for entry in logs if "in hold_up" in entry.get("line", "")]
    assert len(told) == 1
    assert watchdog.blocks >= 3


async def test_turns_are_told_by_tens_and_a_block_at_once() -> None:
    told: list[LoopTurned | LoopBlocked] = []
    tens: list[LoopTurned] = []
    async with Watchdog(told.append, blocked_after=0.2, period=0.01) as watchdog:
        await held_up(watchdog)
        while not tens:  # it may be held up before it has made ten turns
            await asyncio.sleep(0.02)
            turns = [one for one in told if isinstance(one, LoopTurned)]
            tens = [one for one in turns if one.late[-1] < 0.2]
    assert {len(one.late) for one in tens} == {10}
    blocks = 0
    for one, following in pairwise(told):
        if isinstance(one, LoopBlocked):
            blocks += 1
            assert isinstance(following, LoopTurned)
            assert following.late[-1] == one.seconds
    assert blocks


async def test_lag_is_measured_of_a_loop_that_is_not_held_up() -> None:
    async with Watchdog(period=0.01) as watchdog:
        await until(lambda: watchdog.lag.most > 0)
        lag = watchdog.lag
    assert 0 < lag.last <= lag.most
    assert lag.p99 <= lag.most


@pytest.mark.parametrize("closed", [True, False])
def test_it_ends_with_its_event_loop(closed: bool) -> None:
    watchdog = Watchdog(period=0.01)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(watchdog.__aenter__())
    if closed:
        loop.close()
        watchdog._thread.join(5)  # noqa: SLF001 - a thread that goes on is what would go wrong
    else:
        loop.run_until_complete(watchdog.__aexit__(None, None, None))
        watchdog._thread.join(5)  # noqa: SLF001 - as above
        loop.close()
    assert not watchdog._thread.is_alive()  # noqa: SLF001 - as above


async def test_the_thread_sleeps_for_as_long_as_the_loop_cannot_be_late() -> None:
    woken = 0

    class Closing(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            nonlocal woken
            woken += 1
            return super().wait(timeout)

    watchdog = Watchdog(blocked_after=60, period=0.001)
    watchdog._closing = Closing()  # noqa: SLF001 - to count is to see how often it wakes
    async with watchdog:
        await until(lambda: len(watchdog._lags) >= 100)  # noqa: SLF001 - turns of the loop
    assert woken == 1
