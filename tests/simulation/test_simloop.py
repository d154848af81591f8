"""The simulated event loop itself."""

import asyncio

import pytest

from tests.simulation.simloop import SimLoop, simulate


async def _order(loop: SimLoop) -> list[int]:
    order: list[int] = []

    async def one(number: int) -> None:
        await asyncio.sleep(0)
        order.append(number)

    await asyncio.gather(*(one(n) for n in range(8)))
    return order


def test_a_seed_gives_the_same_order_again() -> None:
    assert simulate(7, _order) == simulate(7, _order)


def test_seeds_give_different_orders() -> None:
    assert len({tuple(simulate(seed, _order)) for seed in range(20)}) > 10


def test_sleeping_takes_virtual_time_only() -> None:
    async def main(loop: SimLoop) -> float:
        await asyncio.sleep(3600)
        return loop.time()

    assert simulate(1, main) == 3600


def test_threads_are_refused() -> None:
    async def main(loop: SimLoop) -> None:
        await asyncio.to_thread(print)

    with pytest.raises(RuntimeError, match="no threads"):
        simulate(1, main)


def test_what_is_raised_where_nobody_sees_it_fails_the_simulation() -> None:
    async def main(loop: SimLoop) -> None:
        loop.call_soon(asyncio.Future[None](loop=loop).result)
        await asyncio.sleep(1)

    with pytest.raises(AssertionError, match="InvalidStateError"):
        simulate(1, main)
