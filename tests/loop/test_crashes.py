"""What executes a run dies: the run goes on in its slot, and is given up when that is too often."""

import asyncio

import pytest

from orchestration.loop.admission import Limits
from orchestration.loop.errors import Draining, WorkerLost
from orchestration.loop.events import RunCrashed, RunEnded, StopRequested
from orchestration.loop.run import Ending, Place, Run, RunStatus
from tests.loop.stage import Stage, play

LIMITS = Limits(concurrent_runs=1, crash_limit=3)


def ending(run: Run) -> tuple[RunStatus, str | None]:
    assert run.done is not None
    outcome = run.done.result()
    return outcome.status, None if outcome.failure is None else outcome.failure.error


def test_a_run_whose_worker_died_is_tried_again_before_the_next_of_its_thread() -> None:
    async def main(stage: Stage) -> None:
        run, following = await stage.submit("a", "t"), await stage.submit("b", "t")
        await stage.quiet()
        stage.end("a", WorkerLost("killed"))
        await stage.quiet()
        stage.end("a", b'"done"')
        await stage.quiet()
        assert stage.executor.order == ["a", "a", "b"]
        assert (ending(run), run.attempt, run.crashes) == ((RunStatus.SUCCESS, None), 2, 1)
        assert [what for what, whose in stage.store.writes if whose == "a"] == [
            "accept", "crash", "claim", "finish",
        ]  # fmt: skip
        assert following.status is RunStatus.RUNNING

    play(main, LIMITS)


def test_a_run_whose_worker_died_keeps_its_slot_before_one_that_is_more_urgent() -> None:
    async def main(stage: Stage) -> None:
        await stage.submit("a")
        await stage.submit("urgent", priority=0)
        await stage.quiet()
        await _lose(stage, "a")
        assert stage.executor.order == ["a", "a"]

    play(main, LIMITS)


def test_a_run_whose_worker_dies_too_often_is_poison() -> None:
    async def main(stage: Stage) -> None:
        run = await stage.submit("a")
        listener = run.stream.listen()
        for _ in range(3):
            await stage.quiet()
            stage.end("a", WorkerLost("killed"))
        await stage.quiet()
        assert ending(run) == (RunStatus.ERROR, "PoisonRun")
        assert [event.name for event in listener.take()] == ["error", "end"]
        assert [event.crashes for event in stage.kinds(RunCrashed)] == [1, 2, 3]
        assert len(stage.kinds(RunEnded)) == 1

    play(main, LIMITS)


def test_a_run_that_is_stopped_while_it_is_put_back_is_not_executed_again() -> None:
    async def main(stage: Stage) -> None:
        run = await stage.submit("a")
        await stage.quiet()
        stage.store.full = OSError("not yet")
        stage.end("a", WorkerLost("killed"))
        stage.store.full = None
        stage.loop.cancel(run, Ending.INTERRUPT)
        await stage.quiet()
        assert ending(run) == (RunStatus.INTERRUPTED, None)
        assert stage.executor.order == ["a"]

    play(main, LIMITS)


@pytest.mark.parametrize(
    ("told", "ends", "crashes"),
    [
        (Ending.INTERRUPT, RunStatus.INTERRUPTED, 0),
        (Ending.ROLLBACK, RunStatus.INTERRUPTED, 0),
        (Ending.DRAIN, RunStatus.SUCCESS, 1),
    ],
)
def test_a_run_is_told_to_end_in_the_very_moment_in_which_its_worker_dies(
    told: Ending, ends: RunStatus, crashes: int
) -> None:
    async def main(stage: Stage) -> None:
        run = await stage.submit("a")
        await stage.quiet()
        await _lost(stage, run)
        stage.loop.cancel(run, told)
        await stage.quiet()
        if crashes:
            stage.end("a")
            await stage.quiet()
        assert ending(run) == (ends, None)
        assert (len(stage.executor.order), run.crashes) == (1 + crashes, crashes)

    play(main, LIMITS)


def test_a_run_that_is_found_to_be_poison_is_not_told_to_end() -> None:
    async def main(stage: Stage) -> None:
        run = await stage.submit("a")
        await stage.quiet()
        await _lost(stage, run)
        while not run.crashes:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0)
        stage.loop.cancel(run, Ending.INTERRUPT)
        await stage.quiet()
        assert ending(run) == (RunStatus.ERROR, "PoisonRun")
        assert stage.kinds(StopRequested) == []

    play(main, Limits(concurrent_runs=1, crash_limit=1))


def test_suspects_wait_for_their_turn_without_a_slot() -> None:
    async def main(stage: Stage) -> None:
        first, second = await stage.submit("a"), await stage.submit("b", "t")
        await stage.quiet()
        await stage.submit("c")
        behind = await stage.submit("d", "t")
        await _lose(stage, "a", "b")
        assert stage.executor.order == ["a", "b", "a", "c"]
        assert (second.status, second.place) == (RunStatus.PENDING, Place.PARKED)
        assert stage.loop.waiting == 2
        stage.end("a")
        await stage.quiet()
        assert (ending(first), second.status) == ((RunStatus.SUCCESS, None), RunStatus.RUNNING)
        stage.end("b")
        await stage.quiet()
        assert ending(second) == (RunStatus.SUCCESS, None)
        assert (stage.executor.order[4:], behind.status) == (["b", "d"], RunStatus.RUNNING)

    play(main, Limits(concurrent_runs=2, crash_limit=2))


def test_a_suspect_that_waits_for_its_turn_can_be_cancelled_and_frees_its_thread() -> None:
    async def main(stage: Stage) -> None:
        await stage.submit("a")
        run, following = await stage.submit("b", "t"), await stage.submit("c", "t")
        await stage.quiet()
        await _lose(stage, "a", "b")
        stage.loop.cancel(run, Ending.INTERRUPT)
        await stage.quiet()
        assert ending(run) == (RunStatus.INTERRUPTED, None)
        assert (stage.executor.order, stage.executor.settled) == (["a", "b", "a", "c"], ["b"])
        assert following.status is RunStatus.RUNNING

    play(main, Limits(concurrent_runs=2, crash_limit=2))


def test_a_suspect_that_was_told_to_end_as_its_worker_died_does_not_wait_for_its_turn() -> None:
    async def main(stage: Stage) -> None:
        await stage.submit("a")
        run = await stage.submit("b")
        await stage.quiet()
        await _lose(stage, "a")
        await _lost(stage, run)
        while not run.crashes:  # noqa: ASYNC110 - on virtual time, turn by turn
            await asyncio.sleep(0)
        stage.loop.cancel(run, Ending.INTERRUPT)
        await stage.quiet()
        assert ending(run) == (RunStatus.INTERRUPTED, None)
        assert stage.executor.order == ["a", "b", "a"]

    play(main, Limits(concurrent_runs=2, crash_limit=2))


def test_a_suspect_that_waits_for_its_turn_goes_on_after_the_next_start() -> None:
    async def main(stage: Stage) -> None:
        await stage.submit("a")
        await stage.submit("b")
        await stage.quiet()
        await _lose(stage, "a", "b")
        stage.loop.close_intake()
        stage.end("a")
        await stage.loop.drain()
        assert stage.store.status == {"a": RunStatus.SUCCESS, "b": RunStatus.PENDING}
        assert stage.loop.all_live() == ()

    play(main, Limits(concurrent_runs=2, crash_limit=2))


async def _lose(stage: Stage, *run_ids: str) -> None:
    """Have the workers of runs die, one after the other."""
    for run_id in run_ids:
        stage.end(run_id, WorkerLost("killed"))
        await stage.quiet()


async def _lost(stage: Stage, run: Run) -> None:
    """Have the worker of a run die, and return before anybody has looked at that."""
    stage.end(run.run_id, WorkerLost("killed"))
    while run.task is not None and not run.task.done():  # noqa: ASYNC110 - turn by turn
        await asyncio.sleep(0)
    assert run.task is not None


def test_no_time_of_a_run_passes_while_nothing_can_execute_it() -> None:
    async def main(stage: Stage) -> None:
        run = await stage.submit("a", timeout=5.0)
        await stage.quiet()
        stage.executor.free.clear()
        stage.end("a", WorkerLost("killed"))
        await asyncio.sleep(60)
        assert stage.loop.standing(run).why == "it has a slot, and waits to be executed"
        stage.executor.free.set()
        await asyncio.sleep(4)
        assert stage.loop.standing(run).why == "working for 4.0 s, attempt 2"
        await asyncio.sleep(2)
        assert ending(run) == (RunStatus.TIMEOUT, "TimeoutError")
        (ended,) = stage.kinds(RunEnded)
        assert ended.took == pytest.approx(5.0)

    play(main, LIMITS)


def test_a_run_that_waits_to_be_executed_can_be_cancelled() -> None:
    async def main(stage: Stage) -> None:
        stage.executor.free.clear()
        run = await stage.submit("a", timeout=5.0)
        await asyncio.sleep(1)
        stage.loop.cancel(run, Ending.INTERRUPT)
        await asyncio.sleep(60)
        assert ending(run) == (RunStatus.INTERRUPTED, None)
        (ended,) = stage.kinds(RunEnded)
        assert (ended.took, stage.executor.order) == (0.0, [])

    play(main, LIMITS)


def test_a_run_whose_worker_dies_during_a_drain_ends_all_the_same_if_it_was_cancelled() -> None:
    async def main(stage: Stage) -> None:
        run = await stage.submit("a")
        await stage.quiet()
        stage.loop.close_intake()
        stage.executor.work["a"].end.set_exception(WorkerLost("gone"))
        while run.task is not None:  # noqa: ASYNC110 - on virtual time, turn by turn
            await asyncio.sleep(0)
        stage.loop.cancel(run, Ending.INTERRUPT)
        await stage.loop.drain()
        assert stage.store.status["a"] is RunStatus.INTERRUPTED

    play(main, LIMITS)


@pytest.mark.parametrize("crash_limit", [2, 3])  # as a suspect, and before it is one
def test_a_run_whose_worker_dies_during_a_drain_goes_on_after_the_next_start(
    crash_limit: int,
) -> None:
    async def main(stage: Stage) -> None:
        run = await stage.submit("a")
        await stage.quiet()
        stage.loop.close_intake()
        stage.end("a", WorkerLost("killed"))
        await stage.quiet()
        assert stage.store.status["a"] is RunStatus.PENDING
        assert (stage.executor.order, run.crashes) == (["a"], 1)
        assert run.done is not None
        assert isinstance(run.done.exception(), Draining)

    play(main, Limits(concurrent_runs=1, crash_limit=crash_limit))
