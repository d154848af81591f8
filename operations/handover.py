"""How soon threads hand the interpreter over to one that waits for it."""

import sys
from threading import Lock

SOON = 0.001  # seconds


class Computing:
    """Has threads hand over sooner for as long as any of them computes beside the event loop.

    By default a thread that waits asks for the interpreter after 5 ms. Beside one that computes,
    the event loop would wait as long at each of its turns. But where the other one only writes, it
    is the one that waits, and a busy event loop that hands over each millisecond does less.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._threads = 0
        self._usual = 0.0  # seconds

    def __enter__(self) -> None:
        with self._lock:
            if not self._threads:
                self._usual = sys.getswitchinterval()
                sys.setswitchinterval(min(SOON, self._usual))
            self._threads += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._threads -= 1
            if not self._threads:
                sys.setswitchinterval(self._usual)


computing = Computing()  # one, as the interpreter has one interval
