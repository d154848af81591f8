"""Items that live for a time: never seen afterwards, prolonged by reads, swept in the end."""

import asyncio
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from langgraph.store.base import PutOp, TTLConfig

from orchestration.store import items
from tests.store.items import Shop, open_items

HOUR = 3600.0


async def _shown(shop: Shop) -> list[bool]:
    """Tell whether the item is there to a read, a search and a list, prolonging nothing."""
    return [
        await shop.store.aget(("a",), "k", refresh_ttl=False) is not None,
        bool(await shop.store.asearch((), refresh_ttl=False)),
        bool(await shop.store.alist_namespaces()),
    ]


async def test_an_item_is_not_seen_once_it_has_expired_swept_or_not(tmp_path: Path) -> None:
    async with open_items(tmp_path) as shop:
        await shop.store.aput(("a",), "k", {}, ttl=60)
        shop.clock.at += HOUR - 1
        before = await _shown(shop)
        shop.clock.at += 1
        after = await _shown(shop)
        kept = await shop.rows("items")
    assert (before, after, kept) == ([True] * 3, [False] * 3, 1)


@pytest.mark.parametrize(
    ("ttl", "asked", "lives_on"),
    [
        (None, None, True),
        (None, False, False),
        ({"refresh_on_read": True}, None, True),
        ({"refresh_on_read": True}, False, False),
        ({"refresh_on_read": False}, None, False),
        ({"refresh_on_read": False}, True, True),
    ],
)
@pytest.mark.parametrize("by", ["get", "search"])
async def test_a_read_prolongs_an_item_if_it_is_asked_or_meant_to(
    tmp_path: Path, by: str, ttl: TTLConfig | None, asked: bool | None, lives_on: bool
) -> None:
    async with open_items(tmp_path, ttl=ttl) as shop:
        await shop.store.aput(("a",), "k", {}, ttl=60)
        await shop.store.aput(("a",), "for ever", {})
        shop.clock.at += HOUR / 2
        if by == "get":
            await shop.store.aget(("a",), "k", refresh_ttl=asked)
        else:
            await shop.store.asearch(("a",), refresh_ttl=asked)
        await shop.database.settled()
        shop.clock.at += HOUR * 0.75
        shown = await shop.store.aget(("a",), "k", refresh_ttl=False) is not None
        other = await shop.store.aget(("a",), "for ever")
    assert shown == lives_on
    assert other is not None


@pytest.mark.parametrize(
    ("given", "shown"), [({}, False), ({"ttl": None}, True), ({"ttl": 120}, True)]
)
async def test_the_default_time_to_live_is_for_puts_that_name_none(
    tmp_path: Path, given: dict[str, Any], shown: bool
) -> None:
    async with open_items(tmp_path, ttl={"default_ttl": 60}) as shop:
        await shop.store.aput(("a",), "k", {}, **given)
        shop.clock.at += HOUR * 1.5
        assert await _shown(shop) == [shown] * 3


async def test_a_put_begins_the_time_to_live_anew_and_can_end_it(tmp_path: Path) -> None:
    async with open_items(tmp_path) as shop:
        await shop.store.aput(("a",), "k", {}, ttl=60)
        shop.clock.at += HOUR / 2
        await shop.store.aput(("a",), "k", {}, ttl=60)
        shop.clock.at += HOUR * 0.75
        anew = await _shown(shop)
        await shop.store.aput(("a",), "k", {})
        shop.clock.at += HOUR * 100
        for_ever = await _shown(shop)
    assert anew == for_ever == [True] * 3


async def test_what_is_put_in_the_place_of_an_expired_item_is_a_new_one(tmp_path: Path) -> None:
    async with open_items(tmp_path) as shop:
        await shop.store.aput(("a",), "k", {}, ttl=60)
        first = await shop.store.aget(("a",), "k")
        shop.clock.at += HOUR * 2
        await shop.store.aput(("a",), "k", {})
        second = await shop.store.aget(("a",), "k")
    assert first is not None
    assert second is not None
    assert second.created_at > first.created_at


async def test_the_sweep_deletes_what_has_expired_in_small_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(items, "_SWEPT_AT_ONCE", 3)
    async with open_items(tmp_path) as shop:
        for number in range(7):
            await shop.store.aput(("a",), str(number), {}, ttl=60)
        await shop.store.aput(("a",), "later", {}, ttl=180)
        await shop.store.aput(("a",), "for ever", {})
        shop.clock.at += HOUR * 2
        swept = [await shop.store.sweep() for _ in range(4)]
        left = await shop.rows("items")
    assert (swept, left) == ([3, 3, 1, 0], 2)


async def test_what_gets_the_id_of_an_item_that_was_read_does_not_live_longer_for_it(
    tmp_path: Path,
) -> None:
    async with open_items(tmp_path) as shop:
        await shop.store.aput(("mine",), "k", {}, ttl=60)
        writing = Event()
        held = shop.database.write(lambda _: writing.wait())
        swap = [PutOp(("mine",), "k", None), PutOp(("others",), "k", {}, ttl=60)]
        swapping = asyncio.create_task(shop.store.abatch(swap))
        await asyncio.sleep(0)  # it is queued behind what is held
        shop.clock.at += HOUR / 2
        read = await shop.store.aget(("mine",), "k", refresh_ttl=True)
        writing.set()
        await asyncio.gather(held, swapping)
        await shop.database.settled()
        (other,) = shop.database.all("SELECT item_id, expires_at FROM items")
    assert read is not None
    assert tuple(other) == (1, shop.clock.at + HOUR / 2)
