"""What is told reaches every sink, in order; who hangs or fails holds up nobody else."""

import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import pytest
from structlog.testing import capture_logs

from operations.handover import SOON
from operations.telemetry.aggregator import LONGER, MUCH, REST, Aggregator
from operations.telemetry.backlog import Inbox
from operations.telemetry.lane import BATCH
from operations.telemetry.record import Importance, Record, Sink
from tests.telemetry.sinks import Shelf, until


@dataclass(frozen=True, slots=True)
class Detail:
    number: int


@dataclass(frozen=True, slots=True)
class Life:
    number: int


@dataclass(frozen=True, slots=True)
class Deed:
    number: int


IMPORTANCE: Mapping[type, Importance] = {Life: Importance.LIFECYCLE, Deed: Importance.AUDIT}


def aggregator(*sinks: Sink, **given: Any) -> Aggregator:
    given.setdefault("cadence", 0.01)
    return Aggregator(
        sinks, importance=IMPORTANCE, common={"service.name": "test"}, rng=Random(1), **given
    )


async def test_every_sink_gets_every_event_in_order_numbered_and_stamped() -> None:
    first, second = Shelf("first"), Shelf("second")
    async with aggregator(first, second) as telemetry:
        for number in range(1_000):
            telemetry.emit([Detail, Life, Deed][number % 3](number))
    for shelf in (first, second):
        assert [event.number for event in shelf.events] == list(range(1_000))
        assert [record.number for record in shelf.records] == list(range(1, 1_001))
        assert {record.common["service.name"] for record in shelf.records} == {"test"}
        assert shelf.closed


async def test_a_sink_is_given_what_it_wants_and_not_even_woken_for_the_rest() -> None:
    picky, every = Shelf("picky", kinds={Deed}), Shelf("every")
    async with aggregator(picky, every) as telemetry:
        telemetry.emit(Detail(1))
        await until(lambda: every.events == [Detail(1)])
        assert picky.asked == 0
        for event in (Life(2), Deed(3), Detail(4)):
            telemetry.emit(event)
    assert picky.events == [Deed(3)]
    assert len(every.events) == 4


@pytest.mark.parametrize("hanging", [False, True])
async def test_what_sinks_tell_at_the_end_still_gets_to_who_wants_it(hanging: bool) -> None:
    """Even if another one hangs, of whom it is not known whether it tells anything."""

    class Teller(Shelf):
        def take(self, batch: Sequence[Record]) -> None:
            super().take(batch)
            for event in batch:
                telemetry.emit(Life(event.event.number))

    hearer, other = Shelf("hearer", kinds={Life}), Shelf("other", kinds={Detail})
    telemetry = aggregator(Teller(kinds={Detail}), other, last=[hearer])
    async with telemetry:
        if hanging:
            other.gate.clear()
        telemetry.emit(Detail(7))
        await telemetry.aclose(0.3)
    other.gate.set()
    assert hearer.events == [Life(7)]


async def test_a_last_sink_is_closed_once_the_others_have_taken_theirs() -> None:
    """Else the figures that it sends at the end would lack what was counted last."""
    seen: list[int] = []

    class Slow(Shelf):
        def take(self, batch: Sequence[Record]) -> None:
            time.sleep(0.05)  # the slowness is the point
            super().take(batch)

    class Sender(Shelf):
        def close(self, grace: float) -> None:
            seen.append(len(counts.records))
            super().close(grace)

    counts = Slow("counts")
    async with aggregator(counts, last=[Sender("sender", kinds=())], cadence=60.0) as telemetry:
        for number in range(3):
            telemetry.emit(Detail(number))
    assert seen == [3]


async def test_who_only_counts_is_handed_everything_by_the_thread_that_hands_on() -> None:
    threads: set[str] = set()

    class Counter(Shelf):
        def take(self, batch: Sequence[Record]) -> None:
            threads.add(threading.current_thread().name)
            super().take(batch)

    counter, shelf = Counter("counter", kinds={Deed, Life}), Shelf()
    async with aggregator(shelf, counters=[counter]) as telemetry:
        for number in range(600):
            telemetry.emit([Detail, Life, Deed][number % 3](number))
        await until(lambda: len(shelf.records) == 600 and len(counter.records) == 400)
        assert threads == {"telemetry"}
        assert [one.name for one in telemetry.sinks] == ["shelf", "counter"]
        assert not counter.closed
        telemetry.emit(Life(600))
    assert counter.events == [event for event in shelf.events if not isinstance(event, Detail)]
    assert counter.closed


async def test_the_event_loop_has_the_interpreter_sooner_beside_who_computes_not_who_writes() -> (
    None
):
    usual = sys.getswitchinterval()
    seen: dict[str, float] = {}

    class Watch(Shelf):
        def prepare(self, batch: Sequence[Record]) -> Sequence[Record]:
            seen[f"{self.name} prepares"] = sys.getswitchinterval()
            return batch

        def take(self, batch: Sequence[Record]) -> None:
            seen[f"{self.name} takes"] = sys.getswitchinterval()
            super().take(batch)

    writer, sink, counter = Watch("writer"), Watch("sink"), Watch("counter")
    async with aggregator(counters=[counter], writers=[writer]) as telemetry:
        telemetry.emit(Life(0))
        await until(lambda: writer.records and counter.records)
    async with aggregator(sink) as telemetry:
        telemetry.emit(Life(0))
        await until(lambda: sink.records)
    assert seen == {
        "writer prepares": SOON, "writer takes": usual, "counter takes": SOON, "sink takes": SOON,
    }  # fmt: skip


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


async def test_a_writer_s_words_are_made_by_who_hands_on_and_written_by_its_own_thread() -> None:
    threads: dict[str, set[str]] = {"prepare": set(), "take": set()}

    class Scribe(Shelf):
        def prepare(self, batch: Sequence[Record]) -> Sequence[Record]:
            threads["prepare"].add(threading.current_thread().name)
            if self.failing:
                self.failing -= 1
                raise ValueError("no words for it")
            made = [record for record in batch if isinstance(record.event, Life)]
            return [Record(*record[:3], f"life {record.event.number}", {}) for record in made]

        def take(self, batch: Sequence[Record]) -> None:
            threads["take"].add(threading.current_thread().name)
            super().take(batch)

    scribe, shelf = Scribe("scribe", failing=1), Shelf()
    with capture_logs() as entries:
        async with aggregator(shelf, writers=[scribe]) as telemetry:
            telemetry.emit(Life(0))
            await until(lambda: shelf.events == [Life(0)])
            for event in (Detail(1), Life(2), Life(3)):
                telemetry.emit(event)
            await until(lambda: len(shelf.records) == 4)
            scribe.gate.clear()  # and while it hangs nobody else waits
            telemetry.emit(Life(4))
            await until(lambda: len(shelf.records) == 5)
            scribe.gate.set()
            (state,) = (one for one in telemetry.sinks if one.name == "scribe")
    assert scribe.events == ["life 2", "life 3", "life 4"]
    assert threads == {"prepare": {"telemetry"}, "take": {"sink-scribe"}}
    assert (state.failures, state.dropped) == (1, {Importance.LIFECYCLE: 1})
    assert [entry["error"] for entry in entries] == ["ValueError: no words for it"]


async def test_only_the_audit_goes_to_the_trail() -> None:
    trail, shelf = Shelf("trail"), Shelf()
    async with aggregator(shelf, trail=trail) as telemetry:
        for event in (Detail(1), Deed(2), Life(3), Deed(4)):
            telemetry.emit(event)
    assert trail.events == [Deed(2), Deed(4)]
    assert len(shelf.events) == 4


async def test_what_is_told_while_the_rest_is_taken_goes_to_the_trail_as_well(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trail, shelf = Shelf("trail"), Shelf()
    telemetry = aggregator(shelf, trail=trail)
    take, take_audit = Inbox.take, Inbox.take_audit

    def told_before(inbox: Inbox) -> list[Record]:
        telemetry.emit(Deed(1))
        return take(inbox)

    def told_after(inbox: Inbox) -> list[Record]:
        audit = take_audit(inbox)
        telemetry.emit(Deed(2))
        return audit

    monkeypatch.setattr(Inbox, "take", told_before)
    monkeypatch.setattr(Inbox, "take_audit", told_after)
    async with telemetry:
        telemetry.emit(Detail(0))
        await until(lambda: len(shelf.records) > 4)
        monkeypatch.undo()
    assert trail.events == shelf.events[1:]


async def test_nothing_is_handed_on_before_its_time_unless_it_is_much() -> None:
    shelf = Shelf()
    async with aggregator(shelf, capacity=100, cadence=3_600.0) as telemetry:
        for number in range(49):
            telemetry.emit(Detail(number))
        assert not shelf.asked
        telemetry.emit(Detail(49))
        await until(lambda: len(shelf.records) == 50)


async def test_much_is_computed_in_parts_and_written_at_once() -> None:
    computed, written = list[int](), list[int]()

    class Counter(Shelf):
        def take(self, batch: Sequence[Record]) -> None:
            computed.append(len(batch))

    class Scribe(Shelf):
        def take(self, batch: Sequence[Record]) -> None:
            written.append(len(batch))

    told = 2 * MUCH + 1
    given = {"capacity": 2 * told, "cadence": 3_600.0}
    async with aggregator(counters=[Counter()], writers=[Scribe()], **given) as telemetry:
        for number in range(told):
            telemetry.emit(Detail(number))
        await until(lambda: written)
    assert computed == [MUCH, MUCH, 1]
    assert written == [told]


async def test_the_audit_does_not_wait_as_long_as_the_rest() -> None:
    taken: dict[str, list[float]] = {"trail": [], "shelf": []}

    class Timed(Shelf):
        def take(self, batch: Sequence[Record]) -> None:
            taken[self.name].append(time.monotonic())
            super().take(batch)

    trail, shelf, cadence = Timed("trail"), Timed("shelf"), 0.05
    async with aggregator(shelf, trail=trail, cadence=cadence) as telemetry:
        for number in range(MUCH):
            telemetry.emit(Detail(number))
        await until(lambda: len(shelf.records) == MUCH)
        telemetry.emit(Detail(MUCH))
        telemetry.emit(Deed(MUCH + 1))
        await until(lambda: len(shelf.records) == MUCH + 2)
    assert trail.events == [Deed(MUCH + 1)]
    assert shelf.events[-2:] == [Detail(MUCH), Deed(MUCH + 1)]
    assert taken["shelf"][-1] - taken["trail"][0] > 2 * cadence


async def test_what_a_thread_that_dies_had_in_hand_is_handed_on() -> None:
    class Deadly(Shelf):
        def take(self, batch: Sequence[Record]) -> None:
            if self.failing:
                self.failing -= 1
                raise SystemExit
            super().take(batch)

    counter, shelf = Deadly(failing=1), Shelf()
    told = 3 * MUCH
    with capture_logs():
        async with aggregator(shelf, counters=[counter], capacity=2 * told) as telemetry:
            for number in range(told):
                telemetry.emit(Detail(number))
            await until(lambda: len(shelf.records) == told)
    assert [event.number for event in shelf.events] == list(range(told))
    assert len(counter.records) == told - MUCH


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


async def test_the_end_waits_for_no_rests() -> None:
    shelf = Shelf()
    telemetry = aggregator(shelf, capacity=200 * MUCH, cadence=3_600.0)
    async with telemetry:
        for number in range(90 * MUCH):
            telemetry.emit(Detail(number))
        assert not await telemetry.aclose(90 * REST)
    assert len(shelf.records) == 90 * MUCH


async def test_after_much_it_takes_longer_until_the_next_is_handed_on() -> None:
    shelf = Shelf()
    telemetry = aggregator(shelf, cadence=0.05)
    for number in range(MUCH):
        telemetry.emit(Detail(number))
    async with telemetry:
        await until(lambda: len(shelf.records) == MUCH)
        told_at = time.monotonic()
        telemetry.emit(Detail(MUCH))
        await until(lambda: len(shelf.records) == MUCH + 1)
        assert time.monotonic() - told_at >= 0.05 * (LONGER - 0.5)


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


async def test_closing_twice_or_without_having_begun_does_nothing() -> None:
    telemetry = aggregator(Shelf())
    assert await telemetry.aclose() == ()
    async with telemetry:
        assert await telemetry.aclose() == []
        assert await telemetry.aclose() == ()


def tell_from_threads(telemetry: Aggregator) -> list[threading.Thread]:
    """Tell of 2,000 events, from four threads at once."""

    def tell() -> None:
        for number in range(500):
            telemetry.emit(Life(number))

    threads = [threading.Thread(target=tell) for _ in range(4)]
    for thread in threads:
        thread.start()
    return threads


async def test_told_from_many_threads_at_once_nothing_is_lost_and_nothing_twice() -> None:
    shelf = Shelf()
    async with aggregator(shelf) as telemetry:
        threads = tell_from_threads(telemetry)
        await until(lambda: not any(thread.is_alive() for thread in threads))
    assert sorted(record.number for record in shelf.records) == list(range(1, 2_001))


async def test_what_finds_no_room_is_counted_and_nothing_comes_twice() -> None:
    shelf = Shelf()
    telemetry = aggregator(shelf, capacity=64)
    threads = tell_from_threads(telemetry)
    await until(lambda: not any(thread.is_alive() for thread in threads))
    async with telemetry:
        more = tell_from_threads(telemetry)
        await until(lambda: not any(thread.is_alive() for thread in more))
    numbers = [record.number for record in shelf.records]
    dropped = [*telemetry.dropped.values(), *telemetry.sinks[0].dropped.values()]
    assert numbers == sorted(set(numbers))
    assert len(numbers) + sum(dropped) == 4_000
    assert sum(dropped)
