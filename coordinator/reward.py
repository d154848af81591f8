"""What a result is worth, and the numbers that a choice may depend on.

``speed`` is 1 - ln(1 + 1000 e) / ln(1 + 10^7), cut to 0..1, of an effort of ``e`` seconds: equal
ratios of effort are equal differences of speed, so that milliseconds and hours are told apart
alike. 1 ms is 0.96, 1 s is 0.57, 10 s is 0.43, 10,000 s and more are 0. A unit of cost counts as a
second. The ``reward`` is the speed of a success, and 0 for a failure.
"""

import math

from coordinator.advice import Features, Result

_SCALE = math.log1p(1e7)
_STEPS = 6.0  # log2 of as many steps, or as wide, as counts as 1
FEATURES = 6


def speed(seconds: float) -> float:
    """Return what it is worth to be done with an effort of so many seconds, 0 to 1."""
    return min(1.0, max(0.0, 1 - math.log1p(1000 * max(0.0, seconds)) / _SCALE))


def seconds(speed: float) -> float:
    """Return the effort that a speed is."""
    return math.expm1((1 - speed) * _SCALE) / 1000


def effort(result: Result) -> float:
    """Return duration and cost of a result as one number, in seconds."""
    return result.duration + result.cost


def reward(result: Result) -> float:
    """Return what a result is worth, 0 to 1."""
    return speed(effort(result)) if result.success else 0.0


def context(features: Features) -> tuple[float, ...]:
    """Return the features as numbers of about 0 to 1, after a constant.

    Durations are told apart by their logarithm, to which ratios of steps and width add up.
    """
    width = math.log2(1 + features.width) / _STEPS
    return (
        1.0,
        math.log2(1 + features.steps) / _STEPS,
        width,
        features.priority / 10,
        features.load,
        features.load * width,
    )
