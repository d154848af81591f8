"""A pool of agents under thousands of interleavings of leases, deaths, scale-ups and drains."""

import asyncio
import os
from collections import Counter
from random import Random
from typing import Any

import pytest

from agents.agent import Context, Lost, Task
from agents.configuration import GraphPool, Limits, Probing, Restarts, Scaling, Seats
from agents.errors import AgentLost, AgentsError, StartFailed, TaskFailed
from agents.events import Event, PoolResized
from agents.pool import AgentPool
from agents.seat import Seat, SeatState
from tests.simulation.simloop import SimLoop, seeds, simulate

SEEDS = int(os.environ.get("SIMULATION_SEEDS", "2000"))
SECTION = GraphPool(
    kind="graph",
    graph="simulated",
    seats=Seats(min=1, max=4),
    waiting=6,
    lease_timeout=30.0,
    limits=Limits(task_timeout=8.0, cancel_grace=1.0),
    probe=Probing(period=4.0, timeout=1.0, failures=2, at_once=2),
    restart=Restarts(intensity=5, within=20.0, start_timeout=3.0, starts=2, most=8.0),
    scaling=Scaling(interval=0.5, smoothing=2.0, grow_cooldown=1.0, shrink_cooldown=4.0),
)


class Violation(AssertionError):
    """Something that must never happen, happened."""


class World:
    """What the agents of a simulation do, and what must never be seen of them."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.alive: set[SimAgent] = set()
        self.calm = False  # whether nothing goes wrong any more

    def strikes(self, chance: float) -> bool:
        return not self.calm and self.rng.random() < chance


class SimAgent:
    """An agent that starts late or never, dies, hangs, and ignores cancellations, all by chance."""

    capabilities = frozenset({"play"})
    limits = SECTION.limits

    def __init__(self, world: World) -> None:
        self._world = world
        self._lost: Lost = lambda _: None
        self._working = self._dead = False

    async def start(self, lost: Lost) -> None:
        self._world.alive.add(self)
        await asyncio.sleep(self._world.rng.choice([0.0, 0.1, 2.0]))
        if self._world.strikes(0.15):
            await asyncio.sleep(100)
        if self._world.strikes(0.15):
            raise StartFailed("by chance")
        self._lost = lost
        if self._world.strikes(0.3):
            asyncio.get_running_loop().call_later(self._world.rng.uniform(0, 20), self.die)

    def die(self) -> None:
        if not self._world.calm:
            self._dead = True
            self._lost(AgentLost("it died by chance"))

    async def invoke(self, task: Task, context: Context) -> Any:
        if self._working:
            raise Violation("two tasks at a time")
        self._working = True
        try:
            return await self._work(task, context)
        finally:
            self._working = False

    async def _work(self, task: Task, context: Context) -> Any:
        rng = self._world.rng
        context.started = rng.random() < 0.9
        if self._world.strikes(0.1):
            self.die()
        if self._world.strikes(0.1):
            raise TaskFailed("by chance")
        try:
            await asyncio.sleep(
                rng.choice([0.0, 0.01, 0.5, 2.0, 20.0 if self._world.strikes(1) else 0])
            )
        except asyncio.CancelledError:
            await asyncio.sleep(rng.choice([0.0, 0.1, 5.0]))
            raise
        return task.input

    async def probe(self) -> None:
        if self._world.strikes(0.05):
            await asyncio.sleep(100)
        if self._dead or self._world.strikes(0.05):
            raise AgentLost("no answer")

    async def aclose(self) -> None:
        await asyncio.sleep(self._world.rng.choice([0.0, 0.2]))
        self._world.alive.discard(self)


class WatchedPool(AgentPool):
    """Counts how often each seat is lent."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.held: Counter[Seat] = Counter()

    def _lend(self, seat: Seat) -> None:
        super()._lend(seat)
        self.held[seat] += 1

    def release(self, seat: Seat) -> None:
        self.held[seat] -= 1
        super().release(seat)


class HastyPool(WatchedPool):
    """A planted race: now and then a seat that was lent passes for free."""

    def _lend(self, seat: Seat) -> None:
        super()._lend(seat)
        seat.leased = self._loop.time() % 2 < 1.5


class Scenario:
    """A random history of one pool, and the invariants that hold after every step of it."""

    def __init__(self, sim: SimLoop, pool_class: type[WatchedPool]) -> None:
        self.sim = sim
        self.rng = sim.rng
        self.world = World(self.rng)
        self.events: list[Event] = []
        self.pool = pool_class(
            "simulated", SECTION, lambda: SimAgent(self.world), self.events.append, self.rng
        )
        self.askers: set[asyncio.Task[None]] = set()
        self.ends: Counter[str] = Counter()
        self.noise: list[Any] = []  # what the event loop has to complain of

    def check(self) -> None:
        seats = self.pool._seats.values()  # noqa: SLF001 - a state that nobody else may see
        free = [seat for seat in seats if seat.state is SeatState.FREE]
        waiting = [one for one in self.pool._waiting if not one.granted.done()]  # noqa: SLF001
        broken = {
            "a seat is leased twice": any(count > 1 for count in self.pool.held.values()),
            "somebody waits although a seat is free": free and waiting,
            "more seats than there may be": len(seats) > SECTION.seats.max,
            "more wait than may": len(self.pool._waiting) > SECTION.waiting,  # noqa: SLF001
            "in flight and leased differ": self.pool.snapshot().in_flight != self.pool.held.total(),
        }
        for what, wrong in broken.items():
            if wrong:
                raise Violation(what)

    def notice(self, _: Any, context: dict[str, Any]) -> None:
        self.noise.append(context)

    async def ask(self, number: int) -> None:
        thread = self.rng.choice([None, "a", "b"])
        try:
            async with self.pool.lease(
                "play", priority=self.rng.randint(0, 10), thread_id=thread
            ) as lease:
                for _ in range(self.rng.choice([0, 1, 1, 3])):
                    got = await lease.invoke(number, idempotent=self.rng.random() < 0.5)
                    if got != number:
                        raise Violation("the answer is another's")
        except AgentsError as error:
            self.ends[type(error).__name__] += 1
        else:
            self.ends["done"] += 1

    def begin(self, number: int) -> None:
        task = asyncio.create_task(self.ask(number))
        self.askers.add(task)
        task.add_done_callback(self.askers.discard)

    async def play(self) -> None:
        async with self.pool.running():
            self.sim.after_step = self.check
            self.sim.set_exception_handler(self.notice)
            for number in range(self.rng.randint(10, 60)):
                match self.rng.choices(
                    ["ask", "rest", "leave", "drain", "restart"], [20, 8, 3, 0.3, 0.5]
                )[0]:
                    case "ask":
                        self.begin(number)
                    case "rest":
                        await asyncio.sleep(self.rng.choice([0.0, 0.01, 0.3, 3.0]))
                    case "leave" if self.askers:
                        self.rng.choice(sorted(self.askers, key=lambda t: t.get_name())).cancel()
                    case "drain":
                        self.pool.drain()
                        await asyncio.sleep(self.rng.choice([0.0, 1.0, 10.0]))
                        self.pool.restart()
                    case "restart":
                        self.pool.restart()
            await self.settle()
        if self.noise:
            raise Violation(f"the event loop complains: {self.noise}")
        if self.world.alive:
            raise Violation("an agent outlived its pool")

    async def settle(self) -> None:
        """From now on nothing goes wrong: everybody gets an answer, and the pool its rest."""
        self.world.calm = True
        if self.askers:
            _, pending = await asyncio.wait(set(self.askers), timeout=200)
            if pending:
                raise Violation("somebody waits for ever")
        await asyncio.sleep(300)
        state = self.pool.snapshot()
        if not SECTION.seats.min <= len(state.seats) <= SECTION.seats.max:
            raise Violation(f"{len(state.seats)} seats in the end")
        if (state.state, state.in_flight, state.waiting) != ("healthy", 0, 0):
            raise Violation(f"the pool does not recover: {state}")


def play(seed: int, pool_class: type[WatchedPool] = WatchedPool) -> Scenario:
    played: list[Scenario] = []

    async def main(sim: SimLoop) -> None:
        played.append(Scenario(sim, pool_class))
        await played[0].play()

    try:
        simulate(seed, main)
    except BaseException as error:
        error.add_note(f"SEED={seed}")
        raise
    return played[0]


@pytest.mark.timeout(300)
def test_no_interleaving_breaks_an_invariant() -> None:
    for seed in seeds(SEEDS):
        play(seed)


@pytest.mark.timeout(60)
def test_the_simulation_reaches_what_it_is_about() -> None:
    ends: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    sizes: set[int] = set()
    for seed in range(100):
        scenario = play(seed)
        ends += scenario.ends
        kinds.update(type(event).__name__ for event in scenario.events)
        sizes |= {event.seats for event in scenario.events if isinstance(event, PoolResized)}
    errors = {"done", "AgentLost", "TaskFailed", "TaskTimeout", "TooManyWaiting", "PoolClosed"}
    assert ends.keys() >= errors
    assert kinds.keys() >= {"SeatLost", "StartMissed", "SeatClosed", "PoolDegraded", "LeaseGranted"}
    assert sizes == {1, 2, 3, 4}


def test_a_planted_race_is_found() -> None:
    found = 0
    for seed in range(50):
        try:
            play(seed, HastyPool)
        except Violation:
            found += 1
    assert found > 5
