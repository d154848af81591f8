"""What the server lends to a worker process, and takes back, on virtual time."""

import asyncio
import gc
from collections.abc import Callable
from functools import partial
from typing import Any

from langgraph.store.memory import InMemoryStore

from agents.client import AgentClient
from agents.network.message import Origin
from agents.pools import AgentPools
from operations.wire import Wire
from orchestration.processes.borrowed import BorrowedRows
from orchestration.processes.lending import Lender, Stock
from orchestration.processes.server import Server
from tests.agents.puppets import Stage
from tests.simulation.simloop import SimLoop, seeds, simulate

HOW: dict[str, Any] = {"priority": None, "wait": None, "pool": None}


def lender_of(stage: Stage) -> Lender:
    """Return what lends the agents of a stage; nobody hears its answers."""
    client = AgentClient(AgentPools({"play": stage.pool}), None, Origin(sender="test"))  # type: ignore[arg-type]
    wire = Wire(lambda _: None, lambda: None)
    stock = Stock(
        checkpoints=BorrowedRows(Server(wire)), items=InMemoryStore(), agents=lambda _: client
    )
    return Lender(stock, wire, lambda _: None)  # type: ignore[arg-type, return-value]


def test_a_question_for_an_agent_that_is_taken_back_waits_no_longer() -> None:
    async def main(_: SimLoop) -> list[int]:
        stage = Stage(seats=1)
        lender = lender_of(stage)
        async with stage.open() as pool, pool.lease("play"):
            for number in range(4):
                lender.ask(number, "lease", "run", "play", HOW)
            await asyncio.sleep(0.1)
            waiting = [pool.snapshot().waiting]
            taking: list[Callable[[], None]] = [partial(lender.withdraw, 2), lender.close]
            for take_back in taking:
                take_back()
                await asyncio.sleep(0.1)
                waiting.append(pool.snapshot().waiting)
            return waiting

    assert simulate(1, main) == [4, 3, 0]


def test_a_task_that_is_taken_back_leaves_the_question_for_its_agent() -> None:
    async def main(_: SimLoop) -> list[int]:
        stage = Stage(seats=1)
        lender = lender_of(stage)
        async with stage.open() as pool, pool.lease("play"):
            lender.ask(1, "lease", "run", "play", HOW)
            await asyncio.sleep(0.1)
            lender.ask(2, "invoke", 1, b"0", False, False)
            await asyncio.sleep(0.1)
            waiting = []
            for number in (2, 1):
                lender.withdraw(number)
                await asyncio.sleep(0.1)
                waiting.append(pool.snapshot().waiting)
            return waiting

    assert simulate(1, main) == [1, 0]


def test_an_agent_is_free_again_whenever_the_question_for_it_is_taken_back() -> None:
    async def main(sim: SimLoop) -> None:
        noise: list[Any] = []
        sim.set_exception_handler(lambda _, context: noise.append(context))
        stage = Stage(seats=1)
        lender = lender_of(stage)
        async with stage.open() as pool:
            async with pool.lease("play"):
                lender.ask(1, "lease", "run", "play", HOW)
                await asyncio.sleep(0.1)
            for _ in range(sim.rng.randrange(4)):  # turns since it was granted
                await asyncio.sleep(0)
            lender.withdraw(1)
            await asyncio.sleep(0.1)
            assert (pool.snapshot().waiting, pool.snapshot().in_flight) == (0, 0)
        gc.collect()
        assert noise == []

    for seed in seeds(20):
        simulate(seed, main)
