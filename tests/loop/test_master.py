"""A run's way to its turn: who is let in, what waits where, and who hears of it."""

import asyncio
from typing import Any

import pytest

from operations.errors import StorageFull
from orchestration.loop.admission import Limits
from orchestration.loop.errors import Draining, QueueFull, ThreadBusy, ThreadNotFound
from orchestration.loop.events import RunRejected
from orchestration.loop.run import Ending, MultitaskStrategy, Outcome, Place, RunStatus
from orchestration.loop.threadlog import LINGER
from orchestration.loop.watchers import Watchers
from tests.loop.stage import Stage, outcome, play


def test_a_run_goes_from_acceptance_to_its_outcome() -> None:
    async def main(stage: Stage) -> None:
        run = await stage.submit("a")
        await stage.quiet()
        stage.end("a", b'{"x":1}')
        await stage.quiet()
        assert outcome(run) == Outcome(RunStatus.SUCCESS, b'{"x":1}')
        told = [type(event).__name__ for event in stage.events]
        assert told[:2] == ["RunAccepted", "RunStarted"]
        assert told[2:] == ["RunEnded"]
        assert stage.store.writes == [("accept", "a"), ("finish", "a")]
        assert (run.place, stage.loop.working, stage.loop.all_live()) == (Place.GONE, 0, ())

    play(main)


def test_a_delayed_run_starts_when_its_time_has_come_and_counts_as_waiting_until_then() -> None:
    async def main(stage: Stage) -> None:
        run = await stage.submit("a", delay=5.0)
        assert (run.place, stage.loop.waiting) == (Place.DELAYED, 1)
        await asyncio.sleep(4.9)
        assert stage.loop.standing(run).why == "it starts in 0.1 s"
        assert stage.executor.order == []
        await asyncio.sleep(0.2)
        assert (stage.executor.order, stage.loop.waiting) == (["a"], 0)

    play(main)


def test_no_more_run_at_once_than_there_are_slots() -> None:
    async def main(stage: Stage) -> None:
        runs = [await stage.submit(name) for name in "abc"]
        await stage.quiet()
        assert (stage.executor.order, stage.loop.working, stage.loop.waiting) == (["a", "b"], 2, 1)
        assert stage.loop.standing(runs[2]).why.endswith("2 of 2 slots busy")
        stage.end("a")
        await stage.quiet()
        assert stage.executor.order == ["a", "b", "c"]

    play(main)


def test_what_is_refused_is_reported_and_leaves_nothing() -> None:
    async def main(stage: Stage) -> None:
        await stage.submit("a", "thread")
        await stage.submit("b")
        await stage.submit("waiting")
        for given, error in (
            ({"thread_id": "thread", "multitask_strategy": MultitaskStrategy.REJECT}, ThreadBusy),
            ({"thread_id": "missing"}, QueueFull),
        ):
            with pytest.raises(error):
                await stage.submit("x", **given)
        stage.loop.cancel(stage.loop.on_thread("thread of waiting")[0], Ending.INTERRUPT)
        with pytest.raises(ThreadNotFound):
            await stage.submit("x", "missing")
        stage.store.full = StorageFull("no room")
        with pytest.raises(StorageFull):
            await stage.submit("x")
        stage.store.full = None
        await stage.loop.drain()
        with pytest.raises(Draining):
            await stage.submit("x")
        refused = ["ThreadBusy", "QueueFull", "ThreadNotFound", "StorageFull", "Draining"]
        assert [event.reason for event in stage.kinds(RunRejected)] == refused
        assert "x" not in stage.store.status

    play(main, Limits(concurrent_runs=2, queue_capacity=1, drain_grace=0.1))


def test_who_is_refused_is_told_to_come_back_the_sooner_the_more_runs_end() -> None:
    async def main(stage: Stage) -> None:
        before = stage.loop.turn_away().retry_after
        for number in range(200):
            await stage.submit(f"{number}")
            await stage.quiet()
            stage.end(f"{number}")
            await stage.quiet()
        assert stage.loop.turn_away().retry_after < before / 2

    play(main, Limits(queue_capacity=10))


def test_a_run_that_is_not_taken_while_it_waits_leaves_its_thread_to_others() -> None:
    async def main(stage: Stage) -> None:
        await stage.submit("a")
        stage.store.full = StorageFull("no room")
        with pytest.raises(StorageFull):
            await stage.submit("b", "thread")
        stage.store.full = None
        await stage.submit("c", "thread")
        await stage.quiet()
        stage.end("a")
        await stage.quiet()
        assert stage.executor.order == ["a", "c"]

    play(main, Limits(concurrent_runs=1))


def test_a_thread_whose_runs_have_ended_takes_one_that_rejects_others() -> None:
    async def main(stage: Stage) -> None:
        for run_id in "ab":
            await stage.submit(run_id, "t", multitask_strategy=MultitaskStrategy.REJECT)
            await stage.quiet()
            stage.end(run_id)
            await stage.quiet()
        assert stage.executor.order == ["a", "b"]

    play(main)


def test_a_log_is_given_up_a_while_after_its_last_run_has_ended() -> None:
    async def main(stage: Stage) -> None:
        log = stage.loop.logs.open("t")
        reader = log.listen()
        await stage.submit("a", "t")
        await stage.quiet()
        log.unlisten(reader)
        stage.loop.logs.settle("t")  # as who reads does; a run writes it still
        stage.end("a")
        await stage.quiet()
        assert stage.loop.logs.find("t") is log
        await asyncio.sleep(LINGER + 1)
        assert stage.loop.logs.find("t") is None

    play(main)


async def test_who_watches_a_thread_after_the_stop_sees_the_end_at_once() -> None:
    watchers = Watchers(lambda _: ())
    watchers.close()
    assert watchers.watch("thread").closed


def test_who_watches_a_thread_hears_of_runs_before_and_after() -> None:
    async def main(stage: Stage) -> None:
        first = await stage.submit("first", "thread")
        listener = stage.loop.watchers.watch("thread")
        second = await stage.submit("second", "thread")
        for run in (first, second):
            await stage.quiet()
            run.stream.publish("custom", b"1")
            stage.end(run.run_id)
        await stage.quiet()
        heard = [event.name for event in listener.take()]
        stage.loop.watchers.unwatch("thread", listener)
        third = await stage.submit("third", "thread")
        third.stream.publish("custom", b"1")
        assert heard == ["custom", "end", "metadata"] * 2
        assert listener.take() == []

    play(main)


def test_each_place_has_its_sentence() -> None:
    async def main(stage: Stage) -> None:
        given: list[tuple[str, str | None, dict[str, Any]]] = [
            ("working", None, {}),
            ("line", "thread of working", {}),
            ("parked", None, {"graph_id": "graph"}),
            ("delayed", None, {"delay": 9.0}),
            ("other", None, {"graph_id": "other"}),
            ("ready", None, {"graph_id": "other"}),
        ]
        runs = {name: await stage.submit(name, thread, **more) for name, thread, more in given}
        await stage.quiet()
        places = {name: stage.loop.standing(run).place for name, run in runs.items()}
        assert places == {
            "working": Place.WORKING,
            "line": Place.LINE,
            "parked": Place.PARKED,
            "delayed": Place.DELAYED,
            "other": Place.WORKING,
            "ready": Place.READY,
        }
        stage.end("working")
        await stage.quiet()
        assert stage.loop.standing(runs["working"]).why == "it has ended"
        assert stage.loop.live("working") is None

    play(main, Limits(concurrent_runs=2, assistant_runs={"graph": 1}))


def test_who_waits_at_a_limit_where_there_is_room_is_told_of_those_before_it() -> None:
    async def main(stage: Stage) -> None:
        await stage.submit("working", graph_id="limited")
        first = await stage.submit("first", graph_id="limited")
        second = await stage.submit("second", graph_id="limited")
        await stage.submit("other", priority=0)
        await stage.submit("another", priority=0)
        stage.end("working")
        await stage.quiet()
        assert stage.loop.standing(first).why == "0 ahead of it in priority 5; 2 of 2 slots busy"
        why = "others that wait at its limit go before it, and wait for a slot"
        assert stage.loop.standing(second).why == why

    play(main, Limits(concurrent_runs=2, assistant_runs={"limited": 1}))
