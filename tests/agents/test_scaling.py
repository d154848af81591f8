"""Pools that grow and shrink with what there is to do."""

import asyncio
from typing import Any

import pytest

from agents.configuration import Scaling, Seats
from agents.scaling import Scaler
from tests.agents.puppets import Stage, now, virtual


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


def settled(load: int, **policy: Any) -> Scaler:
    """Return who has seen the same load for an hour, until the second 3,600."""
    scaler = Scaler(Scaling(**policy), Seats(min=1, max=20), 0)
    scaler.observe(0, load)
    scaler.observe(3_600, load)
    return scaler


@pytest.mark.parametrize(
    ("load", "waited", "wanted"),
    [
        (8, 0, 10),
        (9, 0, 17),  # busier than 0.8: so many that 0.55 of them are at work
        (8, 1, 10),
        (8, 1.1, 15),  # somebody waited for longer than a second
        (3, 0, 10),
        (2, 0, 4),  # less busy than 0.3
        (2, 0.1, 10),  # but for who waits
        (20, 0, 20),
        (0, 0, 1),
    ],
)
def test_a_pool_is_as_large_as_its_load_and_whoever_waits_ask_for(
    load: int, waited: float, wanted: int
) -> None:
    assert settled(load).decide(3_600, 10, waited) == wanted


def test_a_pool_that_has_changed_changes_again_after_a_while() -> None:
    scaler = settled(9, grow_cooldown=5, shrink_cooldown=60)
    assert scaler.decide(3_600, 10, 0) == 17
    assert scaler.decide(3_604, 10, 0) == 10, "those that start are to help first"
    assert scaler.decide(3_605, 10, 0) == 17
    scaler.observe(3_605, 0)
    assert scaler.decide(3_664, 17, 0) == 17
    assert scaler.decide(3_665, 17, 0) == 1
    scaler.observe(3_665, 100)
    assert scaler.decide(3_670, 1, 0) == 20, "what was given up does not keep others from coming"


def test_a_pool_grows_for_what_has_just_come() -> None:
    scaler = settled(9)
    scaler.observe(3_600, 10)
    assert scaler.decide(3_600, 10, 0) == 19
