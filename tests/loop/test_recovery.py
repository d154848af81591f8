"""What a start takes up of what was unfinished: in order, and no more than may go on."""

import tracemalloc

import pytest

from orchestration.loop.admission import Limits
from orchestration.loop.errors import ThreadBusy
from orchestration.loop.events import RunEnded, RunsRecovered, RunStarted
from orchestration.loop.run import Ending, MultitaskStrategy, Place, RunStatus
from tests.loop.stage import Stage, new_run, outcome, play


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


def test_a_run_that_is_cancelled_before_it_goes_on_is_answered_with_what_it_came_to() -> None:
    async def main(stage: Stage) -> None:
        stage.store.unfinished = [new_run("put back", recovered=True)]
        stage.loop.enable(able=False)
        await stage.loop.recover()
        (run,) = stage.loop.all_live()
        stage.loop.cancel(run, Ending.INTERRUPT)
        await stage.quiet()
        assert outcome(run).output == b'"settled"'

    play(main)


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


def test_recovered_runs_start_by_priority() -> None:
    async def main(stage: Stage) -> None:
        stage.store.unfinished = [
            new_run("old", priority=9),
            new_run("ordinary", priority=5),
            new_run("urgent", priority=0),
            new_run("later", priority=0, delay=5.0),
        ]
        await stage.loop.recover()
        for _ in range(3):
            await stage.quiet()
            stage.end(stage.executor.order[-1])
        await stage.quiet()
        assert stage.executor.order == ["urgent", "ordinary", "old"]

    play(main, Limits(concurrent_runs=1))


def test_a_start_tells_of_what_it_found_and_of_those_that_have_ended_by_it() -> None:
    async def main(stage: Stage) -> None:
        stage.store.unfinished = [new_run(name, attempt=1) for name in "abc"]
        stage.store.dead, stage.store.worked = [new_run("poison", attempt=3)], 2
        assert await stage.loop.recover() == 3
        assert stage.kinds(RunsRecovered) == [RunsRecovered(2, 2, crashed=True)]
        (ended,) = stage.kinds(RunEnded)
        assert (ended.run_id, ended.status, ended.error) == ("poison", "error", "PoisonRun")

    play(main)
