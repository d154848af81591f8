"""The kept events of resumable runs."""

from pathlib import Path

from orchestration.loop.streams import StreamEvent
from tests.store.shelf import open_shelf


async def test_events_are_read_in_order_from_a_number_on(tmp_path: Path) -> None:
    events = [StreamEvent(number, "custom", b'{"n":%d}' % number) for number in range(1, 4)]
    async with open_shelf(tmp_path) as shelf:
        await shelf.accept("a")
        await shelf.accept("b")
        assert shelf.events.last("a") == 0
        for event in (events[1], events[0], events[2], events[0]):
            shelf.events.append("a", event)
        shelf.events.append("b", events[0])
        assert await shelf.events.after("a", 0) == events
        assert await shelf.events.after("a", 2) == events[2:]
        assert await shelf.events.after("a", 10**15) == []
        assert shelf.events.last("a") == 3


async def test_a_number_is_taken_once(tmp_path: Path) -> None:
    async with open_shelf(tmp_path) as shelf:
        await shelf.accept("a")
        for data in (b"1", b"2"):
            shelf.events.append("a", StreamEvent(1, "custom", data))
        assert await shelf.events.after("a", 0) == [StreamEvent(1, "custom", b"1")]


async def test_an_event_of_a_run_that_is_gone_is_not_kept(tmp_path: Path) -> None:
    async with open_shelf(tmp_path) as shelf:
        shelf.events.append("a", StreamEvent(1, "end", b"null"))
        assert await shelf.events.after("a", 0) == []
