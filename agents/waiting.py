"""Those who wait for an agent."""

import asyncio
from bisect import insort
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING

from agents.errors import NotLeased

if TYPE_CHECKING:
    from agents.seat import Seat

AGEING = 60.0  # seconds of waiting that count as one level of priority


@dataclass(eq=False, slots=True, kw_only=True)
class Request:
    """Somebody who wants an agent. Times are those of the event loop, in seconds."""

    capability: str
    priority: int  # 0 (first) to 10
    thread_id: str | None
    arrived: float
    wait: float  # seconds at most, anew if it loses an agent
    deadline: float | None  # of this wait, if that is not all of ``wait``
    since: float = field(init=False)  # it waits: later than `arrived` if it lost an agent
    place: tuple[float, int] = field(init=False)
    granted: "asyncio.Future[Seat]" = field(init=False)


class WaitingRoom:
    """Keeps requests in the order in which they are granted.

    That is by ``arrived + priority * AGEING``, which never changes while one waits: first come,
    first served within a priority, and nobody starves.
    """

    def __init__(self) -> None:
        self._requests: list[Request] = []
        self._numbers = count()

    def __len__(self) -> int:
        return len(self._requests)

    def __iter__(self) -> Iterator[Request]:
        return iter(tuple(self._requests))

    def waited(self, now: float) -> float:
        """Return how long the one waits who waits longest, in seconds."""
        return max((now - request.since for request in self._requests), default=0.0)

    def put(self, request: Request) -> None:
        """Have one more wait."""
        request.place = (request.arrived + request.priority * AGEING, next(self._numbers))
        insort(self._requests, request, key=lambda other: other.place)

    def take(self, fits: Callable[[Request], bool]) -> Request | None:
        """Return the first whom it fits; that one waits no more."""
        for number, request in enumerate(self._requests):
            if fits(request) and not request.granted.done():  # done: cancelled in this very turn
                return self._requests.pop(number)
        return None

    def refuse(self, request: Request, error: NotLeased) -> None:
        """Send one away, if still waiting."""
        if request in self._requests:
            self._requests.remove(request)
            if not request.granted.done():
                request.granted.set_exception(error)

    def discard(self, request: Request) -> None:
        """Forget one who has left."""
        if request in self._requests:
            self._requests.remove(request)
