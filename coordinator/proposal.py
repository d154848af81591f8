"""What a human is shown before a step is done: everything that it would do."""

from collections.abc import Sequence
from typing import Any

import orjson

from coordinator.attempts import given_to
from coordinator.expressions import ExpressionFailed, Names, fill_in_each
from coordinator.spec import Step

MOST_PROPOSED = 4 * 1024 * 1024  # bytes of JSON


def proposal(step: Step, sets: Sequence[Names]) -> dict[str, Any]:
    """Return what is to be done, with every argument: each target that may do it, its input.

    ``sets`` are what its expressions may refer to: one for each item of a map.

    Raises:
        ExpressionFailed: it cannot be filled in, or is too much to be looked at.
    """
    targets = [target for _, target in step.targets()]
    inputs = _filled([(given_to(step, target), names) for target in targets for names in sets])
    size = len(sets)
    of_target = [inputs[n * size : (n + 1) * size] for n in range(len(targets))]
    return {
        "does": [
            {target.kind: target.name, "input": given if step.map is not None else given[0]}
            for target, given in zip(targets, of_target, strict=True)
        ]
    }


def _filled(values: Sequence[tuple[Any, Names]]) -> list[Any]:
    filled: list[Any] = []
    size = 0
    try:
        for value in fill_in_each(values):
            size += len(orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS))
            _require_room(size)
            filled.append(value)
    except ExpressionFailed as error:
        if len(values) == 1:
            raise
        place = f"input {len(filled) + 1} of {len(values)} that are to be approved together"
        raise ExpressionFailed(f"{error} ({place})") from error
    return filled


def _require_room(size: int) -> None:
    if size > MOST_PROPOSED:
        raise ExpressionFailed(
            f"what is to be approved has {size} bytes and more, {MOST_PROPOSED} at most: "
            "give it less, or map over fewer items"
        )
