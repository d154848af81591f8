"""The whole loop under thousands of interleavings of submits, cancels, crashes and drains."""

import asyncio
import os
from collections import Counter
from functools import partial
from random import Random
from typing import Any

import pytest

from operations.errors import StorageUnavailable
from orchestration.loop.admission import Limits
from orchestration.loop.errors import LoopError
from orchestration.loop.events import Event
from orchestration.loop.master import MasterLoop
from orchestration.loop.run import Ending, MultitaskStrategy, Outcome, Place, Run, RunStatus
from orchestration.loop.transitions import UNFINISHED
from tests.simulation.simloop import SimLoop, seeds, simulate
from tests.simulation.world import Disk, SimExecutor, SimStore, new_run

SEEDS = int(os.environ.get("SIMULATION_SEEDS", "2000"))
LIMITS = Limits(
    concurrent_runs=3,
    queue_capacity=8,
    cancel_grace=1.0,
    drain_grace=3.0,
    crash_limit=3,
    submit_rate=None,
    runs_per_tenant=2,
    assistant_runs={"limited": 1},
)


class Violation(AssertionError):
    """Something that must never happen, happened."""


class HastyLoop(MasterLoop):
    """A planted race: a cancellation is written at once, whatever the worker is about to write."""

    def cancel(self, run: Run, ending: Ending) -> None:
        if run.place is Place.WORKING and ending is Ending.INTERRUPT:
            self._store.finish(run, Outcome(RunStatus.INTERRUPTED), None)
        super().cancel(run, ending)


class Process:
    """One life of the service."""

    def __init__(self, disk: Disk, rng: Random, *, careless: bool, hasty: bool) -> None:
        self.events: list[Event] = []
        self.store = SimStore(disk, rng, careless=careless)
        self.executor = SimExecutor(self.store, rng)
        kind = HastyLoop if hasty else MasterLoop
        self.loop = kind(self.store, self.executor, LIMITS, self.events.append, rng)
        self.recovered = 0

    async def start(self) -> None:
        self.recovered = await self.loop.recover()

    async def crash(self) -> None:
        self.store.die()
        self.executor.dead = True
        await self.loop.aclose()


class Scenario:
    """A random history, and the invariants that hold after every step of it."""

    def __init__(self, sim: SimLoop, *, careless: bool, hasty: bool) -> None:
        self.rng = sim.rng
        self.careless, self.hasty = careless, hasty
        self.disk = Disk({}, Counter(), set())
        self.accepted: set[str] = set()
        self.answered: set[str] = set()  # whose cancellation was
        self.over: set[str] = set()  # of these, when this life of the service began
        self.number = 0
        self.submissions: set[asyncio.Task[None]] = set()
        self.process = self.new_process()
        sim.after_step = self.check

    def new_process(self) -> Process:
        return Process(self.disk, self.rng, careless=self.careless, hasty=self.hasty)

    def check(self) -> None:
        process, loop = self.process, self.process.loop
        if process.store.dead:
            return
        live = loop.all_live()
        working = [run for run in live if run.place is Place.WORKING]
        queued = [run for run in live if run.place not in (Place.WORKING, Place.GONE)]
        suspects = [run for run in live if LIMITS.suspects(run)]
        running = Counter(
            row.run.thread_id for row in self.disk.rows.values() if row.status is RunStatus.RUNNING
        )
        broken = {
            "more runs than slots": loop.working > LIMITS.concurrent_runs,
            "the queue is above its bound": loop.waiting
            > LIMITS.queue_capacity + process.recovered + sum(r in queued for r in suspects),
            "a waiting run is in no place, or in two": len(queued) != loop.waiting,
            "a limit is exceeded": sum(r.graph_id == "limited" for r in working) > 1,
            "two suspects at once": sum(run.run_id in process.executor.working for run in suspects)
            > 1,
            "two runs of a thread": any(n > 1 for n in running.values()),
            "two terminal writes": any(n > 1 for n in self.disk.terminal_writes.values()),
            "two at once on one thread": len({r.thread_id for r in working}) < len(working),
            "a run goes on whose cancel was answered": bool(self.over & process.executor.working),
            str(process.executor.violations): bool(process.executor.violations),
        }
        for what, wrong in broken.items():
            if wrong:
                raise Violation(what)

    async def submit(self) -> None:
        self.number += 1
        run = new_run(
            self.number, self.rng, multitask_strategy=self.rng.choice(list(MultitaskStrategy))
        )
        try:
            await self.process.loop.submit(run)
        except (LoopError, StorageUnavailable):
            return
        self.accepted.add(run.run_id)

    def leave(self) -> None:
        """Have a caller go away who does not know yet whether its run was taken."""
        if self.submissions:
            self.rng.choice(sorted(self.submissions, key=asyncio.Task.get_name)).cancel()

    def cancel(self) -> None:
        live = self.process.loop.all_live()
        if live:
            ending = self.rng.choice([Ending.INTERRUPT, Ending.ROLLBACK])
            run = self.rng.choice(live)
            self.process.loop.cancel(run, ending)
            for known in (run.noted, run.done):
                if known is not None and run.ends:
                    known.add_done_callback(partial(self.answer, run, self.process))

    def answer(self, run: Run, process: Process, known: "asyncio.Future[Any]") -> None:
        """Answer that a run ends, or has ended."""
        if not process.store.dead and not known.cancelled() and known.exception() is None:
            self.answered.add(run.run_id)

    async def restart(self) -> None:
        self.disk.full = False
        self.over = set(self.answered)
        self.process = self.new_process()
        await self.process.start()

    async def drain(self) -> None:
        self.disk.full = False
        process = self.process
        await process.loop.drain()
        running = [r for r in self.disk.rows.values() if r.status is RunStatus.RUNNING]
        if running or process.loop.working or process.loop.all_live():
            raise Violation("something runs after a drain")
        process.store.die()
        process.executor.dead = True

    async def play(self) -> None:
        await self.process.start()
        for _ in range(self.rng.randint(5, 25)):
            match self.rng.choices(
                ["submit", "leave", "cancel", "rest", "full", "crash", "drain"],
                [10, 2, 4, 6, 1, 1, 1],
            )[0]:
                case "submit":
                    task = asyncio.create_task(self.submit())
                    self.submissions.add(task)
                    task.add_done_callback(self.submissions.discard)
                case "leave":
                    self.leave()
                case "cancel":
                    self.cancel()
                case "rest":
                    await asyncio.sleep(self.rng.choice([0.0, 0.001, 0.02, 0.5]))
                case "full":
                    self.disk.full = not self.disk.full
                case "crash":
                    await self.process.crash()
                    await self.abandon_submissions()
                    await self.restart()
                case "drain":
                    await self.drain()
                    await self.abandon_submissions()
                    await self.restart()
        self.disk.full = False
        await self.finish()

    async def abandon_submissions(self) -> None:
        """The callers of a process that is gone never hear of what they submitted."""
        for task in tuple(self.submissions):
            task.cancel()
        if self.submissions:
            await asyncio.wait(self.submissions)

    async def finish(self) -> None:
        for _ in range(500):
            loop = self.process.loop
            if not (loop.all_live() or loop.working or self.submissions):
                break
            await asyncio.sleep(1.0)
        left = [r for r in self.disk.rows.values() if r.status in UNFINISHED]
        if left or self.process.loop.working or self.process.loop.waiting:
            raise Violation(f"left unfinished: {[(r.run.run_id, r.status) for r in left]}")
        lost = self.accepted - self.disk.rows.keys() - self.disk.erased
        if lost:
            raise Violation(f"accepted and lost: {lost}")
        await self.process.crash()


def play(seed: int, *, careless: bool = False, hasty: bool = False) -> None:
    async def main(sim: SimLoop) -> None:
        await Scenario(sim, careless=careless, hasty=hasty).play()

    try:
        simulate(seed, main)
    except BaseException as error:
        error.add_note(f"SEED={seed}")
        raise


def violations(**planted: bool) -> int:
    found = 0
    for seed in seeds(200):
        try:
            play(seed, **planted)
        except Violation:
            found += 1
    return found


@pytest.mark.timeout(300)
def test_no_interleaving_breaks_an_invariant() -> None:
    for seed in seeds(SEEDS):
        play(seed)


def test_a_planted_race_is_found() -> None:
    assert violations(hasty=True, careless=True) > 10


def test_compare_and_set_takes_the_harm_out_of_that_race() -> None:
    assert violations(hasty=True, careless=False) == 0


def test_what_was_answered_to_end_does_not_go_on_after_a_crash() -> None:
    async def main(sim: SimLoop) -> None:
        scenario = Scenario(sim, careless=False, hasty=False)
        await scenario.process.start()
        await scenario.submit()
        await asyncio.sleep(sim.rng.random() * 0.5)
        scenario.cancel()
        told = [run for run in scenario.process.loop.all_live() if run.ends]
        if known := [one for run in told for one in (run.noted, run.done) if one is not None]:
            await asyncio.wait(known, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.sleep(sim.rng.random() * 0.01)
        await scenario.process.crash()
        await scenario.restart()
        await scenario.finish()

    for seed in seeds(300):
        simulate(seed, main)
