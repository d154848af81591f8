"""When to try a delivery again."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from random import Random

WAITS = (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)  # seconds
JITTER = 0.2  # of a wait, added at most
LONGEST_ASKED = 86_400.0  # seconds that a receiver can ask for


def next_wait(attempts: int, asked: float, rng: Random) -> float | None:
    """Return the wait in seconds after so many attempts, None if that was the last.

    5 seconds, 5 minutes, 30 minutes, 2, 5, 10, 14, 20 and 24 hours, each up to a fifth longer by
    chance: ten attempts within four days. ``asked`` is what the receiver asked for; the longer of
    the two counts.

    Source: https://www.standardwebhooks.com, "Retry schedule".
    """
    if attempts > len(WAITS):
        return None
    return max(asked, WAITS[attempts - 1] * rng.uniform(1.0, 1.0 + JITTER))


def asked_wait(retry_after: str | None, now: datetime) -> float:
    """Return the seconds that a header ``Retry-After`` asks for, 0 for one that is none."""
    if retry_after is None:
        return 0.0
    try:
        seconds = float(int(retry_after[:20]))
    except ValueError:
        seconds = _until(retry_after, now)
    return min(max(seconds, 0.0), LONGEST_ASKED)


def _until(date: str, now: datetime) -> float:
    try:
        at = parsedate_to_datetime(date)
    except (ValueError, OverflowError):
        return 0.0
    if at.tzinfo is None:  # "-0000", which says that it is UTC
        at = at.replace(tzinfo=UTC)
    return (at - now).total_seconds()
