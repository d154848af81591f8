"""The few statistics of this bench."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Spread:
    """A median, and the lowest and the highest of what it is of."""

    middle: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """Return the median and the range.

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError("nothing was measured")
    return Spread(median(values), min(values), max(values))


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that ``share`` percent are not above, between two by their distance.

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError("nothing was measured")
    ordered = sorted(values)
    place = (len(ordered) - 1) * share / 100
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def milliseconds(name: str, seconds: Sequence[float]) -> dict[str, float]:
    """Return the 50th, 95th and 99th percentile as measures, in milliseconds; none of nothing."""
    if not seconds:
        return {}
    return {f"{name} p{p} ms": percentile(seconds, p) * 1_000 for p in (50, 95, 99)}
