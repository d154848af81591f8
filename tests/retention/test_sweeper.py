"""When the sweeper sweeps, on virtual time."""

import math

import pytest

from operations.background import in_background
from operations.errors import StorageFull
from orchestration.retention.sweeper import LONGEST_REST, SHORTEST_REST, Sweeper
from tests.operations.clock import Clock

INTERVAL = 2 * LONGEST_REST


class Dust:
    """There is more in ``next_sweep`` seconds; each sweep goes as ``ways`` says."""

    def __init__(self, pause: float, *ways: int | Exception) -> None:
        self.pause = pause
        self.ways = list(ways)
        self.sweeps = 0

    async def sweep(self) -> int:
        self.sweeps += 1
        way = self.ways.pop(0) if self.ways else 0
        if isinstance(way, Exception):
            raise way
        return way

    def next_sweep(self) -> float:
        return self.pause


@pytest.mark.parametrize(
    ("pause", "asked", "rests"),
    [
        (0.0, SHORTEST_REST, SHORTEST_REST),
        (90.0, SHORTEST_REST, 90.0),
        (math.inf, SHORTEST_REST, LONGEST_REST),
        (0.0, INTERVAL, INTERVAL),
    ],
)
async def test_it_rests_until_there_is_something_to_sweep(
    pause: float, asked: float, rests: float
) -> None:
    clock = Clock()
    dust = Dust(pause, 500, 3)
    async with in_background(Sweeper(dust, "dust", rest=asked, sleep=clock.sleep), "sweeper"):
        rest = await clock.next_alarm()
    assert [rest, dust.sweeps] == pytest.approx([rests, 3])


async def test_it_goes_on_after_the_disk_was_full() -> None:
    clock = Clock()
    dust = Dust(0.0, StorageFull("no room"))
    async with in_background(Sweeper(dust, "dust", sleep=clock.sleep), "sweeper"):
        clock.move(await clock.next_alarm())
        await clock.next_alarm()
    assert dust.sweeps == 2
