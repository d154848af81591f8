"""Hand-made sinks: one that keeps what it gets, and can be made to hang or to fail."""

import threading
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any

import anyio

from operations.telemetry.record import Record


class Shelf:
    """Keeps what it takes. While ``gate`` is shut it hangs; it fails ``failing`` times."""

    def __init__(
        self, name: str = "shelf", failing: int = 0, kinds: Collection[type] | None = None
    ) -> None:
        self.name = name
        self.kinds = kinds
        self.failing = failing
        self.gate = threading.Event()
        self.gate.set()
        self.asked = 0
        self.records: list[Record] = []
        self.closed = False

    @property
    def events(self) -> list[Any]:
        return [record.event for record in self.records]

    def prepare(self, batch: Sequence[Record]) -> Sequence[Record]:
        return batch

    def take(self, batch: Sequence[Record]) -> None:
        self.asked += 1
        self.gate.wait()
        if self.failing:
            self.failing -= 1
            raise ConnectionError("nobody there")
        self.records.extend(batch)

    def close(self, grace: float) -> None:
        self.closed = True


async def until(condition: Callable[[], object], limit: float = 10.0) -> None:
    """Return once ``condition`` holds; threads bring it about, so it is looked at."""
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, "it never came about"
        await anyio.sleep(0.002)
