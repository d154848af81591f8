"""The events of a run, and those who listen now, later, or too slowly."""

import asyncio
import time
from collections.abc import Callable
from functools import partial

import pytest

from orchestration.loop import streams
from orchestration.loop.streams import Listener, RunStream, StreamEvent
from orchestration.loop.threadlog import ThreadLog
from orchestration.loop.watchers import Watchers
from tests.loop.stage import new_run


def numbers(listener: Listener) -> list[int]:
    return [event.number for event in listener.take()]


def test_nobody_wants_what_nobody_listens_to() -> None:
    stream = RunStream()
    assert not stream.wanted
    listener = stream.listen()
    assert stream.wanted
    stream.leave(listener)
    assert not stream.wanted


def test_every_listener_sees_what_comes_after_it_came() -> None:
    stream = RunStream()
    first = stream.listen()
    stream.publish("a", b"1")
    second = stream.listen()
    stream.publish("b", b"2")
    assert [event.name for event in first.take()] == ["a", "b"]
    assert [event.name for event in second.take()] == ["b"]


def _of_a_run() -> tuple[Callable[[], Listener], Callable[[Listener], None]]:
    stream = RunStream()
    return stream.listen, stream.leave


def _of_a_thread() -> tuple[Callable[[], Listener], Callable[[Listener], None]]:
    run = new_run("run", "thread")
    watchers = Watchers(lambda _: [run])
    return partial(watchers.watch, "thread"), partial(watchers.unwatch, "thread")


def _of_a_log() -> tuple[Callable[[], Listener], Callable[[Listener], None]]:
    log = ThreadLog()
    return log.listen, log.unlisten


@pytest.mark.parametrize("of", [_of_a_run, _of_a_thread, _of_a_log])
def test_each_of_many_listeners_leaves_at_once(
    of: Callable[[], tuple[Callable[[], Listener], Callable[[Listener], None]]],
) -> None:
    listen, leave = of()
    listeners = [listen() for _ in range(20_000)]
    began = time.process_time()
    for listener in reversed(listeners):
        leave(listener)
    assert time.process_time() - began < 2, "searched for among all others, it takes far more"


def test_what_is_kept_can_be_read_from_any_number_on() -> None:
    stream = RunStream()
    stream.keep()
    for _ in range(4):
        stream.publish("a", b"1")
    listeners = [stream.listen(after) for after in (None, 0, 2, 4, 99)]
    assert [numbers(listener) for listener in listeners] == [[], [1, 2, 3, 4], [3, 4], [], []]


def test_numbers_go_on_from_those_before_a_restart() -> None:
    stream = RunStream()
    stream.keep(after=7)
    assert stream.first == 8
    stream.publish("a", b"1")
    assert (stream.first, numbers(stream.listen(0))) == (8, [8])


def test_a_history_forgets_its_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "HISTORY_LIMIT", 3)
    stream = RunStream()
    stream.keep()
    for _ in range(5):
        stream.publish("a", b"1")
    assert (stream.first, numbers(stream.listen(0))) == (3, [3, 4, 5])


def test_a_stream_that_is_closed_gives_what_it_kept_and_then_its_end() -> None:
    stream = RunStream()
    stream.keep()
    early = stream.listen()
    stream.publish("end", b"null")
    stream.close()
    stream.publish("late", b"1")
    late = stream.listen(0)
    for listener in (early, late):
        assert (numbers(listener), listener.closed, listener.overflowed) == ([1], True, False)
    stream.leave(early)


def test_a_listener_too_far_behind_is_closed_with_what_it_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(streams, "LISTENER_LIMIT", 2)
    stream = RunStream()
    listener = stream.listen()
    for _ in range(4):
        stream.publish("a", b"1")
    assert (numbers(listener), listener.closed, listener.overflowed) == ([1, 2], True, True)


def test_a_tap_hears_everything_until_it_is_taken_off() -> None:
    stream = RunStream()
    heard: list[StreamEvent] = []
    stream.tap(heard.append)
    stream.publish("a", b"1")
    assert stream.wanted
    stream.untap(heard.append)
    stream.publish("b", b"2")
    assert [event.name for event in heard] == ["a"]


async def test_waiting_ends_when_something_comes_or_nothing_will() -> None:
    listener = Listener()
    put = partial(listener.put_nowait, StreamEvent(1, "a", b"1"))
    for change in (put, listener.close):
        waiting = asyncio.create_task(listener.wait())
        await asyncio.sleep(0)
        assert not waiting.done()
        change()
        await waiting
        listener.take()
    await listener.wait()


async def test_a_reader_that_gives_up_waiting_misses_nothing() -> None:
    listener = Listener()
    waiting = asyncio.create_task(listener.wait())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait({waiting})
    listener.put_nowait(StreamEvent(1, "a", b"1"))
    await listener.wait()
    assert numbers(listener) == [1]
