"""Leases of agents, as those who take them see them, also when an agent is lost."""

import asyncio
import functools
from contextlib import suppress
from typing import Any

import pytest

from agents.errors import (
    AgentLost,
    LeaseTimeout,
    TaskFailed,
    TaskTimeout,
    TooManyWaiting,
    UnknownCapability,
)
from agents.events import SeatLost, TaskEnded
from agents.pools import AgentPools
from agents.seat import SeatState
from tests.agents.puppets import Stage, now, virtual

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
async def test_who_is_cancelled_as_an_agent_is_granted_leaves_it_to_others() -> None:
    stage = Stage(seats=1)
    async with stage.open() as pool:
        await asyncio.sleep(0.1)
        async with pool.lease("play"):
            waiting = asyncio.create_task(stage.work(1))
            await asyncio.sleep(0.1)
        waiting.cancel()  # in the turn in which the lease ended
        await asyncio.wait({waiting})
        assert waiting.cancelled()
        await stage.work(1)


@virtual
async def test_a_pool_that_lends_again_fills_the_places_of_those_that_were_leaving() -> None:
    stage = Stage(seats=1)
    async with stage.open() as pool:
        await asyncio.sleep(0.1)
        async with pool.lease("play"):
            pool.drain()
            pool.restart()
        await stage.work(1)


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
