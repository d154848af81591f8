"""A stop in tiers: what each step may take, and what is recorded of it."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from operations.shutdown import Result, Shutdown, Step, Tier
from tests.simulation.simloop import SimLoop, simulate


class Diary:
    """Steps that note when they begin and end."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def step(
        self, name: str, tier: Tier, takes: float = 0, grace: float = 1, forced: float | None = None
    ) -> Step:
        async def stop() -> None:
            self.notes.append(f"{name} begins")
            await asyncio.sleep(takes)
            self.notes.append(f"{name} ends")

        return Step(name, tier, stop, grace, forced)


def simulated(test: Callable[[], Awaitable[None]]) -> float:
    """Run on virtual time; return how many seconds of it passed. No timer may outlive the stop."""

    async def main(loop: SimLoop) -> float:
        await test()
        took = loop.time()
        await asyncio.sleep(1_000)
        return took

    return simulate(1, main)


def test_tiers_stop_in_turn_and_the_steps_of_one_side_by_side() -> None:
    diary = Diary()

    async def stop() -> None:
        shutdown = Shutdown()
        shutdown.add(
            diary.step("agents", Tier.PARTS, takes=0.5),
            diary.step("webhooks", Tier.PARTS, takes=0.25),
            diary.step("runs", Tier.RUNS, takes=0.5),
        )
        await shutdown.run()
        assert [one.name for one in shutdown.ended] == ["runs", "webhooks", "agents"]
        assert {one.result for one in shutdown.ended} == {Result.DONE}
        assert [one.seconds for one in shutdown.ended] == [0.5, 0.25, 0.5]

    assert simulated(stop) == pytest.approx(1.0)
    assert diary.notes[:2] == ["runs begins", "runs ends"]
    assert set(diary.notes[2:4]) == {"webhooks begins", "agents begins"}


def test_a_step_that_takes_too_long_is_cancelled_and_the_others_go_on() -> None:
    diary = Diary()

    async def stop() -> None:
        shutdown = Shutdown()
        shutdown.add(
            diary.step("hung", Tier.RUNS, takes=100, grace=2),
            diary.step("quick", Tier.RUNS),
            diary.step("last", Tier.RECORDS),
        )
        await shutdown.run()
        results = {one.name: (one.result, one.seconds) for one in shutdown.ended}
        assert results == {
            "quick": (Result.DONE, 0),
            "hung": (Result.TIMED_OUT, 2),
            "last": (Result.DONE, 0),
        }

    assert simulated(stop) == pytest.approx(2)
    assert "hung ends" not in diary.notes


def test_a_step_that_ignores_its_cancellation_holds_nobody_up() -> None:
    async def ignore() -> None:
        for _ in range(3):
            try:
                await asyncio.sleep(10)
            except asyncio.CancelledError:
                continue

    async def stop() -> None:
        shutdown = Shutdown()
        shutdown.add(Step("stubborn", Tier.RUNS, ignore, grace=1))
        loop = asyncio.get_running_loop()
        await shutdown.run()
        assert loop.time() == 1
        assert [one.result for one in shutdown.ended] == [Result.TIMED_OUT]

    simulated(stop)


def test_a_step_that_fails_is_recorded_and_the_others_are_done() -> None:
    async def fail() -> None:
        raise OSError("no room")

    diary = Diary()

    async def stop() -> None:
        shutdown = Shutdown()
        shutdown.add(Step("audit", Tier.RECORDS, fail, 1), diary.step("telemetry", Tier.RECORDS))
        await shutdown.run()
        ended = {one.name: one for one in shutdown.ended}
        assert (ended["audit"].result, ended["audit"].error) == (Result.FAILED, "OSError: no room")
        assert ended["telemetry"].result is Result.DONE

    simulated(stop)


def test_forced_it_cuts_short_what_it_does_and_does_of_the_rest_what_it_must() -> None:
    diary = Diary()

    async def stop() -> None:
        shutdown = Shutdown()
        shutdown.add(
            diary.step("runs", Tier.RUNS, takes=10, grace=20),
            diary.step("agents", Tier.PARTS, takes=1, grace=2),
            diary.step("telemetry", Tier.RECORDS, takes=9, grace=9, forced=0.5),
            diary.step("audit", Tier.RECORDS, takes=0.25, forced=1),
        )
        asyncio.get_running_loop().call_later(3, shutdown.force)
        await shutdown.run()
        results = {one.name: one.result for one in shutdown.ended}
        assert results == {
            "runs": Result.CUT_SHORT,
            "agents": Result.CUT_SHORT,
            "audit": Result.DONE,
            "telemetry": Result.CUT_SHORT,
        }

    assert simulated(stop) == pytest.approx(3.5)
    assert "agents begins" not in diary.notes


def test_a_step_under_way_that_must_be_done_has_its_last_seconds_when_it_is_forced() -> None:
    diary = Diary()

    async def stop() -> None:
        shutdown = Shutdown()
        shutdown.add(diary.step("audit", Tier.RECORDS, takes=2, grace=20, forced=1.5))
        asyncio.get_running_loop().call_later(1, shutdown.force)
        await shutdown.run()
        assert [one.result for one in shutdown.ended] == [Result.DONE]

    assert simulated(stop) == pytest.approx(2)


def test_who_asks_for_it_twice_waits_for_the_same_stop() -> None:
    diary = Diary()

    async def stop() -> None:
        shutdown = Shutdown()
        shutdown.add(diary.step("runs", Tier.RUNS, takes=1))
        assert not shutdown.begun
        await asyncio.gather(shutdown.run(), shutdown.run())
        assert shutdown.begun
        assert shutdown.phase is Tier.RUNS

    simulated(stop)
    assert diary.notes == ["runs begins", "runs ends"]


def test_a_step_that_is_cancelled_by_another_is_recorded_and_holds_nobody_up() -> None:
    diary = Diary()

    async def give_up() -> None:
        raise asyncio.CancelledError

    async def stop() -> None:
        shutdown = Shutdown()
        shutdown.add(Step("cancelled", Tier.RUNS, give_up, 1), diary.step("agents", Tier.PARTS))
        await shutdown.run()
        assert [(one.name, one.result, one.error) for one in shutdown.ended] == [
            ("cancelled", Result.FAILED, "CancelledError"),
            ("agents", Result.DONE, None),
        ]

    simulated(stop)
