"""The stream that the log is written to: it fails nobody, and holds nobody up."""

import json
import os
import select
import threading
import time
import weakref
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager, suppress
from itertools import groupby
from operator import itemgetter
from typing import TextIO

from operations.clock import iso_of

_PATIENCE = 0.5  # seconds for a reader that does not read
_SHARE = 0.01  # of all time for one that reads too slowly
_PART = 1_024  # characters: as many bytes at most as a pipe takes that says that it takes some


def stamp(at: float) -> str:
    """Return the time of an entry, in seconds since 1970, as the log has it."""
    return f"{iso_of(at)[:-6]}Z"


class _Held(threading.local):
    lines: "list[Text] | None" = None


_held = _Held()


class LossyStream:
    """A stream that loses what cannot be written: a full disk, or a reader that has gone away.

    The log must not fail the work that it tells of, nor hold it up: a reader that does not read, or
    not as fast as is written, is waited for a moment, and then for a small share of the time; else
    lines are lost until it reads. Those that were held wait.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._terminal = self._opened_anew()
        self._turn = threading.Lock()
        self._patience = _PATIENCE  # seconds that it may still wait
        self._waited = time.monotonic()  # until when, the last time
        self._cut = False  # in the middle of a line
        self._lost = 0

    def write(self, text: str) -> None:
        """Write lines, or lose them."""
        if _held.lines is not None:
            _held.lines.append((self, text))
            return
        if not self._in_time(lambda seconds: self._turn.acquire(timeout=seconds)):
            self._lost += 1
            return
        try:
            self._write_ready(text)
        finally:
            self._turn.release()

    def write_all(self, text: str) -> None:
        """Write what was held, however long that takes."""
        with self._turn:
            self._put(f"{self._missing()}{text}")

    def flush(self) -> None:
        """Do nothing: what is written is flushed."""

    def _write_ready(self, text: str) -> None:
        """Write as long as the reader reads."""
        if not self._ready():
            self._lost += 1
            return
        text = f"{self._missing()}{text}"
        for begin in range(0, len(text), _PART):
            if not self._ready() or not self._takes(text[begin : begin + _PART]):
                self._cut = True
                self._lost += 1
                return

    def _takes(self, part: str) -> bool:
        """Write a part to who is ready, and return whether all of it was taken."""
        if self._terminal is None:
            self._put(part)
            return True
        rest = part.encode(errors="backslashreplace")
        with suppress(OSError):
            while rest and self._ready():
                rest = rest[os.write(self._terminal, rest) :]
        return not rest

    def _opened_anew(self) -> int | None:
        """Return our own file of a terminal, where nobody waits to write; None if it is no such.

        A terminal that is ready may take a single byte, and let wait who has more.
        """
        try:
            if not self._stream.isatty():
                return None
            path = f"/dev/fd/{self._stream.fileno()}"
            terminal = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
        except (OSError, ValueError):
            return None
        weakref.finalize(self, os.close, terminal)
        return terminal

    def _put(self, text: str) -> None:
        with suppress(OSError):
            self._stream.write(text)
            self._stream.flush()

    def _ready(self) -> bool:
        """Return whether some can be written without waiting for a reader, or after a moment."""
        poll = select.poll()
        try:
            poll.register(self._stream.fileno(), select.POLLOUT)
        except (OSError, ValueError):
            return True  # it is no file
        return self._in_time(lambda seconds: bool(poll.poll(seconds * 1_000)))

    def _in_time(self, wait: Callable[[float], bool]) -> bool:
        """Return what ``wait`` does, which has the seconds that are left, and uses some up."""
        begun = time.monotonic()
        self._patience = min(_PATIENCE, self._patience + _SHARE * (begun - self._waited))
        found = wait(self._patience)
        self._waited = time.monotonic()
        self._patience = max(0.0, self._patience - (self._waited - begun))
        return found

    def _missing(self) -> str:
        """Return what stands for the lines that were lost until now."""
        end, self._cut = "\n" if self._cut else "", False
        lost, self._lost = self._lost, 0
        if not lost:
            return end
        event = "lines of the log were lost: nobody read them"
        entry = {"lines": lost, "event": event, "level": "warning", "ts": stamp(time.time())}
        return f"{end}{json.dumps(entry)}\n"


Text = tuple[LossyStream, str]  # a line, and where it goes


@contextmanager
def lines_held() -> Generator[list[Text]]:
    """Hold the lines that this thread logs meanwhile back, to be given to ``write_held``.

    Each write lets go of the interpreter, which a thread beside a busy event loop then waits for.
    """
    lines: list[Text] = []
    _held.lines = lines
    try:
        yield lines
    finally:
        _held.lines = None


def write_held(lines: Iterable[Text]) -> None:
    """Write lines that were held back, all at once."""
    for stream, group in groupby(lines, itemgetter(0)):
        stream.write_all("".join(text for _, text in group))
