"""Logs for a collector: the lines that are written, without what looks like a secret."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

import orjson
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExportResult
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    set_span_in_context,
)

from operations.telemetry.events import LogLine
from operations.telemetry.record import Record
from orchestration.telemetry.sending import NotSent

_SCOPE = InstrumentationScope("masterloop")
_SEVERITIES = {
    "debug": SeverityNumber.DEBUG,
    "info": SeverityNumber.INFO,
    "warning": SeverityNumber.WARN,
    "error": SeverityNumber.ERROR,
    "critical": SeverityNumber.FATAL,
}
_PLAIN = (str, bool, int, float)


class Exporter(Protocol):
    """What sends logs; the SDK has several."""

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        """Send lines; return whether they were taken."""
        ...

    def shutdown(self) -> None:
        """Let go of connections."""
        ...


class SentLogs:
    """A sink that sends lines of the log, each with the trace that it was written in."""

    name = "sent logs"
    kinds = frozenset({LogLine})

    def __init__(self, exporter: Exporter, resource: Resource) -> None:
        self._exporter = exporter
        self._resource = resource

    def take(self, batch: Sequence[Record]) -> None:
        """Send lines.

        Raises:
            NotSent: the collector does not take them.
        """
        lines = [self._line(record) for record in batch]
        if self._exporter.export(lines) is not LogRecordExportResult.SUCCESS:
            raise NotSent("the collector did not take the lines of the log")

    def close(self, grace: float) -> None:  # noqa: ARG002 - it takes as long as it takes, in its thread
        """Let go of the connection."""
        self._exporter.shutdown()

    def _line(self, record: Record) -> ReadableLogRecord:
        said: dict[str, Any] = orjson.loads(record.event.line)
        level = str(said.pop("level", "info"))
        at = datetime.fromisoformat(said.pop("ts")).timestamp() if "ts" in said else record.at
        context = _context(said)
        written = LogRecord(
            timestamp=int(at * 1e9),
            observed_timestamp=int(record.at * 1e9),
            context=set_span_in_context(NonRecordingSpan(context)),
            severity_text=level,
            severity_number=_SEVERITIES.get(level, SeverityNumber.UNSPECIFIED),
            body=str(said.pop("event", "")),
            attributes=_attributes(said),
        )
        return ReadableLogRecord(written, self._resource, _SCOPE)


def _context(said: dict[str, Any]) -> SpanContext:
    trace_id, span_id = (said.pop(name, None) for name in ("trace_id", "span_id"))
    flags = TraceFlags(TraceFlags.SAMPLED if trace_id else TraceFlags.DEFAULT)
    ids = int(trace_id or "0", 16), int(span_id or "0", 16)
    return SpanContext(*ids, is_remote=False, trace_flags=flags)


def _attributes(said: Mapping[str, Any]) -> dict[str, str | bool | int | float]:
    return {
        name: value if isinstance(value, _PLAIN) else orjson.dumps(value).decode()
        for name, value in said.items()
        if value is not None
    }
