"""What the faces report."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True)  # frozen, it would take three times as long to make
class RequestAnswered:
    """A request was answered, so many seconds after it came; ``route`` is its path's template."""

    route: str
    method: str
    status: int
    took: float


@dataclass(frozen=True, slots=True)
class Audited:
    """Somebody did something that the audit has to know, or was refused.

    ``action`` is the id of the operation. ``key_id`` is the API key that they used, if any.
    """

    action: str
    principal: str
    key_id: str | None
    client: str | None
    method: str
    path: str
    status: int


Event = RequestAnswered | Audited
Emit = Callable[[Event], None]
