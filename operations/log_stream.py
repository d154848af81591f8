"""The stream that the log is written to: it fails nobody, and holds nobody up."""

import os
import select
import threading
import time
import weakref
from collections.abc import Callable, Generator, Iterable, Sequence
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
    lines are lost until it reads. Those that were held wait. ``tell`` makes a line that says how
    many were lost, for the place where they were to be.
    """

    def __init__(self, stream: TextIO, tell: Callable[[int], str]) -> None:
        self.lost = 0  # lines, from the beginning
        self._stream = stream
        self._tell = tell
        self._terminal = self._opened_anew()
        self._turn = threading.Lock()
        self._patience = _PATIENCE  # seconds that it may still wait
        self._waited = time.monotonic()  # until when, the last time
        self._cut = False  # in the middle of a line
        self._told = 0  # lines that were lost, as is known where the others are

    def write(self, text: str) -> None:
        """Write lines, or lose them."""
        if _held.lines is not None:
            _held.lines.append((self, text))
            return
        if not self._in_time(lambda seconds: self._turn.acquire(timeout=seconds)):
            self.lost += 1
            return
        try:
            if not self._write_ready(text):
                self.lost += 1
        finally:
            self._turn.release()

    def write_all(self, lines: Sequence[str]) -> None:
        """Write what was held, however long that takes."""
        with self._turn:
            told = self._told
            if not self._put(f"{self._missing()}{''.join(lines)}"):
                self._cut, self._told = True, told
                self.lost += len(lines)

    def flush(self) -> None:
        """Do nothing: what is written is flushed."""

    def _write_ready(self, text: str) -> bool:
        """Write as long as the reader reads, and return whether all of it was taken."""
        if not self._ready():
            return False
        told = self._told
        text = f"{self._missing()}{text}"
        for begin in range(0, len(text), _PART):
            if not self._ready() or not self._takes(text[begin : begin + _PART]):
                self._cut = True
                if not begin:
                    self._told = told
                return False
        return True

    def _takes(self, part: str) -> bool:
        """Write a part to who is ready, and return whether all of it was taken."""
        if self._terminal is None:
            return self._put(part)
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

    def _put(self, text: str) -> bool:
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:
            return False
        return True

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
        told, self._told = self._told, self.lost
        lost = self._told - told
        return f"{end}{self._tell(lost)}\n" if lost else end


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
        stream.write_all([text for _, text in group])
