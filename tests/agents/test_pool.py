"""Pools of agents, as those who lease see them."""

import asyncio
import functools
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from random import Random
from typing import Any

import pytest

from agents.configuration import ProcessPool
from agents.errors import (
    AgentLost,
    AgentsError,
    LeaseTimeout,
    PoolClosed,
    TaskFailed,
    TaskTimeout,
    TooManyWaiting,
    UnknownCapability,
)
from agents.events import LeaseGranted, PoolDegraded, SeatLost, TaskEnded
from agents.pool import AgentPool
from agents.pools import AgentPools
from agents.seat import SeatState
from tests.agents.puppets import Stage, on_virtual_time

Test = Callable[[], Coroutine[Any, Any, None]]


def virtual(test: Test) -> Callable[[], None]:
    """Run a test on virtual time."""

    @functools.wraps(test)
    def run() -> None:
        on_virtual_time(test)

    del run.__wrapped__
    return run


def now() -> float:
    return asyncio.get_running_loop().time()


async def probes(pool: AgentPool, count: int) -> None:
    """Return once the first seat was probed so often."""
    while len(pool.snapshot().seats[0].probes) < count:  # noqa: ASYNC110 - virtual time
        await asyncio.sleep(0.1)


# Starting.


@virtual
async def test_starting_many_takes_as_long_as_the_slowest() -> None:
    stage = Stage(seats=50, restart={"starts": 50})
    stage.starts_in = 1.0
    async with stage.open() as pool:
        assert now() < 1.1
        assert pool.snapshot().state == "healthy"


@virtual
async def test_only_so_many_start_at_a_time() -> None:
    stage = Stage(seats=6, restart={"starts": 2})
    stage.starts_in = 1.0
    async with stage.open():
        await asyncio.sleep(5)
    assert [round(at) for at in stage.starting] == [0, 0, 1, 1, 2, 2]


@virtual
async def test_one_that_cannot_start_degrades_the_pool_and_blocks_nobody() -> None:
    stage = Stage(seats=3)
    stage.starts_in = 1.0
    original = stage.make

    def make() -> Any:
        puppet = original()
        if puppet.number == 1:
            puppet.start = lambda _: asyncio.sleep(1000)  # type: ignore[assignment]
        return puppet

    stage.pool._provisioner._make = make  # noqa: SLF001 - one of three hangs
    async with stage.open() as pool:
        assert await stage.work() in {0, 2}
        await asyncio.sleep(29.5)
        state = pool.snapshot()
        assert (state.state, state.reason) == (
            "degraded",
            "1 of 3 seats: it did not start within 30 s",
        )


@virtual
async def test_one_that_cannot_be_made_degrades_the_pool_until_it_can_be() -> None:
    stage = Stage()
    made = iter([ZeroDivisionError("no"), None])

    def make() -> Any:
        if (trouble := next(made)) is not None:
            raise trouble
        return stage.make()

    pool = AgentPool("play", stage.section, make, stage.events.append, Random(1))
    async with pool.running():
        await asyncio.sleep(0.1)
        state = pool.snapshot()
        assert state.reason == "1 of 1 seats: it cannot be made: ZeroDivisionError: no"
        await asyncio.sleep(1)
        assert pool.snapshot().state == "healthy"
    assert stage.puppets[0].closed


@virtual
async def test_closing_while_agents_start_waits_for_no_start() -> None:
    stage = Stage(seats=4, restart={"starts": 2})
    stage.starts_in = 20.0
    async with stage.pool.running():
        await asyncio.sleep(1)
    assert now() < 2
    assert all(puppet.closed for puppet in stage.puppets)


# Leases.


@virtual
async def test_who_waits_goes_by_priority_and_then_by_arrival() -> None:
    stage = Stage(seats=1)
    order: list[str] = []

    async def ask(name: str, priority: int) -> None:
        async with stage.pool.lease("play", priority=priority) as lease:
            order.append(name)
            await lease.invoke(1)

    async with stage.open():
        first = asyncio.create_task(ask("first", 5))
        await asyncio.sleep(0.1)
        others = []
        for name, priority in (("late", 9), ("a", 5), ("b", 5), ("urgent", 0)):
            others.append(asyncio.create_task(ask(name, priority)))
            await asyncio.sleep(0.01)
        await asyncio.gather(first, *others)
    assert order == ["first", "urgent", "a", "b", "late"]


@virtual
async def test_a_low_priority_is_not_passed_by_for_ever() -> None:
    stage = Stage(seats=1, lease_timeout=10_000)
    async with stage.open():
        await asyncio.sleep(0.1)
        patient = asyncio.create_task(stage.work(1, priority=10))
        urgent: set[asyncio.Task[Any]] = set()
        while not patient.done():
            urgent.add(asyncio.create_task(stage.work(1, priority=0)))
            await asyncio.sleep(0.5)  # twice as many as can be done
        for task in urgent:
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*urgent, return_exceptions=True)
        assert now() < 2 * 10 * 60 + 10


@virtual
async def test_a_deadline_ends_the_wait_with_the_reason() -> None:
    stage = Stage(seats=1)
    async with stage.open() as pool:
        busy = asyncio.create_task(stage.work(100))
        await asyncio.sleep(0.1)
        with pytest.raises(LeaseTimeout, match="within 2 s: 1 at work, 1 waiting"):
            await stage.work(deadline=now() + 2)
        assert (pool.snapshot().waiting, pool.snapshot().in_flight) == (0, 1)
        busy.cancel()


@virtual
async def test_more_than_may_wait_are_refused_at_once() -> None:
    stage = Stage(seats=1, waiting=2)
    async with stage.open():
        tasks = [asyncio.create_task(stage.work(1)) for _ in range(3)]
        await asyncio.sleep(0.1)
        with pytest.raises(TooManyWaiting, match="2 already wait"):
            await stage.work()
        assert len(await asyncio.gather(*tasks)) == 3


@virtual
async def test_leaving_while_waiting_leaks_nothing() -> None:
    stage = Stage(seats=1)
    async with stage.open() as pool:
        busy = asyncio.create_task(stage.work(1))
        await asyncio.sleep(0.1)
        waiting = asyncio.create_task(stage.work(1))
        await asyncio.sleep(0.1)
        waiting.cancel()
        await asyncio.wait({waiting, busy})
        assert await stage.work() == 0
        state = pool.snapshot()
        assert (state.waiting, state.in_flight, state.seats[0].state) == (0, 0, SeatState.FREE)


@virtual
async def test_what_nobody_can_do_is_told_with_the_nearest_that_somebody_can() -> None:
    stage = Stage()
    async with stage.open() as pool:
        with pytest.raises(UnknownCapability, match="Did you mean play"):
            async with pool.lease("plya"):
                pass


@virtual
async def test_who_asks_before_the_agents_are_known_is_told_when_they_are() -> None:
    stage = Stage()
    stage.starts_in = 3.0
    async with stage.pool.running():
        with pytest.raises(UnknownCapability):
            async with stage.pool.lease("dance"):
                pass
    assert 2.9 < now() < 3.1


@virtual
async def test_a_lease_does_one_task_at_a_time_and_many_in_turn() -> None:
    stage = Stage()
    async with stage.open() as pool, pool.lease("play") as lease:
        assert (lease.pool, lease.capability) == ("play", "play")
        await lease.invoke(1)
        one = asyncio.create_task(lease.invoke(1))
        await asyncio.sleep(0.1)
        with pytest.raises(RuntimeError, match="one task at a time"):
            await lease.invoke(1)
        assert await one == 0


@virtual
async def test_a_lease_that_has_ended_takes_no_agent_any_more() -> None:
    stage = Stage()
    async with stage.open() as pool:
        async with pool.lease("play") as lease:
            pass
        with pytest.raises(RuntimeError, match="the lease has ended"):
            await lease.invoke(0)
        assert (pool.snapshot().in_flight, await stage.work()) == (0, 0)


@virtual
async def test_an_agent_lost_by_a_task_that_outlives_its_lease_is_not_replaced_for_it() -> None:
    stage = Stage()
    async with stage.open() as pool:
        async with pool.lease("play") as lease:
            work = asyncio.create_task(lease.invoke(30, idempotent=True))
            await asyncio.sleep(1)
        stage.puppets[0].die()
        with pytest.raises(AgentLost, match="it died"):
            await work
        assert (await stage.work(), pool.snapshot().in_flight) == (1, 0)


@virtual
async def test_an_agent_that_comes_after_the_end_of_the_lease_is_given_back() -> None:
    stage = Stage()
    async with stage.open() as pool:
        async with pool.lease("play") as lease:
            work = asyncio.create_task(lease.invoke(30, idempotent=True))
            await asyncio.sleep(1)
            stage.puppets[0].die()
            await asyncio.sleep(0.1)
            assert pool.snapshot().waiting == 1
        with pytest.raises(RuntimeError, match="the lease has ended"):
            await work
        assert (await stage.work(), pool.snapshot().in_flight) == (1, 0)


# Losing agents.


@virtual
async def test_a_task_that_had_not_started_is_done_by_another_agent() -> None:
    stage = Stage(seats=2)
    async with stage.open():
        stage.puppets[0].starts_work = False
        assert await stage.work("once") == 1
        assert stage.puppets[1].done == ["once"]


@virtual
async def test_one_that_had_started_is_not_unless_it_is_idempotent() -> None:
    stage = Stage(seats=2)
    async with stage.open():
        asyncio.get_running_loop().call_later(1, stage.puppets[0].die)
        with pytest.raises(AgentLost, match="it died") as caught:
            await stage.work(5)
        assert caught.value.started
        asyncio.get_running_loop().call_later(1, stage.puppets[1].die)
        await asyncio.sleep(0.5)
        assert await stage.work(5, idempotent=True) == 2
        assert len(stage.told(TaskEnded)) == 3


@virtual
async def test_who_loses_an_agent_waits_anew_for_another_one() -> None:
    stage = Stage(seats=1)
    async with AgentPools({"play": stage.pool}).running() as pools:
        await asyncio.sleep(0.1)
        asyncio.get_running_loop().call_later(10, stage.puppets[0].die)
        async with pools.lease("play", wait=5) as lease:
            assert await lease.invoke(30, idempotent=True) == 1


@virtual
async def test_who_gets_no_other_agent_is_told_of_the_one_that_was_lost() -> None:
    stage = Stage(seats=1)
    async with stage.open() as pool:
        stage.cannot_start = True
        asyncio.get_running_loop().call_later(10, stage.puppets[0].die)
        async with pool.lease("play", wait=5) as lease:
            with pytest.raises(LeaseTimeout, match="within 5 s") as caught:
                await lease.invoke(30, idempotent=True)
        assert isinstance(caught.value.__context__, AgentLost)
        assert 15 < now() < 15.1


@virtual
async def test_a_task_that_kills_every_agent_is_given_up() -> None:
    stage = Stage(seats=5)
    async with stage.open() as pool:
        for puppet in stage.puppets:
            puppet.starts_work = False
        with pytest.raises(AgentLost):
            await stage.work(idempotent=True)
        assert sum(seat.state is SeatState.FREE for seat in pool.snapshot().seats) == 2


@virtual
async def test_a_failed_task_leaves_the_agent_where_it_is() -> None:
    stage = Stage()
    async with stage.open() as pool:
        stage.puppets[0].fails = True
        with pytest.raises(TaskFailed):
            await stage.work()
        stage.puppets[0].fails = False
        assert await stage.work() == 0
        assert pool.snapshot().seats[0].failures == 1


@virtual
async def test_a_task_that_takes_too_long_is_cancelled() -> None:
    stage = Stage(limits={"task_timeout": 5})
    async with stage.open():
        with pytest.raises(TaskTimeout, match="longer than 5 seconds"):
            await stage.work(100)
        assert await stage.work() == 0, "the agent stopped and stays"


@virtual
async def test_an_agent_that_ignores_its_cancellation_is_replaced_and_delays_nobody() -> None:
    stage = Stage(limits={"cancel_grace": 3})
    async with stage.open() as pool:
        stage.puppets[0].deaf = True
        task = asyncio.create_task(stage.work(1000))
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.wait({task})
        assert now() < 1.1, "who cancels does not wait"
        assert pool.snapshot().seats[0].state is SeatState.STOPPING
        assert await stage.work() == 1
        assert "did not stop within 3 s" in stage.told(SeatLost)[0].reason


@virtual
async def test_an_error_of_whoever_hears_the_events_is_theirs() -> None:
    stage = Stage()

    def hear(error: type[BaseException], _: Any) -> None:
        raise error

    async with stage.open() as pool:
        puppet = stage.puppets[0]
        original = puppet.invoke

        async def loud(task: Any, context: Any) -> Any:
            context.publish("a")
            return await original(task, context)

        puppet.invoke = loud  # type: ignore[method-assign]
        async with pool.lease("play") as lease:
            for error in (ZeroDivisionError, SystemExit):
                with pytest.raises(error):
                    await lease.invoke(0, on_event=functools.partial(hear, error))
            puppet.invoke = original  # type: ignore[method-assign]
            assert await lease.invoke(0) == 0


# Probes, back-off, restarts.


@virtual
async def test_one_missed_probe_takes_a_seat_out_and_an_answer_brings_it_back() -> None:
    stage = Stage(seats=2, probe={"period": 10, "failures": 3, "recoveries": 2})
    async with stage.open() as pool:
        stage.puppets[0].well = False
        await probes(pool, 1)
        assert pool.snapshot().seats[0].state is SeatState.SUSPECT
        assert pool.snapshot().reason == "1 of 2 seats: it missed a probe"
        assert {await stage.work() for _ in range(4)} == {1}
        stage.puppets[0].well = True
        await probes(pool, 2)
        assert pool.snapshot().seats[0].state is SeatState.SUSPECT, "one answer is not two"
        await probes(pool, 3)
        assert pool.snapshot().seats[0].state is SeatState.FREE
        assert {await stage.work() for _ in range(4)} == {0, 1}


@virtual
async def test_several_missed_probes_replace_the_agent_and_end_its_task() -> None:
    stage = Stage(probe={"period": 10, "failures": 3})
    async with stage.open():
        stage.puppets[0].well = False
        with pytest.raises(AgentLost, match="missed 3 probes in a row: no pulse"):
            await stage.work(1000)
        assert now() < 40
        assert await stage.work() == 1


@virtual
async def test_the_pause_before_a_start_doubles_up_to_a_minute() -> None:
    stage = Stage(seats=1)
    stage.cannot_start = True
    async with stage.pool.running():
        await asyncio.sleep(400)
    gaps = [b - a for a, b in zip(stage.starting, stage.starting[1:], strict=False)]
    wanted = [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert len(gaps) >= len(wanted)
    assert all(0.75 * w <= gap <= w for w, gap in zip(wanted, gaps, strict=False)), gaps


@virtual
async def test_an_agent_that_ends_within_its_grace_is_waited_for() -> None:
    stage = Stage()
    section = ProcessPool.model_validate({"kind": "process", "argv": ["play"], "end_grace": 60})
    pool = AgentPool("play", section, stage.make, stage.events.append, Random(1))
    async with pool.running():
        await asyncio.sleep(0.1)
        stage.puppets[0].ends_in = 60.0
    assert stage.puppets[0].closed


@virtual
async def test_ten_healthy_minutes_begin_the_counting_anew() -> None:
    stage = Stage(seats=1)
    async with stage.open():
        for lived in (1, 1, 1, 601):
            await asyncio.sleep(lived)
            stage.puppets[-1].die()
            await asyncio.sleep(8.1)
        pauses = [event.retry_in for event in stage.told(SeatLost)]
    assert [round(pause / 0.875) for pause in pauses] == [1, 2, 4, 1]


@virtual
async def test_too_many_restarts_degrade_the_pool_and_wait() -> None:
    stage = Stage(seats=4, restart={"intensity": 3, "within": 100, "first": 1})
    async with stage.open() as pool:
        for puppet in list(stage.puppets):
            puppet.die()
        await asyncio.sleep(50)
        reasons = [event.reason for event in stage.told(PoolDegraded)]
        assert reasons == ["its agents ended too often"]
        assert [seat.state for seat in pool.snapshot().seats].count(SeatState.WAITING) == 1
        assert pool.snapshot().state == "degraded"
        await asyncio.sleep(60)
        assert pool.snapshot().state == "healthy"
        assert len(stage.puppets) == 8


# Strategies.


@pytest.mark.parametrize(
    ("strategy", "chosen"),
    [
        ("round-robin", [2, 1, 0, 2, 1, 0]),
        ("least-loaded", [2, 2, 2, 2, 2, 2]),  # its tasks here take no time
        ("fastest", [2, 2, 2, 2, 2, 2]),
    ],
)
def test_a_strategy_chooses_among_the_free(strategy: str, chosen: list[int]) -> None:
    async def main() -> list[int]:
        stage = Stage(seats=3, strategy=strategy)
        async with stage.open():
            async with AsyncExitStack() as stack:
                for seconds in (3, 2, 1):
                    lease = await stack.enter_async_context(stage.pool.lease("play"))
                    await lease.invoke(seconds)
            return [await stage.work(0) for _ in range(6)]

    assert on_virtual_time(main) == chosen


@virtual
async def test_the_fastest_is_not_one_that_fails_fast() -> None:
    stage = Stage(seats=2, strategy="fastest")
    async with stage.open():
        stage.puppets[0].fails = True
        for _ in range(20):
            with suppress(AgentsError):
                await stage.work(0.5)
        await stage.work(0.5)
        stage.puppets[0].fails = False
        done = [await stage.work(0.5) for _ in range(4)]
    assert done == [1, 1, 1, 1]


@virtual
async def test_sticky_leads_a_thread_to_the_same_agent_if_it_is_free() -> None:
    stage = Stage(seats=3, strategy="sticky")
    async with stage.open() as pool:
        first = {name: await stage.work(thread_id=name) for name in "abc"}
        again = {name: await stage.work(thread_id=name) for name in "cba"}
        assert first == again
        async with pool.lease("play", thread_id="a"):
            assert await stage.work(thread_id="a") != first["a"]


# Draining, restarting, snapshots.


@virtual
async def test_a_drained_pool_finishes_its_leases_and_lends_no_more() -> None:
    stage = Stage(seats=2)
    async with stage.open() as pool:
        busy = asyncio.create_task(stage.work(5))
        await asyncio.sleep(0.1)
        pool.drain()
        with pytest.raises(PoolClosed):
            await stage.work()
        assert pool.snapshot().state == "drained"
        assert await busy == 0
        await asyncio.sleep(0.1)
        assert pool.snapshot().seats == ()
        pool.restart()
        assert await stage.work() >= 2


@virtual
async def test_who_waits_when_a_pool_is_drained_is_told() -> None:
    stage = Stage(seats=1)
    async with stage.open() as pool:
        busy = asyncio.create_task(stage.work(5))
        await asyncio.sleep(0.1)
        waiting = asyncio.create_task(stage.work())
        await asyncio.sleep(0.1)
        pool.drain()
        with pytest.raises(PoolClosed):
            await waiting
        await busy


@virtual
async def test_a_restart_replaces_each_agent_after_its_lease() -> None:
    stage = Stage(seats=2)
    async with stage.open() as pool:
        busy = asyncio.create_task(stage.work(5))
        await asyncio.sleep(0.1)
        pool.restart()
        await asyncio.sleep(0.1)
        assert [puppet.closed for puppet in stage.puppets] == [False, True, False]
        await busy
        await asyncio.sleep(0.1)
        assert [puppet.closed for puppet in stage.puppets] == [True, True, False, False]
        assert not stage.told(SeatLost)


@virtual
async def test_a_restart_ends_a_back_off() -> None:
    stage = Stage(seats=1)
    stage.cannot_start = True
    async with stage.pool.running():
        await asyncio.sleep(100)
        stage.cannot_start = False
        stage.pool.restart()
        await asyncio.sleep(0.1)
        assert stage.pool.snapshot().state == "healthy"


@virtual
async def test_what_looks_like_a_secret_in_an_error_is_not_shown() -> None:
    stage = Stage(probe={"period": 10})

    async def probe() -> None:
        raise AgentLost("it was asked with token=canary1")

    async with stage.open() as pool:
        stage.puppets[0].probe = probe  # type: ignore[method-assign]
        await probes(pool, 1)
        stage.puppets[0].lost(AgentLost("it was started with sk-canary-canary2"))
        await asyncio.sleep(0.1)
        state = pool.snapshot()
    assert state.reason == "1 of 1 seats: it was started with [redacted]"
    assert state.seats[0].probes[0].error == "it was asked with token=[redacted]"


@virtual
async def test_a_snapshot_is_made_anew_only_when_something_changed() -> None:
    stage = Stage(seats=2, probe={"period": 100})
    async with stage.open() as pool:
        before = pool.snapshot()
        assert pool.snapshot() is before
        await stage.work()
        after = pool.snapshot()
        assert after is not before
        assert (before.seats[0].tasks, after.seats[0].tasks) == (0, 1)


@virtual
async def test_what_waits_is_told_with_each_lease() -> None:
    stage = Stage(seats=1)
    async with stage.open():
        await asyncio.gather(stage.work(2), stage.work(0))
    assert [round(event.waited) for event in stage.told(LeaseGranted)] == [0, 2]


# Scaling.


@virtual
async def test_a_pool_grows_by_several_under_load_and_shrinks_when_it_is_over() -> None:
    stage = Stage(
        seats={"min": 1, "max": 8},
        scaling={"wait": 1, "smoothing": 2, "shrink_cooldown": 20, "grow_cooldown": 2},
    )
    stage.starts_in = 0.5
    async with stage.open() as pool:
        tasks = [asyncio.create_task(stage.work(4)) for _ in range(40)]
        await asyncio.sleep(4)
        assert len(pool.snapshot().seats) == 8, "several at once"
        await asyncio.gather(*tasks)
        await asyncio.sleep(60)
        assert len(pool.snapshot().seats) == 1
        assert now() < 110


@virtual
async def test_a_steady_load_does_not_make_a_pool_flap() -> None:
    stage = Stage(seats={"min": 1, "max": 10})
    sizes: list[int] = []

    async def ask() -> None:
        while now() < 600:
            await stage.work(1.0)
            await asyncio.sleep(0.5)

    async with stage.open() as pool:
        tasks = [asyncio.create_task(ask()) for _ in range(4)]
        while now() < 600:
            await asyncio.sleep(5)
            sizes.append(len(pool.snapshot().seats))
        await asyncio.gather(*tasks)
    assert len(set(sizes[len(sizes) // 2 :])) == 1, sizes


@virtual
async def test_nothing_looks_at_a_pool_that_is_at_rest() -> None:
    stage = Stage(seats={"min": 1, "max": 4}, probe={"period": 10_000})
    async with stage.open():
        await stage.work()
        await asyncio.sleep(100)
        loop: Any = asyncio.get_running_loop()
        due = [handle.when() for handle in loop._scheduled if not handle.cancelled()]  # noqa: SLF001
        assert len(due) == 1, "the probe's"


@virtual
async def test_a_pool_all_of_whose_agents_are_to_go_grows_when_others_have_come() -> None:
    stage = Stage(seats={"min": 1, "max": 2})
    broken: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: broken.append(context))
    async with stage.open() as pool:
        tasks = [asyncio.create_task(stage.work(10)) for _ in range(2)]
        await asyncio.sleep(5)
        pool.drain()
        pool.restart()
        assert pool.snapshot().in_flight == 2
        tasks += [asyncio.create_task(stage.work(10)) for _ in range(8)]
        await asyncio.sleep(20)
        assert broken == []
        assert pool.snapshot().in_flight == 2
        await asyncio.gather(*tasks)


# Several pools.


@virtual
async def test_of_several_pools_the_one_with_the_least_to_do_is_asked() -> None:
    busy, idle, other = Stage(seats=1), Stage(seats=1), Stage(seats=1)
    other.capabilities = frozenset({"dance"})
    pools = AgentPools({"busy": busy.pool, "idle": idle.pool, "other": other.pool})
    async with pools.running():
        await asyncio.sleep(0.1)
        async with pools.lease("play"):
            assert await pools.find("play") is idle.pool
            assert await pools.find("dance") is other.pool
            with pytest.raises(UnknownCapability, match="Known are: dance, play"):
                await pools.find("xxx")
    assert all(stage.puppets[0].closed for stage in (busy, idle, other))


@virtual
async def test_a_pool_that_lends_is_asked_rather_than_one_that_is_drained() -> None:
    drained, busy = Stage(seats=1), Stage(seats=1)
    async with AgentPools({"drained": drained.pool, "busy": busy.pool}).running() as pools:
        await asyncio.sleep(0.1)
        drained.pool.drain()
        waiting = [asyncio.create_task(busy.work(1)) for _ in range(20)]
        await asyncio.sleep(0.1)
        assert await pools.find("play") is busy.pool
        await asyncio.gather(*waiting)
        busy.pool.drain()
        with pytest.raises(PoolClosed):
            async with pools.lease("play"):
                pass
        drained.pool.restart()
        assert await pools.find("play") is drained.pool


@virtual
async def test_a_capability_is_waited_for_until_every_pool_has_said_what_it_can_do() -> None:
    quick, slow = Stage(), Stage(lease_timeout=20)
    slow.starts_in = 5.0
    slow.capabilities = frozenset({"dance"})
    async with AgentPools({"quick": quick.pool, "slow": slow.pool}).running() as pools:
        assert await pools.find("dance") is slow.pool
    assert 4.9 < now() < 5.1


@virtual
async def test_a_pool_that_never_starts_is_not_waited_for_for_ever() -> None:
    never = Stage(lease_timeout=20)
    never.cannot_start = True
    async with AgentPools({"never": never.pool}).running() as pools:
        with pytest.raises(LeaseTimeout, match="1 of 1 seats: there is no model"):
            await pools.find("dance")
        assert 19.9 < now() < 20.1
        with pytest.raises(LeaseTimeout):
            await pools.find("dance", now() + 2)
        assert 21.9 < now() < 22.1
