"""What the graphs' nodes leave in shared memory, so that nobody polls to know when a run ran.

A run may carry an index ``i`` in its input; its node then writes into place ``i`` of the file that
``BENCH_MARKS`` names (see ``project/bench_graphs.py``, which says the same layout): when it
started, when it ended, how often it started and how often it finished.
"""

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile

PLACES = 40_000
SPARE = PLACES - 100  # places from here on are for runs that warm a server up
PLACE = 32  # bytes
WORDS = 4  # of a place: two times, two counts
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - not a temporary file: memory that processes share


class Marks:
    """The marks of the runs with an index. Times are those of `time.time`, in seconds."""

    def __init__(self, file: Path, memory: mmap.mmap) -> None:
        self.file = file
        self._memory = memory
        self._times: memoryview[float] = memoryview(memory).cast("d")
        self._counts: memoryview[int] = memoryview(memory).cast("Q")

    def started(self, count: int, base: int = 0) -> list[float]:
        """Return when the first ``count`` runs from ``base`` on last started; 0 for never."""
        return list(self._times[WORDS * base : WORDS * (base + count) : WORDS])

    def ended(self, count: int, base: int = 0) -> list[float]:
        """Return when they last ended or were cancelled; 0 for never."""
        return list(self._times[WORDS * base + 1 : WORDS * (base + count) : WORDS])

    def starts(self, count: int, base: int = 0) -> list[int]:
        """Return how often each of them started."""
        return self._counts[WORDS * base + 2 : WORDS * (base + count) : WORDS].tolist()

    def finishes(self, count: int, base: int = 0) -> list[int]:
        """Return how often each of them finished."""
        return self._counts[WORDS * base + 3 : WORDS * (base + count) : WORDS].tolist()

    def reset(self) -> None:
        """Forget all of them."""
        self._memory[:] = bytes(PLACES * PLACE)

    def close(self) -> None:
        """Let go of the memory."""
        self._times.release()
        self._counts.release()
        self._memory.close()


@contextmanager
def open_marks() -> Iterator[Marks]:
    """Yield marks in a file of their own, which is gone afterwards."""
    with NamedTemporaryFile(
        prefix="masterloop-bench-", dir=SHARED_MEMORY if SHARED_MEMORY.is_dir() else None
    ) as file:
        file.truncate(PLACES * PLACE)
        marks = Marks(Path(file.name), mmap.mmap(file.fileno(), PLACES * PLACE))
        try:
            yield marks
        finally:
            marks.close()
