"""Logging: structlog, coloured for people, JSON lines for machines.

Tracebacks show no local variables: those are prompts, states and secrets. What looks like a secret
is left out of everything, and no value can begin a line of its own.
"""

import logging
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TextIO, cast

import orjson
import structlog
from structlog.tracebacks import ExceptionDictTransformer

from operations.redaction import redact, redacted

Processor = structlog.typing.Processor
Entry = structlog.typing.EventDict
Context = Callable[[], Mapping[str, Any]]
_MARGIN = "    "  # before each line of a traceback


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
        _redact_entry,
    ]
    renderer = _for_machines() if json else _for_people()
    stream = cast("TextIO", _Lossy(sys.stderr))
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(stream),
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


def _for_machines() -> Processor:
    exceptions = structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False))
    lines = structlog.processors.JSONRenderer(serializer=_dumps)

    def render(logger: Any, method: str, entry: Entry) -> str:
        return redact(str(lines(logger, method, exceptions(logger, method, entry))))

    return render


def _for_people() -> Processor:
    lines = structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(), exception_formatter=_write_traceback
    )

    def render(logger: Any, method: str, entry: Entry) -> str:
        return redact(lines(logger, method, _escape(entry)))

    return render


def _redact_entry(_: object, __: str, entry: Entry) -> Entry:
    exception = entry.pop("exc_info", None)
    entry = redacted(entry)
    if exception is not None:
        entry["exc_info"] = exception  # not a value yet; its text is looked at once it is made
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


class _Lossy:
    """A stream that loses what cannot be written: a full disk, or a reader that has gone away.

    The log must not fail the work that it tells of.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()


def _dumps(value: object, **_: object) -> str:
    return orjson.dumps(value, default=str).decode()
