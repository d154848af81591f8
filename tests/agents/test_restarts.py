"""Agents that do not answer, or end: when another is started, and how soon."""

import asyncio
from random import Random

import pytest

from agents.configuration import ProcessPool
from agents.errors import AgentLost
from agents.events import PoolDegraded, SeatLost
from agents.pool import AgentPool
from agents.seat import SeatState
from tests.agents.puppets import Stage, now, probes, virtual


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
