"""The wall clock. Its times are UTC; as text, ISO 8601 with microseconds, so that texts sort."""

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """Return the present."""
    return datetime.now(UTC)


def iso(at: datetime) -> str:
    """Return a time as text."""
    return at.isoformat(timespec="microseconds")


def iso_of(seconds: float) -> str:
    """Return a time as text that is given in seconds since 1970."""
    return iso(datetime.fromtimestamp(seconds, UTC))


def iso_now() -> str:
    """Return the present as text."""
    return iso(utc_now())
