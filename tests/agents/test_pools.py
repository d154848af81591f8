"""Several pools: which of them is asked."""

import asyncio

import pytest

from agents.errors import LeaseTimeout, PoolClosed, UnknownCapability
from agents.pools import AgentPools
from tests.agents.puppets import Stage, now, virtual


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


@virtual
async def test_a_pool_that_is_drained_before_it_says_what_it_can_do_is_not_waited_for() -> None:
    slow = Stage(lease_timeout=60)
    slow.starts_in = 5.0
    async with AgentPools({"slow": slow.pool}).running() as pools:
        asking = [asyncio.create_task(pools.meant(name)) for name in ("play", "slow")]
        await asyncio.sleep(1)
        slow.pool.drain()
        refused = await asyncio.gather(*asking, return_exceptions=True)
        for name in ("play", "slow"):
            with pytest.raises(PoolClosed):
                await pools.meant(name)
        assert [type(error) for error in refused] == [PoolClosed, PoolClosed]
        assert now() < 1.1
        slow.pool.restart()
        assert await pools.meant("slow") == (slow.pool, "play")
        assert 5.9 < now() < 6.1


@virtual
async def test_while_one_pool_is_drained_before_it_is_known_others_are_waited_for() -> None:
    drained, slow = Stage(), Stage()
    drained.starts_in, slow.starts_in = 100.0, 5.0
    async with AgentPools({"drained": drained.pool, "slow": slow.pool}).running() as pools:
        asking = asyncio.create_task(pools.find("play"))
        await asyncio.sleep(1)
        drained.pool.drain()
        assert await asking is slow.pool
        assert 4.9 < now() < 5.1
