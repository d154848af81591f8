"""Why a run is not moving: a value, and the sentence for people."""

from dataclasses import dataclass

from orchestration.loop.run import Ending, Place


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a live run is, how many go before it there, and why, in one sentence."""

    place: Place
    ahead: int
    why: str


def working_standing(ending: Ending | None, attempt: int, seconds: float, grace: float) -> Standing:
    """Say what a run that holds a slot does."""
    if ending is None:
        why = f"working for {seconds:.1f} s, attempt {attempt}"
    else:
        why = f"stopping ({ending}): its code has {grace:g} s to yield"
    return Standing(Place.WORKING, 0, why)
