"""What the faces report."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RequestsAnswered:
    """Requests were answered, each so many seconds after it came, all of them with one status.

    ``route`` is the template of their paths.
    """

    route: str
    method: str
    status: int
    took: tuple[float, ...]


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


Event = RequestsAnswered | Audited
Emit = Callable[[Event], None]
