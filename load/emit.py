"""What it costs whoever tells of something: one append, whatever the sinks do.

    .venv/bin/python load/emit.py

Prints the percentiles of one `emit` in microseconds, while a sink takes what is told.
"""

import asyncio
import time
from collections.abc import Sequence
from random import Random

from operations.telemetry.aggregator import Aggregator
from operations.telemetry.events import LoopBlocked
from operations.telemetry.record import Record

ROUNDS = 5
EVENTS = 20_000


class Taker:
    """Takes everything and keeps nothing."""

    name = "taker"
    kinds = None

    def take(self, batch: Sequence[Record]) -> None:
        """Take it."""

    def close(self, grace: float) -> None:
        """Do nothing."""


async def one_round(telemetry: Aggregator) -> list[int]:
    """Return what each call took, in nanoseconds, sorted."""
    took: list[int] = []
    event = LoopBlocked("somewhere", 0.5)
    for number in range(EVENTS):
        begun = time.perf_counter_ns()
        telemetry.emit(event)
        took.append(time.perf_counter_ns() - begun)
        if number % 100 == 0:
            await asyncio.sleep(0)
    return sorted(took)


async def main() -> None:
    """Measure a few rounds, and print each."""
    common = {"service.name": "bench"}
    async with Aggregator([Taker()], importance={}, common=common, rng=Random(1)) as telemetry:
        for number in range(ROUNDS):
            took = await one_round(telemetry)
            shown = [f"p{p} {took[len(took) * p // 100] / 1_000:.1f} µs" for p in (50, 95, 99)]
            print(f"round {number + 1}:", *shown)


if __name__ == "__main__":
    asyncio.run(main())
