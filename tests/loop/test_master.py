"""The loop over hand-made fakes: turns, endings, drains, and a store that cannot write."""

import asyncio
import tracemalloc
from typing import Any

import pytest

from operations.errors import StorageFull, StorageUnavailable
from orchestration.loop.admission import Limits
from orchestration.loop.errors import Drained, Draining, QueueFull, ThreadBusy, ThreadNotFound
from orchestration.loop.events import (
    RunEnded,
    RunRejected,
    RunRequeued,
    RunStarted,
    StateUnknown,
    StopRequested,
    WriteFailed,
    ZombieLeft,
)
from orchestration.loop.run import Ending, MultitaskStrategy, Outcome, Place, Run, RunStatus
from tests.loop.stage import Stage, new_run, play


def outcome(run: Run) -> Outcome:
    assert run.done is not None
    return run.done.result()


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


@pytest.mark.parametrize("strategy", [MultitaskStrategy.INTERRUPT, MultitaskStrategy.ROLLBACK])
def test_a_newcomer_stops_all_runs_of_its_thread_and_follows_them(
    strategy: MultitaskStrategy,
) -> None:
    async def main(stage: Stage) -> None:
        before = [await stage.submit(name, "thread") for name in "abc"]
        await stage.quiet()
        await stage.submit("new", "thread", multitask_strategy=strategy)
        await stage.quiet()
        assert {outcome(run).status for run in before} == {RunStatus.INTERRUPTED}
        assert {outcome(run).rolled_back for run in before} == {
            strategy is MultitaskStrategy.ROLLBACK
        }
        assert stage.executor.order == ["a", "new"]

    play(main)


@pytest.mark.parametrize(
    ("ending", "written", "status"),
    [(Ending.INTERRUPT, "finish", RunStatus.INTERRUPTED), (Ending.ROLLBACK, "erase", None)],
)
def test_a_cancelled_run_is_stopped_once_and_ends_as_it_was_told(
    ending: Ending, written: str, status: RunStatus | None
) -> None:
    async def main(stage: Stage) -> None:
        run = await stage.submit("a")
        await stage.quiet()
        stage.loop.cancel(run, ending)
        stage.loop.cancel(run, Ending.INTERRUPT)
        await stage.quiet()
        assert stage.executor.work["a"].cancelled == 1
        assert [event.ending for event in stage.kinds(StopRequested)] == [ending]
        assert outcome(run).rolled_back == (ending is Ending.ROLLBACK)
        assert (stage.store.writes[-1], stage.store.status.get("a")) == ((written, "a"), status)

    play(main)


def test_a_run_that_ignores_its_cancellation_gives_its_slot_back_and_is_counted() -> None:
    async def main(stage: Stage) -> None:
        stage.executor.stubborn.add("a")
        run = await stage.submit("a")
        await stage.quiet()
        stage.loop.cancel(run, Ending.INTERRUPT)
        await asyncio.sleep(2.9)
        assert (run.place, stage.loop.zombies) == (Place.WORKING, 0)
        await asyncio.sleep(0.2)
        assert (run.place, stage.loop.working, stage.loop.zombies) == (Place.GONE, 0, 1)
        assert len(stage.kinds(ZombieLeft)) == 1
        stage.end("a")
        await stage.quiet()
        assert (stage.loop.zombies, outcome(run).status) == (0, RunStatus.INTERRUPTED)
        assert stage.store.status["a"] is RunStatus.INTERRUPTED

    play(main, Limits(concurrent_runs=1, cancel_grace=3.0))


def test_a_deadline_ends_a_run_with_an_error_that_says_so() -> None:
    async def main(stage: Stage) -> None:
        run = await stage.submit("a", timeout=2.0)
        listener = run.stream.listen()
        await asyncio.sleep(2.1)
        failure = outcome(run).failure
        assert failure is not None
        assert (outcome(run).status, failure.error) == (RunStatus.TIMEOUT, "TimeoutError")
        assert failure.message == "the run took longer than 2 seconds"
        assert [event.name for event in listener.take()] == ["error", "end"]

    play(main)


def test_the_first_ending_stands() -> None:
    async def main(stage: Stage) -> None:
        expired, finished = await stage.submit("expired", timeout=1.0), await stage.submit("done")
        await stage.quiet()
        stage.executor.work["expired"].stubborn = True
        await asyncio.sleep(1.1)
        stage.loop.cancel(expired, Ending.ROLLBACK)
        stage.store.full = StorageUnavailable("locked")
        stage.end("done")
        await stage.quiet()
        stage.loop.cancel(finished, Ending.ROLLBACK)  # it has ended, which is not written yet
        stage.store.full = None
        await asyncio.sleep(20)
        assert outcome(expired).status is RunStatus.TIMEOUT
        assert outcome(finished).status is RunStatus.SUCCESS

    play(main)


@pytest.mark.parametrize("error", [ValueError("broken"), asyncio.CancelledError("from inside")])
def test_what_a_graph_raises_ends_its_run(error: BaseException) -> None:
    async def main(stage: Stage) -> None:
        run = await stage.submit("a")
        await stage.quiet()
        stage.end("a", error)
        await stage.quiet()
        failure = outcome(run).failure
        assert failure is not None
        assert (outcome(run).status, failure.error) == (RunStatus.ERROR, type(error).__name__)
        assert outcome(run).output == b'"settled"'

    play(main)


def test_a_run_whose_state_cannot_be_read_ends_all_the_same() -> None:
    async def main(stage: Stage) -> None:
        stage.executor.unreadable |= {"failed", "cancelled"}
        failed, cancelled = await stage.submit("failed"), await stage.submit("cancelled")
        await stage.quiet()
        stage.end("failed", ValueError("broken"))
        stage.loop.cancel(cancelled, Ending.INTERRUPT)
        await stage.quiet()
        assert outcome(failed).status is RunStatus.ERROR
        assert outcome(cancelled).status is RunStatus.INTERRUPTED
        assert {event.reason for event in stage.kinds(StateUnknown)} == {"ValueError"}
        assert (stage.loop.working, stage.loop.all_live()) == (0, ())

    play(main)


def test_an_ending_that_cannot_be_written_is_tried_until_it_can() -> None:
    async def main(stage: Stage) -> None:
        run = await stage.submit("a")
        await stage.quiet()
        stage.store.full = StorageUnavailable("locked")
        stage.end("a")
        await asyncio.sleep(59)
        assert run.place is Place.WORKING
        pauses = [event.retry_in or 0.0 for event in stage.kinds(WriteFailed)]
        assert pauses[0] <= 0.1
        assert 12 <= len(pauses) <= 30
        assert max(pauses) <= 5.0
        stage.store.full = None
        await asyncio.sleep(5)
        assert outcome(run).status is RunStatus.SUCCESS

    play(main)


def test_runs_that_cannot_be_claimed_keep_their_order_and_start_when_they_can() -> None:
    async def main(stage: Stage) -> None:
        stage.store.unclaimable = True
        await stage.submit_waiting("1", "thread")
        await stage.submit("2", "thread")
        await stage.submit_waiting("other")
        await asyncio.sleep(3.3)
        stage.store.unclaimable = False
        await asyncio.sleep(2)
        assert sorted(stage.executor.order) == ["1", "other"]
        stage.end("1")
        await asyncio.sleep(2)
        assert stage.executor.order[2:] == ["2"]
        assert {event.reason for event in stage.kinds(WriteFailed)} == {"StorageFull"}

    play(main)


def test_a_drain_does_not_wait_for_runs_that_cannot_be_claimed() -> None:
    async def main(stage: Stage) -> None:
        stage.store.unclaimable = True
        run = await stage.submit_waiting("a")
        await asyncio.sleep(0.5)
        began = asyncio.get_running_loop().time()
        await stage.loop.drain()
        assert asyncio.get_running_loop().time() - began < 2
        assert stage.store.status["a"] is RunStatus.PENDING
        assert run.done is not None
        assert isinstance(run.done.exception(), Draining)

    play(main)


def test_that_a_run_is_to_end_is_noted_unless_it_does_at_once() -> None:
    async def main(stage: Stage) -> None:
        stage.executor.stubborn.add("stubborn")
        await stage.submit("stubborn")
        await stage.submit("docile")
        await stage.quiet()
        for run in stage.loop.all_live():
            stage.loop.cancel(run, Ending.INTERRUPT)
        await asyncio.sleep(1)
        noted = [whose for what, whose in stage.store.writes if what == "note_stop"]
        assert noted == ["stubborn"]

    play(main)


def test_who_waits_for_the_note_is_told_of_a_store_that_cannot_write_and_may_ask_again() -> None:
    async def main(stage: Stage) -> None:
        stage.executor.stubborn.add("a")
        run = await stage.submit("a")
        await stage.quiet()
        stage.store.full = StorageFull("no room")
        stage.loop.cancel(run, Ending.INTERRUPT)
        assert run.noted is not None
        with pytest.raises(StorageFull):
            await run.noted
        stage.store.full = None
        stage.loop.cancel(run, Ending.INTERRUPT)
        assert await run.noted
        assert len(stage.kinds(StopRequested)) == 1

    play(main)


def test_a_run_cancelled_while_it_cannot_be_claimed_never_begins() -> None:
    async def main(stage: Stage) -> None:
        run = await stage.submit("a", delay=1.0)
        stage.store.full = StorageFull("no room")
        await asyncio.sleep(1.1)
        stage.loop.cancel(run, Ending.INTERRUPT)
        stage.store.full = None
        await asyncio.sleep(10)
        assert (stage.executor.order, stage.store.status["a"]) == ([], RunStatus.INTERRUPTED)
        assert outcome(run).status is RunStatus.INTERRUPTED

    play(main)


def test_the_end_of_a_run_tells_how_long_it_waited_and_worked_and_who_asked() -> None:
    async def main(stage: Stage) -> None:
        await stage.submit("a")
        run = await stage.submit("b")
        run.kwargs = {"trace": {"traceparent": "theirs"}}
        await asyncio.sleep(3)
        stage.end("a")
        await asyncio.sleep(2)
        stage.end("b")
        await stage.quiet()
        [*_, began], [*_, ended] = stage.kinds(RunStarted), stage.kinds(RunEnded)
        assert ended.run_id == "b"
        assert ended.took == pytest.approx(2, abs=0.01)
        assert ended.waited == began.waited == pytest.approx(3, abs=0.01)
        assert ended.trace == began.trace == {"traceparent": "theirs"}

    play(main, Limits(concurrent_runs=1))


@pytest.mark.parametrize("ending", [Ending.INTERRUPT, Ending.ROLLBACK])
def test_of_a_run_cancelled_before_its_turn_is_told_that_it_ended(ending: Ending) -> None:
    async def main(stage: Stage) -> None:
        run = await stage.submit("a", delay=1.0)
        stage.loop.cancel(run, ending)
        await stage.quiet()
        ids = run.run_id, run.thread_id, run.graph_id
        assert stage.kinds(RunEnded) == [RunEnded(*ids, RunStatus.INTERRUPTED, 0, 0.0)]

    play(main)


def test_a_run_deleted_before_its_turn_is_not_worked_on() -> None:
    async def main(stage: Stage) -> None:
        run = await stage.submit("a", delay=1.0)
        del stage.store.status["a"]
        await asyncio.sleep(2)
        assert (stage.executor.order, outcome(run).status) == ([], RunStatus.INTERRUPTED)
        assert stage.loop.working == 0

    play(main)


def test_a_run_deleted_while_it_works_ends_without_a_word() -> None:
    async def main(stage: Stage) -> None:
        run = await stage.submit("a")
        await stage.quiet()
        del stage.store.status["a"]
        stage.end("a")
        await stage.quiet()
        assert (outcome(run).status, stage.kinds(RunEnded)) == (RunStatus.INTERRUPTED, [])

    play(main)


def test_a_drain_asks_first_cancels_then_and_leaves_everything_pending() -> None:
    async def main(stage: Stage) -> None:
        polite, rude = await stage.submit("polite"), await stage.submit("rude")
        waiting = await stage.submit("waiting")
        delayed = await stage.submit("delayed", delay=1.0)
        await stage.quiet()
        listener = stage.loop.watchers.watch("thread of rude")
        draining = asyncio.create_task(stage.loop.drain())
        await stage.quiet()
        assert [work.drained for work in stage.executor.work.values()] == [True, True]
        stage.end("polite", Drained())
        await asyncio.sleep(2.9)
        assert stage.executor.work["rude"].cancelled == 0
        await draining
        assert stage.executor.work["rude"].cancelled == 1
        assert stage.executor.order == ["polite", "rude"]
        assert set(stage.store.status.values()) == {RunStatus.PENDING}
        assert {event.run_id for event in stage.kinds(RunRequeued)} == {"polite", "rude"}
        for run in (polite, rude, waiting, delayed):
            assert run.done is not None
            assert isinstance(run.done.exception(), Draining)
        assert (listener.closed, stage.loop.all_live(), stage.loop.draining) == (True, (), True)

    play(main, Limits(concurrent_runs=2, drain_grace=3.0))


def test_what_was_unfinished_is_taken_up_in_order_after_a_start() -> None:
    async def main(stage: Stage) -> None:
        stage.store.unfinished = [new_run(name, attempt=1) for name in "abc"]
        assert await stage.loop.recover() == 3
        await stage.quiet()
        assert (stage.executor.order, stage.loop.waiting) == (["a", "b"], 1)
        assert stage.kinds(RunStarted)[0].attempt == 2

    play(main)


@pytest.mark.parametrize("slots", [1, 10])
@pytest.mark.parametrize("strategy", [MultitaskStrategy.INTERRUPT, MultitaskStrategy.ROLLBACK])
def test_a_run_that_another_had_to_stop_does_not_go_on_after_a_crash(
    strategy: MultitaskStrategy, slots: int
) -> None:
    async def main(stage: Stage) -> None:
        stage.store.unfinished = [
            new_run("elsewhere", thread_id="u"),
            new_run("older", attempt=1, thread_id="t"),
            new_run("newer", thread_id="t", multitask_strategy=strategy),
            new_run("newest", thread_id="t"),
        ]
        await stage.loop.recover()
        await stage.quiet()
        stage.end("elsewhere")
        await stage.quiet()
        stage.end("newer")
        await stage.quiet()
        assert stage.executor.order == ["elsewhere", "newer", "newest"]
        undone = None if strategy is MultitaskStrategy.ROLLBACK else RunStatus.INTERRUPTED
        assert stage.store.status.get("older") is undone
        assert stage.store.status["newer"] is RunStatus.SUCCESS

    play(main, Limits(concurrent_runs=slots))


def test_a_run_that_goes_on_later_stops_only_what_was_there_when_it_came() -> None:
    async def main(stage: Stage) -> None:
        stage.store.unfinished = [
            new_run("newest", attempt=1, thread_id="t", created_at="3"),
            new_run(
                "newer",
                thread_id="t",
                created_at="2",
                multitask_strategy=MultitaskStrategy.INTERRUPT,
            ),
            new_run("older", thread_id="t", created_at="1", delay=1.0),
        ]
        await stage.loop.recover()
        await stage.quiet()
        stage.end("newest")
        await stage.quiet()
        stage.end("newer")
        await stage.quiet()
        assert stage.executor.order == ["newest", "newer"]
        assert stage.store.status["older"] is RunStatus.INTERRUPTED

    play(main)


@pytest.mark.parametrize(
    ("ending", "written"), [(Ending.INTERRUPT, "finish"), (Ending.ROLLBACK, "erase")]
)
def test_what_follows_a_run_that_is_cancelled_while_it_waits_begins_once_that_has_ended(
    ending: Ending, written: str
) -> None:
    async def main(stage: Stage) -> None:
        stage.store.unfinished = [
            new_run("elsewhere", thread_id="u", crashes=2),
            new_run("older", thread_id="t", crashes=2),
            new_run("newer", thread_id="t"),
        ]
        await stage.loop.recover()
        await stage.quiet()
        older, newer = stage.loop.on_thread("t")
        stage.loop.cancel(older, ending)
        with pytest.raises(ThreadBusy), stage.loop.hold("t"):
            pass
        await stage.quiet()
        assert stage.store.writes[1:] == [(written, "older"), ("claim", "newer")]
        assert newer.place is Place.WORKING

    play(main, Limits(concurrent_runs=10))


def test_a_start_takes_as_much_for_each_of_many_runs_of_a_thread_as_for_one() -> None:
    async def main(stage: Stage) -> int:
        stage.store.unfinished = [new_run(f"r{number}", thread_id="t") for number in range(3_000)]
        tracemalloc.start()
        try:
            await stage.loop.recover()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert play(main) < 10_000_000


def test_suspects_run_one_at_a_time() -> None:
    async def main(stage: Stage) -> None:
        stage.store.unfinished = [new_run(name, crashes=2) for name in "ab"] + [new_run("c")]
        await stage.loop.recover()
        await stage.quiet()
        assert stage.executor.order == ["a", "c"]
        stage.end("a")
        await stage.quiet()
        assert stage.executor.order == ["a", "c", "b"]

    play(main, Limits(concurrent_runs=10))


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
