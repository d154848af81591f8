"""Why a run is not moving: a value, and the sentence for people."""

from dataclasses import dataclass

from orchestration.loop.run import Ending, Place


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a live run is, how many go before it there, and why, in one sentence."""

    place: Place
    ahead: int
    why: str


def working_standing(
    ending: Ending | None, attempt: int, seconds: float | None, grace: float
) -> Standing:
    """Say what a run that holds a slot does, and has done for ``seconds`` if it has begun."""
    if ending is None and seconds is None:
        why = "it has a slot, and waits to be executed"
    elif ending is None:
        why = f"working for {seconds:.1f} s, attempt {attempt}"
    else:
        why = f"stopping ({ending}): its code has {grace:g} s to yield"
    return Standing(Place.WORKING, 0, why)
