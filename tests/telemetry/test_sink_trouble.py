"""Sinks that hang or fail, and threads that die: nobody waits, and what is lost is counted."""

import threading
import time
from collections.abc import Sequence
from typing import Any

from structlog.testing import capture_logs

from operations.telemetry.aggregator import PART
from operations.telemetry.lane import BATCH
from operations.telemetry.record import Importance, Record
from tests.telemetry.sinks import Shelf, until
from tests.telemetry.told import Deed, Detail, Life, aggregator


async def test_who_counts_and_fails_holds_up_nobody_and_is_not_given_it_again() -> None:
    counter, shelf = Shelf("counter", failing=2), Shelf()
    with capture_logs() as entries:
        async with aggregator(shelf, counters=[counter]) as telemetry:
            for number in range(3):
                telemetry.emit(Life(number))
                await until(lambda: len(shelf.records) == number + 1)  # noqa: B023 - called here
            (state,) = (one for one in telemetry.sinks if one.name == "counter")
    assert counter.events == [Life(2)]
    assert (state.failures, state.dropped) == (2, {Importance.LIFECYCLE: 2})
    assert [entry["sink"] for entry in entries] == ["counter"]  # and once a minute at most


async def test_what_a_thread_that_dies_had_in_hand_is_handed_on() -> None:
    class Deadly(Shelf):
        def take(self, batch: Sequence[Record]) -> None:
            if self.failing:
                self.failing -= 1
                raise SystemExit
            super().take(batch)

    counter, shelf = Deadly(failing=1), Shelf()
    told = 3 * PART
    with capture_logs():
        async with aggregator(shelf, counters=[counter], capacity=2 * told) as telemetry:
            for number in range(told):
                telemetry.emit(Detail(number))
            await until(lambda: len(shelf.records) == told)
    assert [event.number for event in shelf.events] == list(range(told))
    assert len(counter.records) == told - PART


async def test_the_audit_that_a_thread_that_dies_had_in_hand_is_in_the_trail() -> None:
    class Deadly(Shelf):
        def prepare(self, batch: Sequence[Record]) -> Sequence[Record]:
            if self.failing:
                self.failing -= 1
                raise SystemExit
            return batch

    trail = Deadly("trail", failing=1)
    with capture_logs():
        async with aggregator(trail=trail) as telemetry:
            telemetry.emit(Deed(1))
            await until(lambda: trail.events)
            telemetry.emit(Deed(2))
    assert trail.events == [Deed(1), Deed(2)]


async def test_the_oldest_of_the_least_important_are_dropped_and_counted_but_never_the_audit() -> (
    None
):
    shelf, trail = Shelf(), Shelf("trail")
    telemetry = aggregator(shelf, trail=trail, capacity=10)
    for number in range(6):
        telemetry.emit(Detail(number))
    for number in range(6):
        telemetry.emit(Life(number))
    for number in range(12):
        telemetry.emit(Deed(number))
    telemetry.emit(Life(6))
    assert telemetry.dropped == {Importance.DETAIL: 6, Importance.LIFECYCLE: 7}
    async with telemetry:
        await until(lambda: len(trail.records) == 12)
    assert [event.number for event in trail.events] == list(range(12))


async def test_a_sink_that_hangs_holds_up_no_other_and_not_the_end() -> None:
    hung, shelf = Shelf("hung"), Shelf()
    hung.gate.clear()
    async with aggregator(hung, shelf) as telemetry:
        telemetry.emit(Detail(1))
        await until(lambda: hung.asked and shelf.records)
        state = {one.name: one for one in telemetry.sinks}["hung"]
        assert state.busy > 0
        begun = time.monotonic()
        assert await telemetry.aclose(grace=0.2) == ["hung"]
        assert time.monotonic() - begun < 2
    hung.gate.set()


async def test_what_a_hanging_sink_does_not_take_is_bounded_and_counted() -> None:
    hung, shelf = Shelf("hung"), Shelf()
    hung.gate.clear()
    async with aggregator(hung, shelf, capacity=100) as telemetry:
        telemetry.emit(Detail(-1))
        await until(lambda: hung.asked)
        for number in range(2_000):
            telemetry.emit(Detail(number) if number % 2 else Life(number))
            if number % 40 == 39:
                await until(lambda: len(shelf.records) == number + 2)  # noqa: B023 - called here
        state = {one.name: one for one in telemetry.sinks}["hung"]
        assert state.waiting <= 100
        assert sum(state.dropped.values()) + state.waiting == 2_000
        assert state.dropped[Importance.DETAIL] == 1_000
        hung.gate.set()
        await until(lambda: len(hung.records) == state.waiting + 1)
    numbers = [record.number for record in hung.records]
    assert numbers == sorted(numbers)


async def test_a_sink_that_fails_gets_the_same_again_and_is_reported_once() -> None:
    failing = Shelf(failing=3)
    with capture_logs() as logs:
        async with aggregator(failing) as telemetry:
            for number in range(BATCH + 1):
                telemetry.emit(Detail(number))
            await until(lambda: len(failing.records) == BATCH + 1)
            assert telemetry.sinks[0].failures == 3
            assert telemetry.sinks[0].delivered_at is not None
    assert [event.number for event in failing.events] == list(range(BATCH + 1))
    reported = [entry for entry in logs if entry["log_level"] == "warning"]
    assert [entry["error"] for entry in reported] == ["ConnectionError: nobody there"]


async def test_a_sink_that_fails_for_good_does_not_hold_up_the_end() -> None:
    failing = Shelf(failing=1_000_000)
    async with aggregator(failing) as telemetry:
        telemetry.emit(Detail(1))
        await until(lambda: failing.asked)
        begun = time.monotonic()
        assert await telemetry.aclose(grace=1.0) == []
        assert time.monotonic() - begun < 2
    assert telemetry.sinks[0].dropped == {Importance.DETAIL: 1}
    assert failing.closed


async def test_when_the_thread_dies_the_event_loop_stands_in_and_another_is_started() -> None:
    shelf = Shelf()
    async with aggregator(shelf) as telemetry:
        telemetry.emit(Detail(1))
        await until(lambda: shelf.records)
        lane = telemetry._lanes[0]  # noqa: SLF001 - nothing outside can kill it
        put, threads = lane.put, list[str]()

        def deadly(batch: Any) -> None:
            threads.append(threading.current_thread().name)
            if len(threads) == 1:
                raise SystemExit
            put(batch)

        lane.put = deadly  # type: ignore[method-assign]
        with capture_logs() as logs:
            telemetry.emit(Detail(2))
            await until(lambda: threads)
            telemetry.emit(Detail(3))
            await until(lambda: shelf.events[-1] == Detail(3))
            await until(lambda: telemetry.restarts == 1)
            telemetry.emit(Detail(4))
            await until(lambda: shelf.events[-1] == Detail(4))
    assert threads == ["telemetry", "MainThread", "telemetry"]
    assert [entry["log_level"] for entry in logs] == ["error"]
