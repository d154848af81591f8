"""Crons under refusals and stops by chance: no due time runs twice, and none is lost."""

import os
from collections import defaultdict
from datetime import datetime, timedelta
from pathlib import Path
from random import Random

import pytest

from operations.background import in_background
from orchestration.crons.timekeeper import LONGEST_WAIT, Timekeeper
from orchestration.loop.errors import QueueFull
from orchestration.loop.run import Firing
from orchestration.store.crons import Cron
from tests.crons.watch import Watch, new_cron, open_watch, utc

SEEDS = min(10, int(os.environ.get("SIMULATION_SEEDS", "10")))
SCHEDULES = ("* * * * *", "*/2 * * * *", "3,7,8 * * * *", "*/5 * * * *", "0 * * * *")
START = "2026-10-25 00:20"  # an hour that comes twice in Berlin is near
HOUR = timedelta(hours=1)


class Chance:
    """Accepts what is fired, or refuses it; remembers which due times had a run, and when."""

    def __init__(self, watch: Watch, rng: Random) -> None:
        self.runs = defaultdict[str, list[tuple[str, datetime]]](list)
        self._watch = watch
        self._rng = rng

    async def submit(self, cron: Cron, firing: Firing) -> None:
        if self._rng.random() < 0.3:
            raise QueueFull(1, self._rng.uniform(0, 20))
        await self._watch.submit(cron, firing)
        self.runs[cron.cron_id].append((firing.due, self._watch.clock()))

    async def live(self) -> None:
        """Let a timekeeper work for some minutes, then end."""
        clock = self._watch.clock
        timekeeper = Timekeeper(
            self._watch.crons, self.submit, rng=self._rng, clock=clock, sleep=clock.sleep
        )
        end = clock() + timedelta(minutes=self._rng.uniform(0.1, 15))
        async with in_background(timekeeper, "crons"):
            while (left := (end - clock()).total_seconds()) > 0:
                clock.move(min(await clock.next_alarm(), left))
            await clock.next_alarm()


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_every_due_time_has_one_run_or_is_made_up_for_by_a_later_one(
    tmp_path: Path, seed: int
) -> None:
    rng = Random(seed)
    async with open_watch(tmp_path, START) as watch:
        watch.timekeeper.close()  # those of this test take its place, one after the other
        crons = [
            new_cron(schedule, watch.clock(), timezone=rng.choice((None, "Europe/Berlin")))
            for schedule in SCHEDULES
        ]
        for cron in crons:
            await watch.crons.create(cron)
        chance = Chance(watch, rng)
        while watch.clock() < utc(START) + 3 * HOUR:
            await chance.live()
            watch.clock.move(rng.choice((0, 0, 1, 30, 600)))  # nobody works meanwhile
        await chance.live()
        for cron in crons:
            dues = [due for due, _ in chance.runs[cron.cron_id]]
            assert len(set(dues)) == len(dues) == len(watch.ran(cron))
            for due, (_, ran) in zip(dues[1:], chance.runs[cron.cron_id], strict=False):
                assert datetime.fromisoformat(due) > ran  # next is what comes after a run
            next_due = watch.next_of(cron)
            assert next_due is not None
            assert datetime.fromisoformat(next_due) > watch.clock() - timedelta(
                seconds=10 * LONGEST_WAIT
            )
