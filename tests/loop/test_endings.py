"""How runs end, whoever ends them: once, as they were told first, and with what is said of it."""

import asyncio

import pytest

from operations.errors import StorageUnavailable
from orchestration.loop.admission import Limits
from orchestration.loop.events import RunEnded, RunStarted, StateUnknown, StopRequested, ZombieLeft
from orchestration.loop.run import Ending, MultitaskStrategy, Place, RunStatus
from tests.loop.stage import Stage, outcome, play


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


@pytest.mark.parametrize("seed", range(8))
def test_of_a_run_that_waits_the_first_ending_stands(seed: int) -> None:
    async def main(stage: Stage) -> None:
        await stage.submit("works", "t")
        waiting = await stage.submit("waits", "t")
        stage.loop.cancel(waiting, Ending.INTERRUPT)
        stage.loop.cancel(waiting, Ending.ROLLBACK)
        await stage.quiet()
        assert (stage.store.status["waits"], len(stage.kinds(RunEnded))) == (
            RunStatus.INTERRUPTED, 1,
        )  # fmt: skip
        assert not outcome(waiting).rolled_back

    play(main, seed=seed)


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
