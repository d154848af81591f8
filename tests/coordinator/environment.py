"""Made-up worlds in which ways to do a workflow differ, and what choosing in them comes to."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from coordinator.advice import Arm, Features, Question, Result
from coordinator.advisor import BanditAdvisor
from coordinator.belief import Belief
from coordinator.experience import Experience

NOISE = 0.3  # the deviation of the logarithm of a duration
REDONE = 3.0  # how many times its duration a failure costs, in all

# The seconds that a workflow takes by an arm, and the share of failures.
World = Callable[[int, Features], tuple[float, float]]


class Notes:
    """A recorder that has everything in a list."""

    def __init__(self) -> None:
        self.entries: list[Experience] = []
        self.beliefs: list[Belief] = []

    def record(self, experience: Experience, belief: Belief) -> None:
        self.entries.append(experience)
        self.beliefs.append(belief)


def silent(_: object) -> None:
    """Takes events, and says nothing."""


def it_depends(arm: int, features: Features) -> tuple[float, float]:
    """In order, all at once, or four at a time: each is best somewhere, by no linear rule."""
    steps, width, load = features.steps, features.width, features.load
    match arm:
        case 0:
            return 0.1 * steps, 0.01
        case 1:  # what is at once gets in each other's way, the more so under load
            return 0.15 + 0.1 * steps / width * (1 + 3 * load**2 * width), 0.01 + 0.1 * load
        case _:
            return 0.05 + 0.1 * steps / min(width, 4) * (1 + 1.5 * load), 0.01


def one_is_best(seed: int, arms: int) -> World:
    """One arm is best whatever the context, by 1.4 to 4.3 times; of the others, some fail."""
    rng = Random(seed)
    best = rng.randrange(arms)
    speeds = [0.7 if arm == best else rng.uniform(1, 3) for arm in range(arms)]
    failures = [0.0 if arm == best else rng.choice([0, 0, 0.02, 0.1, 0.3]) for arm in range(arms)]
    return lambda arm, features: (0.2 * features.steps * speeds[arm], failures[arm])


@dataclass(frozen=True)
class Played:
    """The expected seconds of what was chosen, of every fixed choice, and of the best one."""

    chosen: float
    fixed: Sequence[float]
    oracle: float

    @property
    def ratio(self) -> float:
        """What was chosen, over the best fixed choice."""
        return self.chosen / min(self.fixed)


def play(world: World, arms: Sequence[Arm], *, rounds: int, seed: int) -> Played:
    """Have an advisor that knows nothing choose so many times."""
    rng = Random(seed)
    advisor = BanditAdvisor(silent, Notes(), Random(seed + 1_000_000))
    chosen, oracle, fixed = 0.0, 0.0, [0.0] * len(arms)
    for _ in range(rounds):
        features = _features(rng)
        decision = advisor.choose(Question("w", None, None, arms, features))
        number = arms.index(decision.arm)
        duration, failing = world(number, features)
        took = duration * math.exp(rng.gauss(-(NOISE**2) / 2, NOISE))
        advisor.learn(decision.decision_id, Result(took, rng.random() >= failing))
        costs = [_cost(world, arm, features) for arm in range(len(arms))]
        chosen += costs[number]
        oracle += min(costs)
        fixed = [sum_ + cost for sum_, cost in zip(fixed, costs, strict=True)]
    return Played(chosen, fixed, oracle)


def _features(rng: Random) -> Features:
    steps = rng.randint(1, 40)
    return Features(steps, rng.randint(1, steps), rng.randint(0, 10), rng.random())


def _cost(world: World, arm: int, features: Features) -> float:
    duration, failing = world(arm, features)
    return duration * (1 - failing + failing * REDONE)
