"""How long, and how much of it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """Lengths in seconds, the rest in runs."""

    warm_up: float = 1.0
    window: float = 3.0
    burst: int = 2_000
    sleepers: int = 500
    streams: int = 600
    cancels: int = 20
    kept: int = 10_000  # runs after which memory is looked at
    starts: int = 3
    killed: int = 100
    saver_windows: int = 4
    beside: float = 10.0  # seconds of light runs, with and without what blocks


FULL = Pace()
QUICK = Pace(
    warm_up=0.3,
    window=0.8,
    burst=300,
    sleepers=100,
    streams=60,
    cancels=5,
    kept=1_000,
    starts=1,
    killed=20,
    saver_windows=2,
    beside=3.0,
)
