"""Says in words why an arm was chosen."""

from collections.abc import Sequence

from coordinator.advice import Arm
from coordinator.history import Option
from coordinator.reward import speed

_MINUTE = 60.0  # seconds
_FEW = 2.0  # results up to which an arm counts as hardly known
_SURE = 0.9  # the weight within a run from which on nothing is said of it


def explained(options: Sequence[Option], best: int) -> str:
    """Return a sentence on why ``options[best]`` was chosen."""
    chosen = options[best]
    others = [option for number, option in enumerate(options) if number != best]
    if not others:
        return f"{named(chosen.arm)}: there was nothing else to choose"
    reasons = [_known(chosen)]
    rival = max(others, key=_expected)
    if _expected(rival) * rival.weight > _expected(chosen) * chosen.weight:
        reasons.append(f"tried although {named(rival.arm)} is expected to do better, to find out")
    else:
        reasons.append(f"best of {len(options)}; next is {named(rival.arm)}: {_known(rival)}")
    reasons.extend(
        f"in this run {named(option.arm)} has failed or been slow (weight {option.weight:.2f})"
        for option in others
        if option.weight < _SURE
    )
    return f"{named(chosen.arm)}: " + "; ".join(reasons)


def named(arm: Arm) -> str:
    """Return an arm in words."""
    parts = [arm.mode, arm.variant and f"variant {arm.variant}", arm.pool and f"pool {arm.pool}"]
    return ", ".join(part for part in parts if part) or "the only way"


def span(seconds: float) -> str:
    """Return seconds as people say them."""
    if seconds < 1:
        return f"{max(1, round(seconds * 1000))} ms"
    return f"{seconds:.1f} s" if seconds < _MINUTE else f"{seconds / _MINUTE:.1f} min"


def _expected(option: Option) -> float:
    return option.chance * speed(option.seconds)


def _known(option: Option) -> str:
    if not option.tried:
        return "not tried yet"
    chance = f"succeeds {min(option.chance, 0.99):.0%} of the time, in about {span(option.seconds)}"
    count = f"{option.tried:.0f} results" if option.tried > _FEW else "hardly known"
    return f"{chance} ({count})"
