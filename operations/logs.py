"""Logging: structlog, coloured for people, JSON lines for machines.

Tracebacks show no local variables: those are prompts, states and secrets. What looks like a secret
is left out of everything, and no value can begin a line of its own.
"""

import json as jsonlib
import logging
import os
import select
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from typing import Any, TextIO, cast

import structlog
from structlog.tracebacks import ExceptionDictTransformer

from operations.clock import iso_of
from operations.json_text import dumps, one_line
from operations.redaction import redact, redacted, suspicious

Processor = structlog.typing.Processor
Entry = structlog.typing.EventDict
Context = Callable[[], Mapping[str, Any]]
Past = Callable[[float, str, Entry, Iterable[str]], "Sequence[Text]"]
_MARGIN = "    "  # before each line of a traceback
_PATIENCE = 0.5  # seconds for a reader that does not read
_SHARE = 0.01  # of all time for one that reads too slowly
_PART = 1_024  # characters: as many bytes at most as a pipe takes that says that it takes some
_DEEP = 200  # levels of an entry: of groups of exceptions each has three


def configure_logs(level: str, *, json: bool, context: Context = dict) -> None:
    """Send all logging, the standard library's included, to stderr at ``level`` and above.

    ``context`` says what each entry is about that is made where it is called, such as a run.
    """
    number = logging.getLevelNamesMapping()[level.upper()]

    def about(_: object, __: str, entry: Entry) -> Entry:
        return {**context(), **entry}

    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        about,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
        structlog.processors.StackInfoRenderer(),
        _hide_what_is_named,
    ]
    lossy = _Lossy(sys.stderr)
    stream = cast("TextIO", lossy)
    machines = _Machines(lossy, number)
    renderer: Processor = machines if json else _for_people(machines)
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(number, logging.WARNING), force=True)


def past_log() -> "Past":
    """Return what makes lines of things that are past, at the level ``info``, for ``write_held``.

    It is given when that was, in seconds since 1970, what happened, the facts, which it may change,
    and all texts of these that somebody else has chosen. For machines it does without structlog's
    chain, which takes ten times as long: of each run there is a line. So no key of the facts may
    be one that names a secret.
    """
    *_, last = structlog.get_config()["processors"]
    return last.past if isinstance(last, _Machines) else _past


def _past(_: float, event: str, facts: Entry, __: Iterable[str]) -> "Sequence[Text]":
    with lines_held() as held:
        structlog.get_logger("masterloop").info(event, **facts)
    return held


@contextmanager
def lines_heard_by(hear: Callable[[str], None]) -> Generator[None]:
    """Have ``hear`` called with each line that is written meanwhile, as JSON for machines."""
    _hearers.append(hear)
    try:
        yield
    finally:
        _hearers.remove(hear)


_hearers: list[Callable[[str], None]] = []


class _Machines:
    """Writes entries as JSON."""

    def __init__(self, stream: "_Lossy", level: int) -> None:
        self._stream = stream
        self._level = level
        self._exceptions = structlog.processors.ExceptionRenderer(
            ExceptionDictTransformer(show_locals=False)
        )

    def __call__(self, logger: Any, method: str, entry: Entry) -> str:
        if "exc_info" in entry:
            entry = self._exceptions(logger, method, dict(entry))
        line = _encoded(entry)
        for hear in _hearers:
            hear(line)
        return line

    def past(self, at: float, event: str, facts: Entry, texts: Iterable[str]) -> "Sequence[Text]":
        if self._level > logging.INFO:
            return ()
        facts["event"], facts["level"], facts["ts"] = event, "info", _ts(at)
        if _hearers or any(map(_doubtful, texts)):
            line = self(None, "info", facts)
        else:
            line = one_line(dumps(facts).decode())
        return ((self._stream, f"{line}\n"),)


def _ts(at: float) -> str:
    return f"{iso_of(at)[:-6]}Z"


def _encoded(entry: Entry) -> str:
    """Return an entry as JSON. Secrets are left out of what it says, not of how that is written.

    There a quote or a line's end is an escape, which would be taken for a part of the secret, or
    hide where it begins.
    """
    line = dumps(entry).decode()
    if suspicious(line):
        line = dumps(redacted(jsonlib.loads(line), _DEEP)).decode()
    return one_line(line)


@lru_cache(maxsize=1_024)
def _doubtful(text: str) -> bool:
    return suspicious(text)


def _for_people(machines: Processor) -> Processor:
    lines = structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(), exception_formatter=_write_traceback
    )

    def render(logger: Any, method: str, entry: Entry) -> str:
        return lines(logger, method, _escape(entry))

    def shown(logger: Any, method: str, entry: Entry) -> str:
        if _hearers:
            machines(logger, method, dict(entry))
        line = render(logger, method, dict(entry))
        if not suspicious(line):
            return line
        # What only its representation tells has been in no value: so the line is cleaned after all.
        return redact(render(logger, method, _apart_from_exceptions(entry, redact)))

    return shown


def _hide_what_is_named(_: object, __: str, entry: Entry) -> Entry:
    return _apart_from_exceptions(entry, str)


def _apart_from_exceptions(entry: Entry, clean: Callable[[str], str]) -> Entry:
    exception = entry.pop("exc_info", None)  # not a value yet
    entry = redacted(entry, clean=clean)
    if exception is not None:
        entry["exc_info"] = exception
    return entry


def _escape(entry: Entry) -> Entry:
    """Write control characters as escapes, so that no key and no value can forge a line."""
    return {
        _printable(key): _printable(value) if isinstance(value, str) else value
        for key, value in entry.items()
    }


def _write_traceback(out: TextIO, exception: Any) -> None:
    for text in traceback.format_exception(*exception):
        out.writelines(f"\n{_MARGIN}{_printable(line)}" for line in text.splitlines())


def _printable(text: str) -> str:
    return text if text.isprintable() else repr(text)[1:-1]


@contextmanager
def lines_held() -> Generator[list["Text"]]:
    """Hold the lines that this thread logs meanwhile back, to be given to ``write_held``.

    Each write lets go of the interpreter, which a thread beside a busy event loop then waits for.
    """
    lines: list[Text] = []
    _held.lines = lines
    try:
        yield lines
    finally:
        _held.lines = None


def write_held(lines: Iterable["Text"]) -> None:
    """Write lines that were held back, all at once."""
    for stream, group in groupby(lines, itemgetter(0)):
        stream.write_all("".join(text for _, text in group))


class _Held(threading.local):
    lines: "list[Text] | None" = None


_held = _Held()


class _Lossy:
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
        entry = {"lines": lost, "event": event, "level": "warning", "ts": _ts(time.time())}
        return f"{end}{jsonlib.dumps(entry)}\n"


Text = tuple[_Lossy, str]  # a line, and where it goes
