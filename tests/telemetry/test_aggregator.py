"""What is told reaches every sink that wants it, in order, by its own thread, and once."""

import sys
import threading
import time
from collections.abc import Iterator, Sequence

import pytest
from structlog.testing import capture_logs

from operations.handover import LATE, SOON, Handover
from operations.telemetry.aggregator import Aggregator
from operations.telemetry.backlog import Inbox
from operations.telemetry.record import Importance, Record
from tests.telemetry.sinks import Shelf, until
from tests.telemetry.told import Deed, Detail, Life, aggregator


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


@pytest.fixture
def gathering(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    handover = Handover()  # that of this process may have other threads that compute
    for module in ("aggregator", "lane"):
        monkeypatch.setattr(f"operations.telemetry.{module}.handover", handover)
    handover.gather()
    yield
    handover.gathered()


@pytest.mark.usefixtures("gathering")
async def test_the_event_loop_has_the_interpreter_sooner_beside_who_computes_not_who_writes() -> (
    None
):
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
    assert {name: round(seconds, 6) for name, seconds in seen.items()} == {
        "writer prepares": SOON, "writer takes": LATE, "counter takes": SOON, "sink takes": SOON,
    }  # fmt: skip


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
