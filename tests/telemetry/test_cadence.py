"""When what is told is handed on: in time, in parts if it is much, the audit before the rest."""

import time
from collections.abc import Sequence

import pytest

from operations.telemetry.aggregator import LONGER, MUCH, PART
from operations.telemetry.record import Record
from tests.telemetry.sinks import Shelf, until
from tests.telemetry.told import Deed, Detail, aggregator


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

    told = PART + 1
    given = {"capacity": 2 * told, "cadence": 3_600.0}
    async with aggregator(counters=[Counter()], writers=[Scribe()], **given) as telemetry:
        for number in range(told):
            telemetry.emit(Detail(number))
        await until(lambda: written)
    assert computed == [PART, 1]
    assert written == [told]


async def test_the_audit_does_not_wait_as_long_as_the_rest() -> None:
    waiting = list[int]()

    class Trail(Shelf):
        def take(self, batch: Sequence[Record]) -> None:
            waiting.append(telemetry.waiting)
            super().take(batch)

    trail, shelf = Trail("trail"), Shelf()
    telemetry = aggregator(shelf, trail=trail, cadence=0.5)
    for number in range(MUCH):
        telemetry.emit(Detail(number))
    async with telemetry:
        await until(lambda: len(shelf.records) == MUCH)
        telemetry.emit(Detail(MUCH))
        telemetry.emit(Deed(MUCH + 1))
        await until(lambda: len(shelf.records) == MUCH + 2)
    assert trail.events == [Deed(MUCH + 1)]
    assert waiting == [2]
    assert shelf.events[-2:] == [Detail(MUCH), Deed(MUCH + 1)]


async def test_the_end_waits_for_no_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("operations.telemetry.aggregator.REST", 3_600.0)
    shelf = Shelf()
    telemetry = aggregator(shelf, capacity=20 * PART, cadence=3_600.0)
    async with telemetry:
        for number in range(9 * PART):
            telemetry.emit(Detail(number))
        assert not await telemetry.aclose(30.0)
    assert len(shelf.records) == 9 * PART


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
