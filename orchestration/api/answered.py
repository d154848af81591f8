"""Requests that were answered, told together: there are more of them than of anything else."""

import asyncio

from orchestration.api.events import Emit, RequestsAnswered

SOON = 0.1  # seconds from the first that is to be told


class Answered:
    """Reports the requests of a tenth of a second at once. Of one event loop's thread only."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._took: dict[tuple[str, str, int], list[float]] = {}

    def add(self, route: str, method: str, status: int, took: float) -> None:
        """Have one reported, that took so many seconds; ``route`` is its path's template."""
        kind = route, method, status
        took_each = self._took.get(kind)
        if took_each is None:
            if not self._took:
                asyncio.get_running_loop().call_later(SOON, self.tell)
            took_each = self._took[kind] = []
        took_each.append(took)

    def tell(self) -> None:
        """Report what was not reported yet."""
        told, self._took = self._took, {}
        for (route, method, status), took_each in told.items():
            self._emit(RequestsAnswered(route, method, status, tuple(took_each)))
