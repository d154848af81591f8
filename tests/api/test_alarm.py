"""The timer of a stream, on virtual time."""

import asyncio
from collections.abc import Callable

from orchestration.api.alarm import Alarm
from tests.agents.puppets import on_virtual_time


def rings(play: Callable[[Alarm, asyncio.AbstractEventLoop], None]) -> list[float]:
    """Return when an alarm rings in ten seconds."""
    rung: list[float] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        alarm = Alarm(lambda: rung.append(loop.time()))
        play(alarm, loop)
        await asyncio.sleep(10)

    on_virtual_time(main)
    return rung


def test_an_alarm_rings_once() -> None:
    assert rings(lambda alarm, _: alarm.set(2)) == [2]


def test_an_alarm_that_is_set_anew_rings_at_the_new_time_whether_later_or_sooner() -> None:
    def later(alarm: Alarm, loop: asyncio.AbstractEventLoop) -> None:
        alarm.set(2)
        loop.call_at(1, alarm.set, 3)

    def sooner(alarm: Alarm, loop: asyncio.AbstractEventLoop) -> None:
        alarm.set(9)
        loop.call_at(1, alarm.set, 3)

    assert [rings(later), rings(sooner)] == [[4], [4]]


def test_an_alarm_can_be_set_again_once_it_has_rung() -> None:
    def play(alarm: Alarm, loop: asyncio.AbstractEventLoop) -> None:
        alarm.set(2)
        loop.call_at(3, alarm.set, 1)

    assert rings(play) == [2, 4]


def test_an_alarm_that_was_stopped_rings_only_if_it_is_set_again() -> None:
    def play(alarm: Alarm, loop: asyncio.AbstractEventLoop) -> None:
        alarm.set(2)
        loop.call_at(1, alarm.stop)
        loop.call_at(5, alarm.set, 1)

    assert rings(play) == [6]
