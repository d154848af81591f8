"""What goes wrong around a run costs that run at most: no slot, no thread, no waiter."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random

import pytest

from orchestration.loop import streams
from orchestration.loop.admission import Limits
from orchestration.loop.errors import Draining
from orchestration.loop.events import Emit, Event, RunEnded, StateUnknown
from orchestration.loop.master import MasterLoop
from orchestration.loop.run import Ending, Failure, Outcome, Place, Run, RunStatus, ThreadState
from orchestration.loop.streams import Listener, RunStream
from tests.loop.stage import Executor, Stage, Store, new_run, outcome, play

GRACE = 0.5  # seconds
LIMITS = Limits(concurrent_runs=1, cancel_grace=GRACE)


class Odd(BaseException):
    """What is neither an error nor a cancellation."""


class Unclaimable(Store):
    """Claims raise what the port does not know."""

    def claim(self, run: Run, token: str) -> Awaitable[bool]:
        if run.run_id == "a":
            return self._write("claim", run, _break)
        return super().claim(run, token)

    def _write(self, *given: object) -> Awaitable[bool]:
        try:
            return super()._write(*given)  # type: ignore[arg-type]
        except RuntimeError as error:
            future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
            future.set_exception(error)
            return future


class Slow(Store):
    """What it writes is durable, but nobody is told."""

    slow = "claim"

    def claim(self, run: Run, token: str) -> Awaitable[bool]:
        claimed = super().claim(run, token)
        return claimed if self.slow != "claim" else asyncio.get_running_loop().create_future()

    def finish(self, run: Run, outcome: Outcome, state: ThreadState | None) -> Awaitable[bool]:
        finished = super().finish(run, outcome, state)
        return finished if self.slow != "finish" else asyncio.get_running_loop().create_future()


class Deaf(Store):
    """Claims take no notice of being cancelled until they are let go."""

    def __init__(self) -> None:
        super().__init__()
        self.let_go = asyncio.Event()

    async def claim(self, run: Run, token: str) -> bool:
        while not self.let_go.is_set():
            try:
                await self.let_go.wait()
            except asyncio.CancelledError:
                continue
        return False


class Hanging(Executor):
    """The state of a run is never found out."""

    async def settle(self, run: Run, *, own: bool = False) -> ThreadState | None:
        await asyncio.Event().wait()
        return None


def equip(
    stage: Stage,
    *,
    store: Store | None = None,
    executor: Executor | None = None,
    emit: Emit | None = None,
    limits: Limits = LIMITS,
) -> None:
    """Give the stage a loop over other parts; the one it had was never used."""
    stage.store = store or stage.store
    stage.executor = executor or stage.executor
    emit = emit or stage.events.append
    stage.loop = MasterLoop(stage.store, stage.executor, limits, emit, Random(1))


def _break() -> bool:
    raise RuntimeError("nobody foresaw this")


def test_a_run_whose_code_raises_what_is_no_error_ends_and_leaves_its_place_to_the_next() -> None:
    async def main(stage: Stage) -> None:
        run = await stage.submit("a", "thread")
        follower = await stage.submit("b", "thread")
        await stage.quiet()
        stage.end("a", Odd("why not"))
        await stage.quiet()
        assert outcome(run) == Outcome(RunStatus.ERROR, b'"settled"', Failure("Odd", "why not"))
        assert (stage.store.status["a"], run.place) == (RunStatus.ERROR, Place.GONE)
        assert (stage.executor.order, follower.place) == (["a", "b"], Place.WORKING)

    play(main, LIMITS)


def test_a_report_that_cannot_be_made_costs_no_run() -> None:
    def emit(_: Event) -> None:
        raise ValueError("nobody takes it")

    async def main(stage: Stage) -> None:
        equip(stage, emit=emit)
        run = await stage.submit("a")
        await stage.quiet()
        stage.end("a", b"1")
        await stage.quiet()
        cancelled = await stage.submit("b")
        await stage.quiet()
        stage.loop.cancel(cancelled, Ending.INTERRUPT)
        await stage.quiet()
        assert (outcome(run), stage.loop.working) == (Outcome(RunStatus.SUCCESS, b"1"), 0)
        assert outcome(cancelled).status is RunStatus.INTERRUPTED

    play(main)


def test_an_attempt_that_breaks_unforeseen_ends_its_run_and_frees_its_slot() -> None:
    async def main(stage: Stage) -> None:
        equip(stage, store=Unclaimable())
        run = await stage.submit_waiting("a", "thread")
        await stage.submit("b", "thread")
        await stage.quiet()
        failure = Failure("RuntimeError", "nobody foresaw this")
        assert outcome(run) == Outcome(RunStatus.ERROR, failure=failure)
        assert (stage.loop.live("a"), stage.loop.working) == (None, 1)
        assert stage.executor.order == ["b"]

    play(main)


def test_a_run_that_breaks_before_it_was_claimed_has_ended_in_the_store_too_and_is_told_of() -> (
    None
):
    async def main(stage: Stage) -> None:
        equip(stage, store=Unclaimable())
        await stage.submit_waiting("a")
        await stage.quiet()
        assert stage.store.status["a"] is RunStatus.ERROR
        assert [event.error for event in stage.kinds(RunEnded)] == ["RuntimeError"]

    play(main)


def test_a_state_that_is_not_found_out_in_time_is_left_and_the_run_ends() -> None:
    async def main(stage: Stage) -> None:
        equip(stage, executor=Hanging())
        run = await stage.submit("a")
        await stage.quiet()
        stage.end("a", ValueError("no"))
        await asyncio.sleep(GRACE / 2)
        assert run.place is Place.WORKING
        await asyncio.sleep(GRACE)
        assert outcome(run) == Outcome(RunStatus.ERROR, failure=Failure("ValueError", "no"))
        assert stage.kinds(StateUnknown) == [StateUnknown("a", "TimeoutError")]
        assert stage.loop.working == 0

    play(main)


def test_a_stop_waits_for_nothing_that_takes_no_notice_of_it() -> None:
    async def main(stage: Stage) -> None:
        store = Deaf()
        equip(stage, store=store)
        await stage.submit_waiting("a")
        await stage.quiet()
        drain = asyncio.create_task(stage.loop.drain())
        await stage.quiet()
        drain.cancel()
        try:
            async with asyncio.timeout(2.0):
                await stage.loop.aclose()
        finally:
            store.let_go.set()

    play(main)


@pytest.mark.parametrize("slow", ["claim", "finish"])
def test_a_stop_waits_for_no_write(slow: str) -> None:
    async def main(stage: Stage) -> None:
        store = Slow()
        store.slow = slow
        equip(stage, store=store)
        await stage.submit_waiting("a")
        await stage.quiet()
        if slow == "finish":
            stage.end("a")
            await stage.quiet()
        async with asyncio.timeout(0.1):
            await stage.loop.aclose()
        last = (store.writes[-1], store.status["a"])
        assert (
            last
            == {
                "claim": (("requeue", "a"), RunStatus.PENDING),
                "finish": (("finish", "a"), RunStatus.SUCCESS),
            }[slow]
        )

    play(main)


@pytest.mark.parametrize(
    ("crashed", "writes", "status"),
    [
        (False, ["accept", "requeue"], RunStatus.PENDING),
        (True, ["accept"], RunStatus.RUNNING),
    ],
)
def test_a_stop_puts_back_what_works_but_a_crash_does_not(
    crashed: bool, writes: list[str], status: RunStatus
) -> None:
    async def main(stage: Stage) -> None:
        await stage.submit("a")
        await stage.quiet()
        await stage.loop.aclose(crashed=crashed)
        assert [what for what, _ in stage.store.writes] == writes
        assert stage.store.status["a"] is status

    play(main)


def test_a_stop_cancels_what_works_and_wakes_who_waits_for_it() -> None:
    async def main(stage: Stage) -> None:
        run = await stage.submit("works")
        await stage.quiet()
        woken: list[Run] = []
        run.waiters.add(lambda: woken.append(run))
        run.send_away(OSError("not yet"))
        assert woken == [run]
        await stage.loop.aclose()
        assert woken == [run, run]
        assert stage.executor.work["works"].cancelled == 1

    play(main)


def test_after_a_stop_nothing_waits_here_any_more() -> None:
    async def main(stage: Stage) -> None:
        equip(stage, limits=Limits(concurrent_runs=1))
        await stage.submit("works", "thread")
        await stage.submit("in line", "thread")
        await stage.submit("ready")
        await stage.submit("delayed", delay=60.0)
        await stage.quiet()
        await stage.loop.aclose()
        assert (stage.loop.waiting, stage.loop.working, stage.loop.all_live()) == (0, 0, ())
        with pytest.raises(Draining):
            await stage.submit("late")

    play(main)


@pytest.mark.parametrize(
    ("ending", "written"), [(Ending.INTERRUPT, "finish"), (Ending.ROLLBACK, "erase")]
)
def test_a_stop_ends_what_was_to_end(ending: Ending, written: str) -> None:
    async def main(stage: Stage) -> None:
        stage.executor.stubborn.add("a")
        run = await stage.submit("a")
        await stage.quiet()
        stage.loop.cancel(run, ending)
        await stage.quiet()
        await stage.loop.aclose()
        assert stage.store.writes[-1] == (written, "a")

    play(main)


def test_a_run_whose_submitter_is_gone_before_it_is_durable_is_worked_on() -> None:
    async def main(stage: Stage) -> None:
        run = new_run("a")
        submitting = asyncio.create_task(stage.loop.submit(run))
        while stage.loop.live("a") is None:  # noqa: ASYNC110 - a turn, not a wait
            await asyncio.sleep(0)
        assert not submitting.done()
        submitting.cancel()
        await stage.quiet()
        assert (submitting.cancelled(), run.place) == (True, Place.WORKING)
        stage.end("a", b"1")
        await stage.quiet()
        assert outcome(run) == Outcome(RunStatus.SUCCESS, b"1")
        assert (stage.loop.working, stage.loop.all_live()) == (0, ())

    play(main)


class Fencing(Executor):
    """Notes of which runs it takes no more checkpoints."""

    def __init__(self) -> None:
        super().__init__()
        self.fenced: list[str] = []

    def fence(self, run: Run) -> Callable[[], None]:
        self.fenced.append(run.run_id)
        return lambda: self.fenced.remove(run.run_id)


def test_a_run_that_was_stopped_is_fenced_for_good_and_one_that_ended_is_not() -> None:
    async def main(stage: Stage) -> None:
        executor = Fencing()
        equip(stage, executor=executor)
        await stage.submit("ends")
        stopped = await stage.submit("stopped")
        await stage.quiet()
        stage.end("ends")
        await stage.quiet()
        stage.loop.cancel(stopped, Ending.INTERRUPT)
        await asyncio.sleep(2 * GRACE)
        assert executor.fenced == ["stopped"]

    play(main, LIMITS)


def test_a_stubborn_run_is_fenced_for_as_long_as_its_task_lives() -> None:
    async def main(stage: Stage) -> None:
        executor = Fencing()
        equip(stage, executor=executor)
        executor.stubborn.add("a")
        runs = [await stage.submit("a"), await stage.submit("b")]
        await stage.quiet()
        for run in runs:
            stage.loop.cancel(run, Ending.INTERRUPT)
        await asyncio.sleep(2 * GRACE)
        assert (executor.fenced, stage.loop.zombies) == (["a"], 1)
        stage.end("a")
        await stage.quiet()
        assert (executor.fenced, stage.loop.zombies) == ([], 0)

    play(main, LIMITS)


def read(listener: Listener) -> list[int]:
    return [event.number for event in listener.take()]


def test_a_listener_that_joins_late_is_given_all_that_is_kept_and_then_what_comes() -> None:
    stream = RunStream()
    stream.keep()
    for _ in range(12_000):
        stream.publish("custom", b"1")
    listener = stream.listen(after=0)
    stream.publish("custom", b"1")
    assert (read(listener), listener.overflowed) == (list(range(1, 12_002)), False)


def test_a_listener_is_closed_when_more_waits_than_it_may_hold(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(streams, "LISTENER_BYTES", 100)
    stream = RunStream()
    listener, reader = stream.listen(), stream.listen()
    seen: list[int] = []
    for _ in range(4):
        stream.publish("custom", b"x" * 50)
        seen += read(reader)
    assert (read(listener), listener.closed, listener.overflowed) == ([1, 2], True, True)
    assert (seen, reader.closed) == ([1, 2, 3, 4], False)


def test_a_history_is_no_larger_than_it_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "HISTORY_BYTES", 100)
    stream = RunStream()
    stream.keep()
    for size in (10, 50, 50, 30):
        stream.publish("custom", b"x" * size)
    assert (stream.first, read(stream.listen(0))) == (3, [3, 4])
    stream.publish("custom", b"x" * 500)
    assert (stream.first, read(stream.listen(0))) == (5, [5])
