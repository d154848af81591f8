"""What takes long to look at, looked at beside the event loop."""

from collections.abc import Callable
from typing import Any, TypeVar

import anyio
import anyio.to_thread

T = TypeVar("T")

_LITTLE = 1_000  # values within a value; to validate so many takes some 10 ms


class Aside:
    """One thread for what has much in it: whoever brings that waits, and nobody else."""

    def __init__(self) -> None:
        self._thread = anyio.CapacityLimiter(1)

    async def of(self, value: Any, work: Callable[..., T], *given: Any) -> T:
        """Return what ``work`` makes of ``given``, which takes as long as there is in ``value``."""
        if _is_little(value):
            return work(*given)
        return await anyio.to_thread.run_sync(work, *given, limiter=self._thread)


def _is_little(value: Any) -> bool:
    found = [value]
    for node in found:
        if isinstance(node, dict):
            found.extend(node.values())
        elif isinstance(node, list):
            found.extend(node)
        if len(found) > _LITTLE:
            return False
    return True
