"""The wall clock. Its times are UTC; as text, ISO 8601 with microseconds, so that texts sort."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """Return the present."""
    return datetime.now(UTC)


def iso(at: datetime) -> str:
    """Return a time as text."""
    return at.isoformat(timespec="microseconds")


def iso_of(seconds: float) -> str:
    """Return a time as text that is given in seconds since 1970."""
    total = int(seconds * 1_000_000 + 0.5)
    whole = total // 1_000_000
    return f"{_iso_second(whole)}.{total - whole * 1_000_000:06d}+00:00"


def micros(seconds: float) -> float:
    """Return seconds to the next microsecond, as ``round`` does in three times as long."""
    return int(seconds * 1_000_000 + 0.5) / 1_000_000


def iso_now() -> str:
    """Return the present as text."""
    return iso_of(time.time())


@lru_cache(maxsize=64)
def _iso_second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()[:19]
