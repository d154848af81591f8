"""A pool: agents made alike, each lent to one at a time."""

import asyncio
import contextvars
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from random import Random

import anyio

from agents.configuration import AnyPool
from agents.errors import (
    AgentLost,
    LeaseTimeout,
    NotLeased,
    PoolClosed,
    TooManyWaiting,
    UnknownCapability,
)
from agents.events import Emit, LeaseGranted, LeaseRefused, PoolResized
from agents.lease import Lease
from agents.network.message import Origin
from agents.prober import Prober
from agents.provisioning import Make, Provisioner
from agents.scaling import Scaler
from agents.seat import Seat, SeatState
from agents.snapshot import PoolSnapshot, judged, seat_snapshot
from agents.strategies import strategy
from agents.waiting import Request, WaitingRoom
from operations.errors import nearest

DEFAULT_PRIORITY = 5

Idle = Callable[[frozenset[str]], None]


class AgentPool:
    """Lends agents. A seat is free only while nobody waits whom it would fit."""

    def __init__(
        self,
        name: str,
        section: AnyPool,
        make: Make,
        emit: Emit,
        rng: Random,
        *,
        idle: Idle = lambda _: None,
    ) -> None:
        """Make a pool; ``idle`` is told what an agent can do for whom nobody waits."""
        self.name = name
        self.capabilities: frozenset[str] | None = frozenset(section.capabilities) or None
        self.lease_timeout = section.lease_timeout
        self._section = section
        self._emit = emit
        self._idle = idle
        self._loop = asyncio.get_running_loop()
        # Done when it is known what its agents can do, or that there will be none to say so.
        self.known: asyncio.Future[None] = self._loop.create_future()
        self._provisioner = Provisioner(name, make, section, emit, rng)
        self._prober = Prober(section.probe, rng)
        self._scaler = Scaler(section.scaling, section.seats, self._loop.time())
        self._scaling: asyncio.TimerHandle | None = None
        self._choose = strategy(section.strategy)
        self._seats: dict[int, Seat] = {}
        self._free: dict[Seat, None] = {}  # in the order they became so
        self._waiting = WaitingRoom()
        self._leased = 0
        self._last_number = 0
        self._draining = self._closed = False
        self._keepers: set[asyncio.Task[None]] = set()
        self._snapshot: PoolSnapshot | None = None

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Provision the pool meanwhile. In the end every agent is closed, whatever it does."""
        self._add_seats(self._section.seats.min)
        try:
            yield
        finally:
            self.close()
            with anyio.CancelScope(shield=True):
                while self._keepers:
                    await asyncio.wait(self._keepers)

    @property
    def lending(self) -> bool:
        """Whether it lends; a pool that is drained does not."""
        return not self._draining

    @property
    def pressure(self) -> float:
        """How many want an agent, for each that could be lent; 0 when one is free."""
        if self._free:
            return 0.0
        ready = sum(seat.agent is not None for seat in self._seats.values())
        return (self._leased + len(self._waiting) + 1) / (ready or 0.1)

    def may_do(self, capability: str) -> bool:
        """Whether its agents can do that; True as long as nobody knows."""
        return self.capabilities is None or capability in self.capabilities

    def snapshot(self) -> PoolSnapshot:
        """Return what the pool shows; made anew only when something changed."""
        if self._snapshot is None:
            seats = tuple(seat_snapshot(seat) for seat in self._seats.values())
            state, reason = judged(seats, draining=self._draining)
            self._snapshot = PoolSnapshot(
                pool=self.name,
                kind=self._section.kind,
                state=state,
                reason=reason,
                capabilities=tuple(sorted(self.capabilities or ())),
                least=self._section.seats.min,
                most=self._section.seats.max,
                strategy=self._section.strategy,
                in_flight=self._leased,
                waiting=len(self._waiting),
                seats=seats,
            )
        return self._snapshot

    # Leases.

    @asynccontextmanager
    async def lease(
        self,
        capability: str,
        *,
        priority: int = DEFAULT_PRIORITY,
        wait: float | None = None,
        deadline: float | None = None,
        thread_id: str | None = None,
        run_id: str | None = None,
        origin: Origin | None = None,
    ) -> AsyncGenerator[Lease]:
        """Have an agent for the block, as soon as one is free.

        ``priority`` is 0 (first) to 10. ``wait`` is how many seconds to wait at most, now and
        again for another one if it is lost; if None, the pool's ``lease_timeout``. ``deadline`` is
        when to wait no more now, by the clock of the event loop: who asks has waited before.

        Raises:
            UnknownCapability, TooManyWaiting, LeaseTimeout, PoolClosed: there is no agent.
        """
        request = Request(
            capability=capability,
            priority=priority,
            thread_id=thread_id,
            arrived=self._loop.time(),
            wait=self.lease_timeout if wait is None else wait,
            deadline=deadline,
        )
        seat = await self.acquire(request)
        request.deadline = None
        lease = Lease(self, request, seat, run_id, origin)
        try:
            yield lease
        finally:
            lease.end()

    async def acquire(self, request: Request) -> Seat:
        """Return a seat for ``request``, which is leased then; see ``lease``."""
        request.since = self._loop.time()
        try:
            seat = await self._acquired(request)
        except NotLeased as error:
            self._emit(LeaseRefused(self.name, request.capability, type(error).__name__))
            raise
        waited = self._loop.time() - request.since
        self._emit(LeaseGranted(self.name, seat.number, request.capability, waited))
        return seat

    def release(self, seat: Seat) -> None:
        """Take back a seat that was lent."""
        self._leased -= 1
        seat.give_back()
        self._load_changed()

    async def _acquired(self, request: Request) -> Seat:
        if self._draining:
            raise PoolClosed(self.name)
        if not self.may_do(request.capability):
            raise self._unknown(request)
        fitting = [seat for seat in self._free if _fits(seat, request)]
        if fitting:
            seat = self._choose(fitting, request)
            self._lend(seat)
            return seat
        if len(self._waiting) >= self._section.waiting:
            raise TooManyWaiting(self.name, len(self._waiting))
        return await self._wait(request)

    async def _wait(self, request: Request) -> Seat:
        request.granted = self._loop.create_future()
        self._waiting.put(request)
        self._load_changed()
        deadline = request.deadline
        if deadline is None:
            deadline = request.since + request.wait
        alarm = self._loop.call_at(deadline, self._expire, request)
        try:
            return await request.granted
        except asyncio.CancelledError:
            if _was_granted(request):  # in the very turn that cancelled it
                self.release(request.granted.result())
            raise
        finally:
            alarm.cancel()
            self._waiting.discard(request)
            self._load_changed()

    def _expire(self, request: Request) -> None:
        state = self.snapshot()
        reason = state.reason or f"{state.in_flight} at work, {state.waiting} waiting"
        waited = self._loop.time() - request.since
        self._waiting.refuse(request, LeaseTimeout(self.name, waited, reason))

    def _lend(self, seat: Seat) -> None:
        self._leased += 1
        seat.take()
        self._load_changed()

    def _unknown(self, request: Request) -> UnknownCapability:
        return UnknownCapability(
            request.capability, nearest(request.capability, self.capabilities or ())
        )

    # Seats.

    def drain(self) -> None:
        """Lend no more; each agent ends with its lease."""
        self._draining = True
        self._now_known()
        for request in self._waiting:
            self._waiting.refuse(request, PoolClosed(self.name))
        for seat in tuple(self._seats.values()):
            seat.retire()
        self._snapshot = None

    def restart(self) -> None:
        """Replace every agent once its lease has ended; a pool that was drained lends again."""
        if self._closed:
            return
        self._provisioner.intensity.clear()
        self._draining = False
        if self.capabilities is None and self.known.done():
            self.known = self._loop.create_future()
        for seat in tuple(self._seats.values()):
            if not seat.retired:
                seat.renew()
        self._add_seats(self._section.seats.min - self._staying)
        self._snapshot = None

    @property
    def _staying(self) -> int:
        return sum(not seat.retired for seat in self._seats.values())

    def close(self) -> None:
        """Begin to end every agent, whatever it does."""
        self._closed = True
        self.drain()
        self._prober.close()
        if self._scaling is not None:
            self._scaling.cancel()
        for seat in tuple(self._seats.values()):
            seat.lose(AgentLost("the pool is closed"))

    def _add_seats(self, count: int) -> None:
        """Add so many seats, or as many as there may be; those that are to go count, too."""
        for _ in range(min(count, self._section.seats.max - len(self._seats))):
            self._last_number += 1
            seat = Seat(
                self.name, self._last_number, self._section.probe, self._emit, self._changed
            )
            self._seats[seat.number] = seat
            # Not of a task group: nothing but the end of its seat ends it, and its agent with it.
            keeper = self._loop.create_task(
                self._keep(seat),
                name=f"agents-{self.name}-{seat.number}",
                context=contextvars.Context(),
            )
            self._keepers.add(keeper)
            keeper.add_done_callback(self._keepers.discard)

    async def _keep(self, seat: Seat) -> None:
        try:
            await self._provisioner.keep(seat, self._opened)
        finally:
            del self._seats[seat.number]
            self._changed(seat)
        if not self._draining:
            self._add_seats(self._section.seats.min - self._staying)

    def _opened(self, seat: Seat) -> None:
        self._prober.add(seat)
        found = seat.agent.capabilities if seat.agent is not None else frozenset[str]()
        self.capabilities = found | (self.capabilities or frozenset())
        self._now_known()
        for request in self._waiting:
            if not self.may_do(request.capability):
                self._waiting.refuse(request, self._unknown(request))

    def _now_known(self) -> None:
        if not self.known.done():
            self.known.set_result(None)

    def _changed(self, seat: Seat) -> None:
        """Give a seat that is free to whom it fits first, or keep it for the next one."""
        self._snapshot = None
        if seat.agent is None or seat.over.done():
            self._prober.discard(seat)
        if seat.state is not SeatState.FREE or seat.number not in self._seats:
            self._free.pop(seat, None)
        elif seat not in self._free:
            request = self._waiting.take(lambda request: _fits(seat, request))
            if request is None:
                self._free[seat] = None
                if seat.agent is not None:
                    self._idle(seat.agent.capabilities | {self.name})
            else:
                self._lend(seat)
                request.granted.set_result(seat)

    # Scaling.

    def _load_changed(self) -> None:
        self._snapshot = None
        now = self._loop.time()
        self._scaler.observe(now, self._leased + len(self._waiting))
        seats = self._section.seats
        if self._scaling is None and not self._draining and seats.min < seats.max:
            self._look_later()

    def _look_later(self) -> None:
        due = self._loop.time() + self._section.scaling.interval
        self._scaling = self._loop.call_at(due, self._scale, context=contextvars.Context())

    def _scale(self) -> None:
        """Grow or shrink if that is due; look again later if it may become so."""
        self._scaling = None
        if self._draining:
            return
        now = self._loop.time()
        before = self._staying
        wanted = self._scaler.decide(now, before, self._waiting.waited(now))
        if wanted > before:
            self._add_seats(wanted - before)
        elif wanted < before:
            self._shrink(before - wanted)
        if (after := self._staying) != before:
            self._emit(PoolResized(self.name, after, before))
        if self._waiting or self._leased or after > self._section.seats.min:
            self._look_later()

    def _shrink(self, count: int) -> None:
        staying = [seat for seat in self._seats.values() if not seat.retired]
        staying.sort(key=lambda seat: (seat.leased, seat.agent is not None, -seat.number))
        for seat in staying[:count]:
            seat.retire()


def _fits(seat: Seat, request: Request) -> bool:
    return seat.agent is not None and request.capability in seat.agent.capabilities


def _was_granted(request: Request) -> bool:
    granted = request.granted
    return granted.done() and not granted.cancelled() and granted.exception() is None
