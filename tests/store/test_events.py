"""The kept events of resumable runs."""

import asyncio
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from orchestration.loop.streams import StreamEvent
from orchestration.store.events import BACKLOG, PAGE_BYTES
from tests.store.shelf import open_shelf


async def test_events_are_read_in_order_from_a_number_on(tmp_path: Path) -> None:
    events = [StreamEvent(number, "custom", b'{"n":%d}' % number, "a") for number in range(1, 4)]
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


@pytest.mark.parametrize(
    ("number", "size", "read"),
    [
        (2_500, 1, [1_000, 1_000, 500]),
        (2_000, 1, [1_000, 1_000]),
        (5, PAGE_BYTES // 2, [2, 2, 1]),
        (2, PAGE_BYTES * 2, [1, 1]),
        (0, 1, []),
    ],
)
async def test_no_more_is_read_at_once_than_a_page(
    tmp_path: Path, number: int, size: int, read: list[int]
) -> None:
    async with open_shelf(tmp_path) as shelf:
        await shelf.accept("a")
        for place in range(1, number + 1):
            await shelf.events.room()
            shelf.events.append("a", StreamEvent(place, "custom", b"1" * size))
        pages = [page async for page in shelf.events.pages("a", 0)]
    assert [len(page) for page in pages] == read
    assert [event.number for page in pages for event in page] == list(range(1, number + 1))


async def test_a_number_is_taken_once(tmp_path: Path) -> None:
    async with open_shelf(tmp_path) as shelf:
        await shelf.accept("a")
        for data in (b"1", b"2"):
            shelf.events.append("a", StreamEvent(1, "custom", data))
        assert await shelf.events.after("a", 0) == [StreamEvent(1, "custom", b"1", "a")]


async def test_an_event_of_a_run_that_is_gone_is_not_kept(tmp_path: Path) -> None:
    async with open_shelf(tmp_path) as shelf:
        shelf.events.append("a", StreamEvent(1, "end", b"null"))
        assert await shelf.events.after("a", 0) == []


async def test_the_store_is_full_until_what_waits_is_written(tmp_path: Path) -> None:
    half = b'"%s"' % (b"x" * (BACKLOG // 2))
    async with open_shelf(tmp_path) as shelf:
        await shelf.accept("a")
        shelf.events.append("a", StreamEvent(1, "custom", half))
        assert not shelf.events.full
        shelf.events.append("a", StreamEvent(2, "custom", half))
        assert shelf.events.full
        async with asyncio.TaskGroup() as runs:
            for _ in range(3):
                runs.create_task(shelf.events.room())
        assert not shelf.events.full
        kept = [event.number async for page in shelf.events.pages("a", 0) for event in page]
        assert kept == [1, 2]


async def test_an_event_that_cannot_be_written_is_told_of_and_makes_room(tmp_path: Path) -> None:
    refusing = """
        CREATE TRIGGER refuse BEFORE INSERT ON run_events WHEN NEW.number = 1
        BEGIN SELECT RAISE(ABORT, 'no'); END
    """
    async with open_shelf(tmp_path) as shelf:
        await shelf.accept("a")
        await shelf.database.write(lambda connection: connection.execute(refusing).close())
        with capture_logs() as logs:
            shelf.events.append("a", StreamEvent(1, "custom", b"1" * BACKLOG))
            shelf.events.append("a", StreamEvent(2, "custom", b"2"))
            await shelf.events.room()
        assert [event.number for event in await shelf.events.after("a", 0)] == [2]
    assert [(log["run_id"], log["number"]) for log in logs] == [("a", 1)]


async def test_an_event_of_a_store_that_is_closed_costs_its_run_nothing(tmp_path: Path) -> None:
    async with open_shelf(tmp_path) as shelf:
        await shelf.accept("a")
    with capture_logs() as logs:
        shelf.events.append("a", StreamEvent(1, "custom", b"1"))
    assert [log["reason"] for log in logs] == ["DatabaseClosed"]
    assert not shelf.events.full
