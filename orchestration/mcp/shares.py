"""Room that all callers share, and how much of it one may take."""

from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager

from mcp.shared.exceptions import MCPError
from mcp_types import INTERNAL_ERROR

from orchestration.api.endpoint import Call


def has_share(own: int, taken: int, room: int) -> bool:
    """Return whether a caller that has ``own`` is to have no more, of ``room`` with ``taken``.

    Nobody takes more than is left for all others: the first takes half of the room at most, the
    next one a quarter, and whoever comes later finds some.

    Source: A. Choudhury, E. Hahne, "Dynamic Queue Length Thresholds for Shared-Memory Packet
    Switches", IEEE/ACM Transactions on Networking 6 (2), 1998.
    """
    return own >= room - taken


class Shares:
    """Counts who has how many streams open. Where nobody is asked who they are, all have all."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._open = Counter[str]()

    @contextmanager
    def counted(self, call: Call) -> Generator[None]:
        """Count one of the caller's in here.

        Raises:
            MCPError: they have their share.
        """
        if call.backend.authority is None:
            yield
            return
        whose = call.principal.identity
        if has_share(self._open[whose], self._open.total(), self._room):
            raise MCPError(INTERNAL_ERROR, f"too many streams: {self._open[whose]} are open")
        self._open[whose] += 1
        try:
            yield
        finally:
            self._open[whose] -= 1
            if not self._open[whose]:
                del self._open[whose]
