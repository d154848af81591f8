"""Those who look: what they are told, once for all of them, and what the slow get."""

import asyncio
from collections.abc import Collection, Iterable

import pytest

from operations.live import Live, News


class View:
    """Live news, and what it asked of whoever makes them."""

    def __init__(self, kept: int = 100) -> None:
        self.asked: list[str] = []
        self.live = Live(
            self._snapshot,
            lambda: self.asked.append("wake"),
            lambda: self.asked.append("rest"),
            kept,
        )

    def _snapshot(self, topics: Collection[str]) -> Iterable[News]:
        return [news("before", 0, topic) for topic in sorted(topics)]

    def tell(self, *keys: str, value: int = 0, topic: str = "runs") -> None:
        self.live.publish([news(key, value, topic) for key in keys])


def news(key: str, value: int = 0, topic: str = "runs") -> News:
    return News(topic, key, str(value).encode())


def keys(told: Iterable[News]) -> list[str]:
    return [one.key for one in told]


def test_who_begins_to_look_is_shown_how_things_are_and_then_what_changes() -> None:
    view = View()
    looker, before = view.live.look(["agents", "runs"])
    view.tell("a", "b")
    assert [(one.topic, one.key) for one in before] == [("agents", "before"), ("runs", "before")]
    assert keys(looker.take()) == ["a", "b"]
    assert looker.take() == []


def test_nobody_looks_if_it_cannot_be_said_how_things_are() -> None:
    def fail(_: Collection[str]) -> Iterable[News]:
        raise LookupError

    asked: list[str] = []
    live = Live(fail, lambda: asked.append("wake"), lambda: asked.append("rest"))
    with pytest.raises(LookupError):
        live.look(["runs"])
    assert (live.lookers, asked) == (0, [])


def test_the_slow_get_the_newest_of_each_thing_and_nothing_older() -> None:
    view = View()
    looker, _ = view.live.look(["runs"])
    for value in range(5):
        view.tell("a", "b", value=value)
    view.tell("a", value=9)
    assert [(one.key, one.data) for one in looker.take()] == [("b", b"4"), ("a", b"9")]
    assert not looker.lost


def test_the_too_slow_are_told_that_something_is_missing_and_memory_is_bounded() -> None:
    view = View(kept=10)
    slow, _ = view.live.look(["runs"])
    quick, _ = view.live.look(["runs"])
    for number in range(25):
        view.tell(str(number))
        quick.take()
    assert keys(slow.take()) == [str(number) for number in range(15, 25)]
    assert (slow.lost, quick.lost) == (True, False)


def test_nobody_is_told_what_they_did_not_ask_for() -> None:
    view = View()
    looker, _ = view.live.look(["agents"])
    view.tell("a", topic="runs")
    view.tell("b", topic="agents")
    assert keys(looker.take()) == ["b"]


def test_while_nobody_looks_nothing_is_kept_and_whoever_makes_news_rests() -> None:
    view = View()
    view.tell("a")
    assert (view.asked, view.live.newest) == ([], 0)
    first, _ = view.live.look(["runs"])
    second, _ = view.live.look(["runs"])
    view.tell("a")
    view.live.leave(first)
    assert view.asked == ["wake"]
    view.live.leave(second)
    view.live.leave(second)
    assert view.asked == ["wake", "rest"]
    third, _ = view.live.look(["runs"])
    assert third.take() == []


async def test_who_waits_is_woken_by_news_and_by_the_end() -> None:
    view = View()
    looker, _ = view.live.look(["runs"])
    waits = asyncio.create_task(looker.wait())
    await asyncio.sleep(0)
    assert not waits.done()
    view.tell("a")
    await asyncio.wait_for(waits, 5)
    assert keys(looker.take()) == ["a"]
    waits = asyncio.create_task(looker.wait())
    await asyncio.sleep(0)
    view.live.close()
    await asyncio.wait_for(waits, 5)
    assert looker.closed
    late, before = view.live.look(["runs"])
    assert (late.closed, before) == (True, [])


@pytest.mark.parametrize("lookers", [10, 1_000])
def test_what_is_told_is_found_once_for_all_who_keep_up(lookers: int) -> None:
    view = View()
    everybody = [view.live.look(["runs"])[0] for _ in range(lookers)]
    for value in range(3):
        view.tell("a", "b", value=value)
        taken = [looker.take() for looker in everybody]
        assert all(one.data is taken[0][0].data for one in (told[0] for told in taken))
