"""Logs for a collector: the lines that are written, without what looks like a secret."""

import re
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
    INVALID_SPAN_CONTEXT,
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    set_span_in_context,
)

from operations.handover import handover
from operations.telemetry.events import LogLine
from operations.telemetry.lane import BATCH
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
_IDS = re.compile(r"[0-9a-f]{32}-[0-9a-f]{16}")
_REFUSED = LogLine('{"event": "the collector refused a line of the log", "level": "warning"}')
_LARGEST = 2**63 - 1  # of whole numbers that are sent


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
        self._at_once = BATCH  # lines
        self._last = -1  # the number of the last record that was sent

    def take(self, batch: Sequence[Record]) -> None:
        """Send lines: fewer at once the next time, if they are not taken.

        One that is not taken alone, although others are, is left out: it is too long for the
        collector, or what that calls bad.

        Raises:
            NotSent: the collector does not take them.
        """
        left = [record for record in batch if record.number > self._last]
        while left:
            some, left = left[: self._at_once], left[self._at_once :]
            self._send(some)
            self._last = some[-1].number
            self._at_once = min(BATCH, 2 * self._at_once)

    def close(self, grace: float) -> None:  # noqa: ARG002 - it takes as long as it takes, in its thread
        """Let go of the connection."""
        self._exporter.shutdown()

    def _send(self, records: Sequence[Record]) -> None:
        if self._taken(records):
            return
        self._at_once = max(1, len(records) // 2)
        if len(records) == 1 and self._taken([records[0].telling(_REFUSED)]):
            self._taken(records)  # it may have been away before
            return
        raise NotSent("the collector did not take the lines of the log")

    def _taken(self, records: Sequence[Record]) -> bool:
        lines = [self._line(record) for record in records]
        with handover.waiting():
            return self._exporter.export(lines) is LogRecordExportResult.SUCCESS

    def _line(self, record: Record) -> ReadableLogRecord:
        said = _said(record.event.line)
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


def _said(line: str) -> dict[str, Any]:
    try:
        said: dict[str, Any] = orjson.loads(line)
    except orjson.JSONDecodeError:  # as it is: to fail would hold up all the others for ever
        return {"event": line}
    return said


def _context(said: dict[str, Any]) -> SpanContext:
    """Take the trace out of what a line says; what others call so stays an attribute."""
    named = str(said.get("trace_id")), str(said.get("span_id"))
    if not _IDS.fullmatch("-".join(named)):
        return INVALID_SPAN_CONTEXT
    del said["trace_id"], said["span_id"]
    trace_id, span_id = (int(one, 16) for one in named)
    flags = TraceFlags(TraceFlags.SAMPLED)
    return SpanContext(trace_id, span_id, is_remote=False, trace_flags=flags)


def _attributes(said: Mapping[str, Any]) -> dict[str, str | bool | int | float]:
    return {
        name: value if _is_plain(value) else orjson.dumps(value).decode()
        for name, value in said.items()
        if value is not None
    }


def _is_plain(value: object) -> bool:
    return isinstance(value, _PLAIN) and not (isinstance(value, int) and value > _LARGEST)
