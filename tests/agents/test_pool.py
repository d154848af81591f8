"""Pools of agents: how they start, whom they choose, and what they show."""

import asyncio
from contextlib import AsyncExitStack, suppress
from random import Random
from typing import Any

import pytest

from agents.errors import AgentLost, AgentsError, PoolClosed
from agents.events import LeaseGranted, SeatLost
from agents.pool import AgentPool
from tests.agents.puppets import Stage, now, on_virtual_time, probes, virtual

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
