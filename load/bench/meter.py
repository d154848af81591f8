"""What the processors did meanwhile: for the server, for the generator, and for others."""

import os
import time
from dataclasses import dataclass, field
from typing import Self

import psutil

from load.bench.server import Server


@dataclass(slots=True)
class Meter:
    """Measures a window, as a context manager. Times are in seconds, of all processors together."""

    server: Server
    wall: float = 0.0
    used: float = 0.0  # by the server
    _began: tuple[float, float, float, float] = field(default=(0.0, 0.0, 0.0, 0.0))
    others: float = 0.0  # processors that neither the server nor the generator kept busy

    def __enter__(self) -> Self:
        """Begin."""
        self._began = self._read()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        wall, used, own, busy = (
            now - then for now, then in zip(self._read(), self._began, strict=True)
        )
        self.wall, self.used = wall, used
        self.others = max(0.0, busy - used - own) / wall

    def _read(self) -> tuple[float, float, float, float]:
        own = os.times()
        times = psutil.cpu_times()
        busy = (
            sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0)
        )
        return time.perf_counter(), self.server.processor_seconds(), own.user + own.system, busy
