"""How soon threads hand the interpreter over to one that waits for it."""

import sys
from collections.abc import Generator
from contextlib import contextmanager
from threading import Lock

SOON = 0.0005  # seconds
LATE = 0.005  # seconds: what CPython begins with


class Handover:
    """Has threads hand over soon, but late while writes wait and no thread computes.

    Beside a thread that computes, the event loop waits that long at each of its turns. And a
    thread that waits for a busy loop is woken in vain at each system call of it, until it asks.
    But a writer that is let wait has more to write at once. While nothing computes or writes, all
    is as it was: it is for a process of ours to have threads hand over soon then, too.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._usual = sys.getswitchinterval()  # seconds, while nothing computes or writes
        self._computing = 0  # threads
        self._gathering = 0  # writers

    @contextmanager
    def always_soon(self) -> Generator[None]:
        """Have threads hand over soon meanwhile, even if nothing computes."""
        before, self._usual = self._usual, SOON
        self._count()
        try:
            yield
        finally:
            self._usual = before
            self._count()

    def __enter__(self) -> None:
        """Compute, in a thread beside the event loop."""
        self._count(computing=1)

    def __exit__(self, *_: object) -> None:
        """Compute no more."""
        self._count(computing=-1)

    @contextmanager
    def waiting(self) -> Generator[None]:
        """Compute nothing meanwhile, in a thread that does before and after: others have to act."""
        self._count(computing=-1)
        try:
            yield
        finally:
            self._count(computing=1)

    def gather(self) -> None:
        """Have a writer find more to write."""
        self._count(gathering=1)

    def gathered(self) -> None:
        """Have it wait no longer than others: nothing waits to be written."""
        self._count(gathering=-1)

    def _count(self, *, computing: int = 0, gathering: int = 0) -> None:
        with self._lock:
            self._computing += computing
            self._gathering += gathering
            rest = LATE if self._gathering else self._usual
            sys.setswitchinterval(SOON if self._computing else rest)


handover = Handover()  # one, as the interpreter has one interval
