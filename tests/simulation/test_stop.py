"""The worst stop: every part takes all the time that it has, and the whole is in time."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import cast

from operations.background import held, in_background
from operations.guests import Guests
from operations.live import Live
from operations.settings import Settings
from operations.shutdown import Result, Shutdown, Step, Tier
from operations.telemetry.aggregator import Aggregator
from orchestration.core import limits_of
from orchestration.graphs.manifest import Manifest
from orchestration.stopping import PART_GRACE, beside, goodbyes, last_records, stop_runs
from tests.loop.stage import Stage, play

BUDGET = 25.0  # seconds: Kubernetes gives 30
AFTER = 0.5  # seconds for code that ignores its cancellation, once everything is closed
SETTINGS = Settings()
LIMITS = limits_of(Manifest.model_validate({"graphs": {"g": "./g.py:g"}}), SETTINGS)


class Deaf:
    """Work that ignores that it is to end, until the test is over."""

    def __init__(self) -> None:
        self.over = asyncio.Event()

    async def run(self) -> None:
        while not self.over.is_set():
            try:
                await self.over.wait()
            except asyncio.CancelledError:
                continue

    def close(self) -> None:
        pass

    def emit(self, event: object) -> None:
        pass

    async def aclose(self) -> None:
        await self.run()

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        yield
        await self.run()


async def _stop(stage: Stage) -> tuple[float, set[str]]:
    """Stop a service all of whose parts are deaf; return the seconds, and what was not done."""
    deaf = Deaf()
    for name, priority in (("critical", 0), ("normal", 5), ("low", 9)):
        stage.executor.stubborn.add(name)
        await stage.submit(name, priority=priority)
    await stage.quiet()
    shutdown = Shutdown()
    live = Live(lambda _: (), lambda: None, lambda: None)
    stop_runs(shutdown, stage.loop, live, SETTINGS)
    shutdown.add(last_records(cast("Aggregator", deaf), lambda: None, "the last"))
    shutdown.add(Step("connections", Tier.PARTS, deaf.run, PART_GRACE, forced=0.3))
    workers = {f"worker_{number}": in_background(deaf, f"deaf {number}") for number in range(8)}
    guests = Guests(PART_GRACE)
    began = stage.sim.time()
    async with guests.open("store", deaf.open()), guests.open("routes", deaf.open()):
        shutdown.add(*goodbyes(guests))
        async with beside(shutdown, agents=held(deaf.open(), "agents"), **workers):
            await shutdown.run()
    took = stage.sim.time() - began
    deaf.over.set()
    await stage.quiet()
    return took, {one.name for one in shutdown.ended if one.result is not Result.DONE}


def test_a_stop_of_which_every_part_takes_all_of_its_time_is_over_in_25_seconds() -> None:
    took, undone = play(_stop, LIMITS)
    assert {"agents", "connections", "telemetry", "store", "routes"} <= undone
    assert took > 20, "it took none of its time"
    assert took <= BUDGET - AFTER
