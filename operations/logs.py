"""Logging: structlog, coloured for people, JSON lines for machines.

Tracebacks show no local variables: those are prompts, states and secrets. What looks like a secret
is left out of everything, and no value can begin a line of its own.
"""

import json as jsonlib
import logging
import sys
import time
import traceback
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, TextIO, cast

import structlog
from structlog.tracebacks import ExceptionDictTransformer

from operations.json_text import dumps, one_line
from operations.log_stream import LossyStream, Text, lines_held, stamp
from operations.redaction import redact, redacted, suspicious

Processor = structlog.typing.Processor
Entry = structlog.typing.EventDict
Context = Callable[[], Mapping[str, Any]]
Past = Callable[[float, str, Entry, Iterable[str]], Sequence[Text]]
_MARGIN = "    "  # before each line of a traceback
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
    people = structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(), exception_formatter=_write_traceback
    )

    def tell_of_lost(lines: int) -> str:
        event = "lines of the log were lost: nobody took them"
        entry = {"lines": lines, "event": event, "level": "warning", "ts": stamp(time.time())}
        return dumps(entry).decode() if json else people(None, "warning", entry)

    lossy = LossyStream(sys.stderr, tell_of_lost)
    stream = cast("TextIO", lossy)
    machines = _Machines(lossy, number)
    renderer: Processor = machines if json else _for_people(people, machines)
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


def past_log() -> Past:
    """Return what makes lines of things that are past, at the level ``info``, for ``write_held``.

    It is given when that was, in seconds since 1970, what happened, the facts, which it may change,
    and all texts of these that somebody else has chosen. For machines it does without structlog's
    chain, which takes ten times as long: of each run there is a line. So no key of the facts may
    be one that names a secret.
    """
    *_, last = structlog.get_config()["processors"]
    return last.past if isinstance(last, _Machines) else _past


def _past(_: float, event: str, facts: Entry, __: Iterable[str]) -> Sequence[Text]:
    with lines_held() as held:
        structlog.get_logger("masterloop").info(event, **facts)
    return held


def lines_lost() -> int:
    """Return how many lines of this process's log nobody took until now."""
    streams = (getattr(handler, "stream", None) for handler in logging.getLogger().handlers)
    return sum(stream.lost for stream in streams if isinstance(stream, LossyStream))


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

    def __init__(self, stream: LossyStream, level: int) -> None:
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

    def past(self, at: float, event: str, facts: Entry, texts: Iterable[str]) -> Sequence[Text]:
        if self._level > logging.INFO:
            return ()
        facts["event"], facts["level"], facts["ts"] = event, "info", stamp(at)
        if _hearers or any(map(_doubtful, texts)):
            line = self(None, "info", facts)
        else:
            line = one_line(dumps(facts).decode())
        return ((self._stream, f"{line}\n"),)


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


def _for_people(lines: structlog.dev.ConsoleRenderer, machines: Processor) -> Processor:
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
