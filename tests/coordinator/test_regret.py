"""What it costs to learn how to run workflows, next to knowing it from the start.

``REGRET_SEEDS=100`` for the figures of docs/adaptive.md; a few seeds otherwise.
"""

import math
import os
from statistics import fmean, stdev

import pytest

from coordinator.advice import Arm
from tests.coordinator.environment import it_depends, one_is_best, play

SEEDS = int(os.environ.get("REGRET_SEEDS", "5"))
ROUNDS = 1_000
MODES = [Arm(mode=mode) for mode in ("sequential", "parallel", "adaptive")]
MIXED = [Arm(mode, variant, pool) for mode in ("parallel", "sequential") for variant, pool in
         (("quick", "near"), ("quick", "far"), ("thorough", "near"))]  # fmt: skip


@pytest.mark.timeout(60 + 10 * SEEDS)
def test_it_beats_every_fixed_mode_when_the_best_depends_on_the_context() -> None:
    played = [play(it_depends, MODES, rounds=ROUNDS, seed=seed) for seed in range(SEEDS)]
    for number in range(len(MODES)):
        ratios = [one.chosen / one.fixed[number] for one in played]
        # The mean over the seeds is below 1 by more than twice its standard error.
        assert fmean(ratios) + 2 * stdev(ratios) / math.sqrt(SEEDS) < 1, ratios
    print(_said("it depends", [one.ratio for one in played]))  # noqa: T201
    print("oracle", fmean(one.oracle / min(one.fixed) for one in played))  # noqa: T201


@pytest.mark.timeout(60 + 20 * SEEDS)
@pytest.mark.parametrize(("arms", "rounds"), [(MODES, ROUNDS), (MIXED, 2 * ROUNDS)])
def test_it_costs_at_most_a_tenth_more_than_the_best_when_that_is_always_the_same(
    arms: list[Arm], rounds: int
) -> None:
    seeds = range(SEEDS if arms is MODES else math.ceil(SEEDS / 5))
    ratios = [
        play(one_is_best(seed, len(arms)), arms, rounds=rounds, seed=seed).ratio for seed in seeds
    ]
    print(_said(f"one is best of {len(arms)}", ratios))  # noqa: T201
    assert max(ratios) <= 1.1, ratios


def _said(what: str, ratios: list[float]) -> str:
    high = sorted(ratios)[math.ceil(0.95 * len(ratios)) - 1]
    return f"{what}: mean {fmean(ratios):.3f}, 95 % {high:.3f}, most {max(ratios):.3f}"
