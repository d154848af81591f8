"""The log of a thread: bounded, kept for a while, given up when room is needed."""

import asyncio

import orjson
import pytest

from orchestration.loop import threadlog
from orchestration.loop.run import Outcome, Run, RunStatus
from orchestration.loop.threadlog import ThreadLog, ThreadLogs


def a_run(number: int = 1) -> Run:
    return Run(f"run-{number}", "thread", "assistant", "graph", {}, {}, "now")


def numbers(log: ThreadLog, after: int | None = None) -> list[int]:
    listener = log.listen(after)
    log.unlisten(listener)
    return [event.number for event in listener.take()]


def statuses(log: ThreadLog) -> list[str]:
    events = [orjson.loads(event.data) for event in log.listen(0).take()]
    return [event["params"]["data"]["event"] for event in events]


def test_no_more_events_are_kept_than_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threadlog, "EVENTS", 3)
    log = ThreadLog()
    for _ in range(5):
        log.publish("custom", (), b"1")
    assert numbers(log, 0) == [3, 4, 5]


def test_no_more_bytes_are_kept_than_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threadlog, "BYTES", 10_000)
    log = ThreadLog()
    for _ in range(5):
        log.publish("custom", (), b'"%s"' % (b"x" * 4_000))
    assert numbers(log, 0) == [4, 5]
    assert log.size < 10_000


def test_the_numbers_of_the_next_log_are_higher_however_fast_the_last_was_written() -> None:
    logs = ThreadLogs()
    log = logs.open("thread")
    for _ in range(threadlog.EVENTS):
        log.publish("custom", (), b"1")
    last = log.number
    logs.forget("thread")
    assert logs.open("thread").number > last


def test_the_end_of_a_run_ends_its_subgraphs() -> None:
    log, run = ThreadLog(), a_run()
    log.enter(run)
    run.attempt = 1
    log.begin(run)
    log.lifecycle(("a:1",), "started", graph_name="a")
    log.lifecycle(("a:1", "b:2"), "started", graph_name="b")
    log.end(run, Outcome(RunStatus.INTERRUPTED))
    assert statuses(log) == ["running", "started", "started", *["interrupted"] * 3]


def test_of_many_subgraphs_those_that_ended_first_are_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(threadlog, "BRANCHES", 3)
    log, run = ThreadLog(), a_run()
    log.begin(run)
    for name in ("a:1", "b:2", "c:3", "d:4"):
        log.lifecycle((name,), "started", graph_name=name)
        if name != "b:2":
            log.lifecycle((name,), "completed")
    assert list(log.graphs) == [(), ("b:2",), ("d:4",)]


def test_the_end_of_a_run_that_never_began_is_not_that_of_the_one_that_works() -> None:
    log, working, waiting = ThreadLog(), a_run(1), a_run(2)
    for run in (working, waiting):
        log.enter(run)
    working.attempt = 1
    log.begin(working)
    log.end(waiting, Outcome(RunStatus.INTERRUPTED))
    assert statuses(log) == ["running"]


async def test_a_log_outlives_its_run_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threadlog, "LINGER", 0.0)
    logs, run = ThreadLogs(), a_run()
    log = logs.open("thread")
    log.enter(run)
    log.publish("custom", (), b"1")
    log.leave(run)
    logs.settle("thread")
    assert logs.find("thread") is log
    while logs.find("thread") is not None:  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(0)


async def test_a_log_without_events_is_given_up_at_once() -> None:
    logs = ThreadLogs()
    logs.open("thread")
    logs.settle("thread")
    assert logs.find("thread") is None


async def test_the_longest_idle_logs_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threadlog, "IDLE_BYTES", 500)
    logs = ThreadLogs()
    for name in ("first", "second", "third"):
        logs.open(name).publish("custom", (), b'"%s"' % (b"x" * 100))
        logs.settle(name)
    assert [logs.find(name) is None for name in ("first", "second", "third")] == [
        True,
        False,
        False,
    ]
    logs.close()


async def test_logs_that_are_read_make_room_too_and_are_followed_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(threadlog, "IDLE_BYTES", 500)
    logs = ThreadLogs()
    listeners = {}
    for name in ("first", "second", "third"):
        log = logs.open(name)
        log.publish("custom", (), b'"%s"' % (b"x" * 100))
        listeners[name] = log.listen()
        logs.settle(name)
    first, third = logs.find("first"), logs.find("third")
    assert first is not None
    assert third is not None
    assert (first.empty, first.size, third.empty) == (True, 0, False)
    first.publish("custom", (), b"2")
    assert [event.number for event in listeners["first"].take()][-1] == first.number
    logs.close()


async def test_an_emptied_log_is_given_up_with_its_last_reader(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(threadlog, "IDLE_BYTES", 0)
    logs = ThreadLogs()
    log = logs.open("thread")
    log.publish("custom", (), b"1")
    listener = log.listen()
    logs.settle("thread")
    assert (logs.find("thread"), log.empty) == (log, True)
    log.unlisten(listener)
    logs.settle("thread")
    assert logs.find("thread") is None


async def test_a_log_that_is_opened_again_is_idle_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    logs = ThreadLogs()
    log = logs.open("thread")
    log.publish("custom", (), b"1")
    logs.settle("thread")
    assert logs.open("thread") is log
    monkeypatch.setattr(threadlog, "IDLE_BYTES", 0)
    logs.open("other").publish("custom", (), b"1")
    logs.settle("other")
    assert (logs.find("thread"), logs.find("other")) == (log, None)
    logs.close()


def test_a_thread_that_may_have_had_a_log_is_numbered_on_from_far_above_it() -> None:
    logs = ThreadLogs()
    assert logs.open("new", new_thread=True).number == 0
    assert 10**12 < logs.open("old").number < 2**53


async def test_a_log_that_is_closed_ends_its_readers_and_those_who_come_later() -> None:
    logs = ThreadLogs()
    log = logs.open("thread")
    listener = log.listen()
    logs.close()
    await listener.wait()
    assert (listener.closed, log.listen().closed) == (True, True)


def test_a_run_that_begins_leaves_nothing_of_the_one_before_to_who_comes_now() -> None:
    log = ThreadLog()
    log.begin(a_run(1))
    log.lifecycle(("a:1",), "started", graph_name="a")
    assert (log.ask("q"), log.ask("q")) == (True, False)
    log.answered.add("q")
    log.begin(a_run(2))
    assert (list(log.graphs), log.asked, log.answered) == ([()], set(), set())
    assert numbers(log) == [log.number]


def test_a_log_that_was_emptied_lacks_what_it_had_until_more_comes() -> None:
    log = ThreadLog()
    log.publish("custom", (), b"1")
    assert not log.lacks(0)
    log.clear()
    assert [log.lacks(after) for after in (None, 0, 1)] == [True, True, False]
    log.publish("custom", (), b"2")
    assert not log.lacks(0)


def test_who_is_reminded_is_told_alone() -> None:
    log = ThreadLog()
    reminded, other = log.listen(), log.listen()
    log.remind(reminded, [("input.requested", "input", b"1")])
    assert [orjson.loads(event.data)["method"] for event in reminded.take()] == ["input.requested"]
    assert other.take() == []


async def test_a_discarded_log_ends_its_readers_and_is_gone() -> None:
    logs = ThreadLogs()
    listener = logs.open("thread").listen()
    logs.discard("thread")
    assert (listener.closed, logs.find("thread")) == (True, None)
