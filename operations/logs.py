"""Logging: structlog, coloured for people, JSON lines for machines.

Tracebacks show no local variables: those are prompts, states and secrets.
"""

import logging
import sys
from contextlib import suppress
from typing import TextIO, cast

import orjson
import structlog
from structlog.tracebacks import ExceptionDictTransformer


def configure_logs(level: str, *, json: bool) -> None:
    """Send all logging, the standard library's included, to stderr at ``level`` and above."""
    number = logging.getLevelNamesMapping()[level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
        structlog.processors.StackInfoRenderer(),
    ]
    renderers: list[structlog.typing.Processor] = (
        [
            structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),
            structlog.processors.JSONRenderer(serializer=_dumps),
        ]
        if json
        else [
            _escape,
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            ),
        ]
    )
    stream = cast("TextIO", _Lossy(sys.stderr))
    structlog.configure(
        processors=[*shared, *renderers],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(number, logging.WARNING), force=True)


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


def _escape(
    _: structlog.typing.WrappedLogger, __: str, entry: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Write control characters as escapes, so that no value can forge a line."""
    for key, value in entry.items():
        if isinstance(value, str) and not value.isprintable() and key != "exception":
            entry[key] = repr(value)[1:-1]
    return entry


def _dumps(value: object, **_: object) -> str:
    return orjson.dumps(value, default=str).decode()
