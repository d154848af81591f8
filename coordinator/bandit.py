"""Thompson sampling over arms whose speed depends linearly on a context.

Each arm has two beliefs. Whether it succeeds is Bernoulli with a Beta prior; its speed, if it
does, is a Bayesian linear regression on the context. A choice draws one chance and one speed for
each arm, from what is believed of it, and takes the arm with the greatest product: what is known
little about is drawn widely and so gets tried, what is known to be bad is not.

The prior of an arm's regression is that of all arms of the question taken together, since most of
what makes a step slow (its size, the load) makes it slow by every arm: an arm that is new differs
from the others by 0.1 or so, and does not have to be found out from nothing.

Sources: S. Agrawal, N. Goyal, "Thompson Sampling for Contextual Bandits with Linear Payoffs",
ICML 2013 (the regression; the posterior is drawn at ``CURIOSITY`` times its width, their v); the
same, "Analysis of Thompson Sampling for the Multi-armed Bandit Problem", COLT 2012 (the chance);
J. Hong, B. Kveton, M. Zaheer, M. Ghavamzadeh, "Hierarchical Bayesian Bandits", AISTATS 2022 (the
common prior). `coordinator.belief` forgets as Y. Russac, C. Vernade, O. Cappé, "Weighted Linear
Bandits for Non-Stationary Environments", NeurIPS 2019, does.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from coordinator.belief import Belief
from coordinator.linear import Vector, backward, cholesky, dot, forward
from coordinator.reward import FEATURES, speed

CURIOSITY = 0.5
_USUAL = 0.6  # the speed that is expected of what nothing at all is known of
_COMMON = 1.0  # how far from it all arms may be
_APART = 0.1  # how far an arm may be from the others
_NOISE = 0.03  # how much speed varies by itself, as far as is known
_NOISE_SEEN = 4.0  # for how many results that counts
_GOOD, _BAD = 1.0, 0.1  # successes and failures that every arm begins with


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is expected of an arm: its chance, its speed, and that speed's deviation."""

    chance: float
    speed: float
    spread: float


def outlooks(beliefs: Sequence[Belief], context: Vector) -> list[Outlook]:
    """Return what is expected of arms with these beliefs, each in the light of all of them."""
    noises = [_noise(belief) for belief in beliefs]
    common = _common(beliefs, noises)
    return [
        _outlook(belief, noise, common, context)
        for belief, noise in zip(beliefs, noises, strict=True)
    ]


def draw(belief: Belief, outlook: Outlook, rng: Random) -> float:
    """Return a reward that the arm may well give: what to compare arms by."""
    chance = rng.betavariate(_GOOD + belief.successes, _BAD + belief.failures)
    drawn = outlook.speed + CURIOSITY * outlook.spread * rng.gauss(0, 1)
    return chance * max(0.0, drawn)


def learn(
    belief: Belief, outlook: Outlook, context: Vector, *, seconds: float, success: bool
) -> None:
    """Have ``belief`` take in a result, of which ``outlook`` was expected."""
    if not success:
        belief.failed()
        return
    seen = speed(seconds)
    noise = _noise(belief)
    surprise = (seen - outlook.speed) ** 2 * noise / (noise + outlook.spread**2)
    belief.succeeded(context, seen - _USUAL, surprise)


def _noise(belief: Belief) -> float:
    """Return the variance of an arm's speed in one and the same context."""
    seen = _NOISE_SEEN + belief.successes
    return (_NOISE_SEEN * _NOISE**2 + belief.surprise) / seen


def _common(beliefs: Sequence[Belief], noises: Vector) -> list[float]:
    """Return the coefficients of one regression for all arms."""
    gram = [[0.0] * FEATURES for _ in range(FEATURES)]
    moment = [0.0] * FEATURES
    for belief, noise in zip(beliefs, noises, strict=True):
        if belief.successes:
            moment = [sum_ + seen / noise for sum_, seen in zip(moment, belief.moment, strict=True)]
            for i, row in enumerate(belief.gram):
                gram[i] = [sum_ + seen / noise for sum_, seen in zip(gram[i], row, strict=True)]
    for i in range(FEATURES):
        gram[i][i] += 1 / _COMMON**2
    factor = cholesky(gram)
    return backward(factor, forward(factor, moment))


def _outlook(belief: Belief, noise: float, common: Vector, context: Vector) -> Outlook:
    expected = _USUAL + dot(common, context)
    chance = (_GOOD + belief.successes) / (_GOOD + _BAD + belief.tried)
    if not belief.successes:
        return Outlook(chance, expected, _APART * math.sqrt(dot(context, context)))
    precision = [[number / noise for number in row] for row in belief.gram]
    for i in range(FEATURES):
        precision[i][i] += 1 / _APART**2
    apart = [
        (seen - dot(row, common)) / noise
        for seen, row in zip(belief.moment, belief.gram, strict=True)
    ]
    factor = cholesky(precision)
    here = forward(factor, context)
    expected += dot(here, forward(factor, apart))
    return Outlook(chance, expected, math.sqrt(dot(here, here)))
