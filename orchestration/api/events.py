"""What the faces report."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RequestAnswered:
    """A request was answered, so many seconds after it came; ``route`` is its path's template."""

    route: str
    method: str
    status: int
    took: float


Event = RequestAnswered
Emit = Callable[[Event], None]
