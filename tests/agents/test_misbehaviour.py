"""Agents that break their word: their seat outlives them, and so does whoever asked."""

import asyncio
from typing import Any

import pytest

from agents.agent import Context, Task
from agents.errors import AgentLost, TaskFailed
from agents.events import SeatLost, SeatReady, StartMissed
from tests.agents.puppets import Puppet, Stage, now, virtual


async def cancelled(*_: Any) -> None:
    raise asyncio.CancelledError


@virtual
async def test_an_agent_that_says_of_a_task_only_that_it_is_lost_is_replaced() -> None:
    async def gone(task: Task, context: Context) -> None:
        raise AgentLost("it went home")

    stage = Stage()
    async with stage.open():
        stage.puppets[0].invoke = gone  # type: ignore[method-assign]
        assert await stage.work() == 1
        assert stage.told(SeatLost)[0].reason == "it went home"


@virtual
async def test_a_task_that_cancels_itself_is_lost_and_cancels_nobody_else() -> None:
    stage = Stage()
    async with stage.open():
        stage.puppets[0].invoke = cancelled  # type: ignore[assignment]
        with pytest.raises(AgentLost, match="its work was cancelled"):
            await stage.work()


@virtual
async def test_whatever_an_agent_raises_is_told_as_a_failure_of_its_task() -> None:
    async def broken(task: Task, context: Context) -> None:
        raise ZeroDivisionError("no")

    stage = Stage()
    async with stage.open():
        stage.puppets[0].invoke = broken  # type: ignore[method-assign]
        with pytest.raises(TaskFailed, match="ZeroDivisionError: no"):
            await stage.work()


@virtual
async def test_a_start_that_cancels_itself_is_tried_again() -> None:
    class Hesitant(Stage):
        def make(self) -> Puppet:
            puppet = super().make()
            if puppet.number == 0:
                puppet.start = cancelled  # type: ignore[assignment]
            return puppet

    stage = Hesitant()
    async with stage.open():
        assert await stage.work() == 1
        assert stage.told(StartMissed)[0].reason == "its start was cancelled"
    assert len(stage.told(SeatReady)) == 1


@virtual
async def test_an_agent_that_does_not_end_is_left_to_itself() -> None:
    stage = Stage()
    async with stage.open():
        stage.puppets[0].ends_in = 1_000_000
    assert now() < 60


@virtual
async def test_an_agent_that_cannot_end_leaves_its_seat_to_the_next() -> None:
    async def stuck() -> None:
        raise OSError("it is stuck")

    stage = Stage()
    async with stage.open():
        stage.puppets[0].aclose = stuck  # type: ignore[method-assign]
        stage.puppets[0].die()
        assert await stage.work() == 1


@virtual
async def test_the_task_of_an_agent_that_is_gone_does_not_hurry_the_next_one() -> None:
    async def at_once() -> None:
        pass

    stage = Stage(limits={"cancel_grace": 0.1})
    async with stage.open():
        stage.puppets[0].deaf = True
        stage.puppets[0].aclose = at_once  # type: ignore[method-assign]
        task = asyncio.create_task(stage.work(1000))
        await asyncio.sleep(1)
        stage.puppets[0].die()
        with pytest.raises(AgentLost, match="it died"):
            await task
        assert await stage.work() == 1
        (lost,) = stage.told(SeatLost)
        assert now() > 1 + lost.retry_in
