"""What is known of one arm: sums over all that was seen, which fade."""

from collections.abc import Sequence
from typing import Self

from coordinator.linear import Vector
from coordinator.reward import FEATURES

KEEP = 0.995  # what is left of older results when an arm is tried again: some 200 count
HALF_LIFE = 7 * 86_400.0  # seconds after which a result counts half
_REST = 600.0  # seconds below which nothing is faded
_NUMBERS = 3 + FEATURES + FEATURES**2


class Belief:
    """Successes and failures; and of the successes, how speed went with the context.

    ``gram`` is Σ x xᵀ, ``moment`` is Σ x y, and ``surprise`` the sum of the squares by which y was
    off. ``at`` is when they were last faded, in seconds since the epoch.
    """

    __slots__ = ("at", "failures", "gram", "moment", "successes", "surprise")

    def __init__(self, at: float) -> None:
        self.at = at
        self.successes = 0.0
        self.failures = 0.0
        self.surprise = 0.0
        self.moment = [0.0] * FEATURES
        self.gram = [[0.0] * FEATURES for _ in range(FEATURES)]

    @property
    def tried(self) -> float:
        """How many results count."""
        return self.successes + self.failures

    def age(self, now: float) -> None:
        """Let what is known fade until ``now``."""
        passed = now - self.at
        if passed > _REST:
            self._fade(0.5 ** (passed / HALF_LIFE))
            self.at = now

    def failed(self) -> None:
        """Note a failure."""
        self._fade(KEEP)
        self.failures += 1

    def succeeded(self, context: Vector, value: float, surprise: float) -> None:
        """Note a success of that value, and the square by which it was off."""
        self._fade(KEEP)
        self.successes += 1
        self.surprise += surprise
        for i, x in enumerate(context):
            self.moment[i] += x * value
            self.gram[i] = [
                seen + x * other for seen, other in zip(self.gram[i], context, strict=True)
            ]

    def numbers(self) -> list[float]:
        """Return all sums, to be kept."""
        sums = [self.successes, self.failures, self.surprise, *self.moment]
        return sums + [number for row in self.gram for number in row]

    @classmethod
    def of(cls, numbers: Sequence[float], at: float) -> Self | None:
        """Return what was kept; None if it was kept by a version that counted otherwise."""
        if len(numbers) != _NUMBERS:
            return None
        belief = cls(at)
        belief.successes, belief.failures, belief.surprise = numbers[:3]
        belief.moment = list(numbers[3 : 3 + FEATURES])
        rest = iter(numbers[3 + FEATURES :])
        belief.gram = [[next(rest) for _ in range(FEATURES)] for _ in range(FEATURES)]
        return belief

    def _fade(self, left: float) -> None:
        self.successes *= left
        self.failures *= left
        self.surprise *= left
        self.moment = [number * left for number in self.moment]
        self.gram = [[number * left for number in row] for row in self.gram]
