"""What a store that cannot write, and a caller who has gone, cost: no slot, and no waiter."""

import asyncio
from collections.abc import Awaitable

import pytest

from operations import failpoints
from operations.errors import StorageFull, StorageUnavailable
from orchestration.loop.admission import Limits
from orchestration.loop.errors import Draining, ThreadNotFound
from orchestration.loop.events import (
    RunAccepted,
    RunRejected,
    RunStarted,
    StopRequested,
    WriteFailed,
)
from orchestration.loop.run import (
    Ending,
    Failure,
    MultitaskStrategy,
    Outcome,
    Place,
    Run,
    RunStatus,
    ThreadState,
)
from tests.loop.stage import Stage, Store, new_run, outcome, play
from tests.loop.test_trouble import equip


class Lost(StorageUnavailable):
    """The store is gone for good."""

    lasting = True


class Abrupt(Store):
    """Raises at once what others raise when they are awaited."""

    error: Exception | None = None

    def accept(self, *runs: Run) -> Awaitable[bool]:
        if isinstance(self.error, StorageFull):
            raise self.error
        return super().accept(*runs)

    def claim(self, run: Run, token: str) -> Awaitable[bool]:
        if self.error is not None:
            raise self.error
        return super().claim(run, token)

    def finish(self, run: Run, outcome: Outcome, state: ThreadState | None) -> Awaitable[bool]:
        if self.error is not None:
            raise self.error
        return super().finish(run, outcome, state)


class Lingering(Store):
    """What it accepts is accepted at once, but told only when it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.let_go = asyncio.Event()

    def accept(self, *runs: Run) -> Awaitable[bool]:
        accepted = super().accept(*runs)
        return self._tell(accepted) if runs[0].run_id == "late" else accepted

    async def _tell(self, accepted: Awaitable[bool]) -> bool:
        await self.let_go.wait()
        return await accepted


async def leave_early(stage: Stage, store: Lingering, run: Run) -> None:
    """Submit ``run``, and go away before it is known to be durable."""
    submitting = asyncio.create_task(stage.loop.submit(run))
    while stage.loop.live(run.run_id) is None:  # noqa: ASYNC110 - a turn, not a wait
        await asyncio.sleep(0)
    submitting.cancel()
    await stage.quiet()
    assert submitting.cancelled()
    store.let_go.set()
    await stage.quiet()


@pytest.mark.parametrize("strategy", [MultitaskStrategy.INTERRUPT, MultitaskStrategy.ROLLBACK])
def test_a_run_whose_submitter_has_gone_still_stops_the_runs_before_it(
    strategy: MultitaskStrategy,
) -> None:
    async def main(stage: Stage) -> None:
        store = Lingering()
        equip(stage, store=store)
        earlier = await stage.submit("earlier", "thread")
        await stage.quiet()
        await leave_early(stage, store, new_run("late", "thread", multitask_strategy=strategy))
        assert outcome(earlier).status is RunStatus.INTERRUPTED
        assert stage.executor.order == ["earlier", "late"]

    play(main)


def test_a_run_that_is_refused_after_its_submitter_has_gone_leaves_nothing() -> None:
    async def main(stage: Stage) -> None:
        store = Lingering()
        equip(stage, store=store, limits=Limits(concurrent_runs=1))
        await stage.submit("works")
        await leave_early(stage, store, new_run("late", "missing"))
        assert (stage.loop.waiting, [run.run_id for run in stage.loop.all_live()]) == (0, ["works"])
        assert stage.kinds(RunRejected) == [RunRejected("graph", "ThreadNotFound")]

    play(main)


@pytest.mark.parametrize("at_once", [False, True])
def test_a_run_that_is_refused_as_it_would_begin_leaves_its_slot_and_is_never_begun(
    *, at_once: bool
) -> None:
    async def main(stage: Stage) -> None:
        store = Abrupt() if at_once else Store()
        equip(stage, store=store, limits=Limits(concurrent_runs=1))
        if isinstance(store, Abrupt):
            store.error = StorageFull("no room")
        store.full = StorageFull("no room")
        with pytest.raises(StorageFull):
            await stage.submit("refused", "thread")
        await stage.quiet()
        assert (stage.loop.working, stage.loop.waiting, stage.loop.all_live()) == (0, 0, ())
        assert (stage.kinds(RunStarted), stage.kinds(WriteFailed)) == ([], [])
        store.full = None
        if isinstance(store, Abrupt):
            store.error = None
        await stage.submit("b", "thread")
        await stage.quiet()
        assert stage.executor.order == ["b"]

    play(main)


@pytest.mark.parametrize("strategy", [MultitaskStrategy.INTERRUPT, MultitaskStrategy.ROLLBACK])
def test_a_run_that_is_refused_stops_none_before_it_and_is_not_told_of(
    strategy: MultitaskStrategy,
) -> None:
    async def main(stage: Stage) -> None:
        earlier = await stage.submit("earlier", "t")
        await stage.quiet()
        stage.store.full = StorageFull("no room")
        with pytest.raises(StorageFull):
            await stage.submit("refused", "t", multitask_strategy=strategy)
        await stage.quiet()
        assert earlier.ending is None
        assert [event.run_id for event in stage.kinds(RunAccepted)] == ["earlier"]

    play(main)


def test_a_run_that_is_refused_after_it_took_a_slot_gives_it_back() -> None:
    async def main(stage: Stage) -> None:
        with pytest.raises(ThreadNotFound):
            await stage.submit("refused", "missing")
        await stage.submit("b")
        await stage.quiet()
        assert (stage.executor.order, stage.loop.working) == (["b"], 1)

    play(main, Limits(concurrent_runs=1))


def test_a_run_that_begins_while_its_acceptance_is_under_way_is_put_back_by_a_stop() -> None:
    async def main(stage: Stage) -> None:
        store = Lingering()
        equip(stage, store=store)
        submitting = asyncio.create_task(stage.loop.submit(new_run("late")))
        await stage.quiet()
        assert (stage.loop.working, stage.executor.order) == (1, [])
        await stage.loop.aclose()
        assert store.writes == [("accept", "late"), ("requeue", "late")]
        assert stage.loop.working == 0
        store.let_go.set()
        await submitting  # it is durable, whatever became of the service
        assert stage.executor.order == []

    play(main)


def test_what_breaks_after_the_acceptance_is_told_and_the_run_stands(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main(stage: Stage) -> None:
        with pytest.raises(OSError, match="after_commit"):
            await stage.submit("a", "thread")
        await stage.quiet()
        stage.end("a")
        await stage.quiet()
        assert stage.store.status["a"] is RunStatus.SUCCESS
        assert stage.loop.working == 0

    monkeypatch.setattr(failpoints, "_active", {"accept.after_commit": "raise:OSError"})
    play(main)


def test_a_claim_that_raises_at_once_costs_no_slot() -> None:
    async def main(stage: Stage) -> None:
        store = Abrupt()
        equip(stage, store=store)
        store.error = RuntimeError("nobody foresaw this")
        run = await stage.submit_waiting("a", "thread")
        await stage.quiet()
        store.error = None
        await stage.submit("b", "thread")
        await stage.quiet()
        assert outcome(run).failure == Failure("RuntimeError", "nobody foresaw this")
        assert (stage.executor.order, stage.loop.working) == (["b"], 1)

    play(main)


def test_who_waits_for_a_run_whose_end_cannot_be_stored_is_told_how_it_ended() -> None:
    async def main(stage: Stage) -> None:
        store = Abrupt()
        equip(stage, store=store)
        run = await stage.submit("a")
        await stage.quiet()
        store.error = RuntimeError("nobody foresaw this")
        stage.end("a")
        await stage.quiet()
        assert outcome(run).failure == Failure("RuntimeError", "nobody foresaw this")
        assert (stage.loop.working, stage.loop.all_live()) == (0, ())
        assert stage.kinds(WriteFailed) == [WriteFailed("a", "RuntimeError", None)]

    play(main)


def test_a_store_that_is_gone_for_good_is_not_asked_again_and_everybody_is_told() -> None:
    async def main(stage: Stage) -> None:
        equip(stage)
        works = await stage.submit("works", "thread")
        waits = await stage.submit("waits", "thread")
        cancelled = await stage.submit("cancelled", "thread")
        await stage.quiet()
        stage.store.full = Lost("the file is damaged")
        stage.loop.cancel(cancelled, Ending.INTERRUPT)
        stage.end("works")
        await stage.quiet()
        for run in (works, waits, cancelled):
            assert run.done is not None
            assert isinstance(run.done.exception(), Lost), run.run_id
        assert (stage.loop.working, stage.loop.waiting, stage.loop.all_live()) == (0, 0, ())
        assert {event.retry_in for event in stage.kinds(WriteFailed)} == {None}
        # As the store knows them, they go on after the next start.
        assert stage.store.status["works"] is RunStatus.RUNNING
        assert stage.store.status["waits"] is RunStatus.PENDING

    play(main)


def outcome_of(run: Run) -> "asyncio.Future[Outcome]":
    assert run.done is not None
    return run.done


@pytest.mark.parametrize("what", ["claim", "finish"])
def test_nobody_waits_for_ever_for_a_store_that_cannot_write_and_the_run_keeps_its_place(
    what: str,
) -> None:
    async def main(stage: Stage) -> None:
        stage.store.unclaimable = what == "claim"
        run = await stage.submit_waiting("a", "thread")
        await stage.quiet()
        if what == "finish":
            stage.store.full = StorageUnavailable("no room")
            stage.end("a")
        waits, listener = run.done, run.stream.listen()
        await asyncio.sleep(50)
        assert waits is not None
        assert not waits.done()
        assert not listener.closed
        await asyncio.sleep(20)
        assert isinstance(waits.exception(), StorageUnavailable)
        assert listener.closed
        assert run.place is Place.WORKING
        stage.store.full, stage.store.unclaimable = None, False
        again = run.stream.listen()
        await asyncio.sleep(10)
        if what == "claim":
            assert not outcome_of(run).done()
            run.stream.publish("values", b"1")
            assert [event.name for event in again.take()] == ["values"]
            stage.end("a")
            await stage.quiet()
        assert stage.store.status["a"] is RunStatus.SUCCESS
        assert outcome_of(run).result().status is RunStatus.SUCCESS, "who came again heard of it"
        assert again.closed
        assert stage.loop.all_live() == ()

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
