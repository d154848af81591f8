"""How the parts of the service are, and whether it can take work."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class State(StrEnum):
    """How a part is; only one that has failed makes the service not ready."""

    OK = "ok"
    DEGRADED = "degraded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Component:
    """How one part is, why, and its figures."""

    state: State = State.OK
    reason: str | None = None
    figures: Mapping[str, Any] = field(default_factory=dict[str, Any])


Check = Callable[[], Awaitable[Component]]


async def examine(
    checks: Mapping[str, Check], exclude: Collection[str] = ()
) -> dict[str, Component]:
    """Return how each part is but for those left out; one whose check breaks has failed."""
    found: dict[str, Component] = {}
    for name, check in checks.items():
        if name in exclude:
            continue
        try:
            found[name] = await check()
        except Exception as error:  # noqa: BLE001 - whatever it is, it makes us not ready
            found[name] = Component(State.FAILED, str(error) or type(error).__name__)
    return found
