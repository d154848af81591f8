"""What is waited for at a stop, and for how long: the less urgent a run, the sooner it goes."""

import asyncio

import pytest

from orchestration.loop.admission import Limits
from orchestration.loop.draining import grace_of
from orchestration.loop.errors import Drained, Draining, ThreadBusy
from orchestration.loop.events import RunRequeued
from orchestration.loop.run import Ending, RunStatus
from tests.loop.stage import Stage, play


@pytest.mark.parametrize(
    ("priority", "grace"), [(0, 15.0), (3, 15.0), (4, 10.0), (6, 10.0), (7, 1.0), (10, 1.0)]
)
def test_the_more_urgent_a_run_the_longer_it_is_waited_for(priority: int, grace: float) -> None:
    assert grace_of(priority, Limits()) == grace


def test_runs_that_come_to_no_super_step_are_put_back_by_their_priority_uncharged() -> None:
    async def main(stage: Stage) -> None:
        runs = [await stage.submit(str(priority), priority=priority) for priority in (0, 5, 9)]
        await stage.quiet()
        began, put_back = stage.sim.time(), list[tuple[str, int]]()

        def look() -> None:
            for event in stage.kinds(RunRequeued)[len(put_back) :]:
                put_back.append((event.run_id, round(stage.sim.time() - began)))

        stage.sim.after_step = look
        await stage.loop.drain()
        assert put_back == [("9", 1), ("5", 10), ("0", 15)]
        assert set(stage.store.status.values()) == {RunStatus.PENDING}
        assert [run.attempt for run in runs] == [0, 0, 0]

    play(main, Limits(concurrent_runs=3))


def test_a_stop_does_not_wait_for_the_grace_of_a_priority_that_has_no_runs_left() -> None:
    async def main(stage: Stage) -> None:
        await stage.submit("low", priority=10)
        await stage.quiet()
        began = stage.sim.time()
        await stage.loop.drain()
        assert stage.sim.time() - began < 1.1

    play(main, Limits(concurrent_runs=1))


def test_who_cancels_a_run_that_a_stop_is_putting_back_has_it_ended() -> None:
    async def main(stage: Stage) -> None:
        stage.executor.stubborn.add("cancelled")
        run = await stage.submit("cancelled")
        await stage.quiet()
        draining = asyncio.create_task(stage.loop.drain())
        await asyncio.sleep(10 + 1)  # of virtual time: it was told to stop, and has 2 s left
        assert run.ending is Ending.DRAIN
        stage.loop.cancel(run, Ending.INTERRUPT)
        await stage.quiet()
        assert stage.executor.work["cancelled"].cancelled == 1  # by the stop, and not once more
        await draining
        assert stage.store.status["cancelled"] is RunStatus.INTERRUPTED

    play(main, Limits(concurrent_runs=1))


def test_a_run_that_waits_is_not_said_to_start_before_the_next_start() -> None:
    async def main(stage: Stage) -> None:
        await stage.submit("works")
        waiting = [await stage.submit("waits"), await stage.submit("delayed", delay=5.0)]
        stage.loop.close_intake()
        said = {stage.loop.standing(run).why for run in waiting}
        assert said == {"the service is stopping; it starts after the next start"}

    play(main, Limits(concurrent_runs=1))


def test_who_leaves_a_run_after_the_stop_ends_it_no_more() -> None:
    async def main(stage: Stage) -> None:
        await stage.submit("works")
        waiting = await stage.submit("waits")
        await stage.loop.drain()
        stage.loop.cancel(waiting, Ending.INTERRUPT)
        await stage.quiet()
        assert set(stage.store.status.values()) == {RunStatus.PENDING}

    play(main, Limits(concurrent_runs=1))


def test_runs_that_ignore_their_cancellation_are_left_behind_three_seconds_later() -> None:
    async def main(stage: Stage) -> None:
        stage.executor.stubborn.add("stubborn")
        await stage.submit("stubborn", priority=5)
        await stage.quiet()
        began = stage.sim.time()
        await asyncio.wait_for(stage.loop.drain(), 60)
        assert stage.sim.time() - began <= 10 + 3 + 1.1
        assert stage.store.status["stubborn"] is RunStatus.PENDING

    play(main, Limits(concurrent_runs=1))


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


def test_a_run_that_only_now_gets_to_be_executed_is_told_of_the_stop_too() -> None:
    async def main(stage: Stage) -> None:
        stage.executor.free.clear()
        await stage.submit("late")
        await stage.quiet()
        stage.loop.close_intake()
        stage.executor.free.set()
        await stage.quiet()
        assert stage.executor.work["late"].drained

    play(main)


def test_during_a_stop_a_run_that_goes_on_later_holds_its_thread_and_one_that_ended_none() -> None:
    async def main(stage: Stage) -> None:
        await stage.submit("goes on", "t")
        await stage.submit("ends", "u")
        await stage.quiet()
        stage.loop.close_intake()
        stage.end("goes on", Drained())
        stage.end("ends")
        await stage.quiet()
        with pytest.raises(ThreadBusy), stage.loop.hold("t"):
            pass
        with stage.loop.hold("u"):
            pass

    play(main)
