"""What a pool shows of itself: copies that nothing changes any more."""

from dataclasses import dataclass
from typing import Literal

from agents.record import Probe
from agents.seat import Seat, SeatState

PoolState = Literal["healthy", "starting", "degraded", "drained"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeatSnapshot:
    """One seat. Times are seconds of the event loop."""

    seat: int
    state: SeatState
    trouble: str | None
    resting_until: float | None
    retired: bool
    tasks: int
    failures: int
    restarts: int
    latency: float | None
    error_rate: float
    probes: tuple[Probe, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSnapshot:
    """One pool."""

    pool: str
    kind: str
    state: PoolState
    reason: str | None
    capabilities: tuple[str, ...]
    least: int
    most: int
    strategy: str
    in_flight: int
    waiting: int
    seats: tuple[SeatSnapshot, ...]


def seat_snapshot(seat: Seat) -> SeatSnapshot:
    """Return what ``seat`` shows now."""
    record = seat.record
    return SeatSnapshot(
        seat=seat.number,
        state=seat.state,
        trouble=seat.trouble,
        resting_until=seat.resting_until,
        retired=seat.retired,
        tasks=record.tasks,
        failures=record.failures,
        restarts=record.restarts,
        latency=record.latency,
        error_rate=record.error_rate,
        probes=tuple(record.probes),
    )


def judged(seats: tuple[SeatSnapshot, ...], *, draining: bool) -> tuple[PoolState, str | None]:
    """Return the state of a pool with these seats, and the reason if it is not healthy."""
    if draining:
        working = sum(seat.state is SeatState.LEASED for seat in seats)
        return "drained", f"it lends no agents; {working} still at work"
    wanting = [
        seat for seat in seats if seat.trouble is not None or seat.state is SeatState.SUSPECT
    ]
    if wanting:
        reason = wanting[0].trouble or "it missed a probe"
        return "degraded", f"{len(wanting)} of {len(seats)} seats: {reason}"
    starting = sum(seat.state in {SeatState.WAITING, SeatState.STARTING} for seat in seats)
    if starting:
        return "starting", f"{starting} of {len(seats)} seats"
    return "healthy", None
