"""Traces: a sink that makes spans of what has ended and sends them to a collector."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import Decision, Sampler
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

from agents.events import TaskEnded
from operations.handover import handover
from operations.telemetry import semconv
from operations.telemetry.record import Record
from operations.telemetry.traceparent import Span, digest, span_of_run
from orchestration.graphs.steps import NodeEnded, ToolEnded
from orchestration.loop.events import RunCrashed, RunEnded, RunRequeued, RunStarted
from orchestration.telemetry.sending import NotSent

_RUNS = 20_000  # runs that work and are known
_AT_ONCE = 512  # spans that are sent together
_SCOPE = InstrumentationScope("masterloop")
_REFUSED = "masterloop.refused"  # the name of a span that the collector did not take as it was


@dataclass(frozen=True, slots=True)
class _Attempt:
    """An attempt at a run that is under way."""

    span: Span
    parent: Span | None
    link: Span | None
    began: float  # seconds since 1970
    event: RunStarted


class Spans:
    """Makes a span of each attempt at a run, its wait, its nodes, its tools and its agents' tasks.

    The SDK's processors are not used: to flush them takes longer than a stop may, and this has a
    thread, a backlog and patience already.
    """

    name = "traces"
    kinds = frozenset(
        {RunStarted, RunEnded, RunRequeued, RunCrashed, NodeEnded, ToolEnded, TaskEnded}
    )

    def __init__(self, exporter: SpanExporter, resource: Resource, sampler: Sampler) -> None:
        self._exporter = exporter
        self._resource = resource
        self._sampler = sampler
        self._attempts: OrderedDict[str, _Attempt] = OrderedDict()
        self._made: list[ReadableSpan] = []
        self._at_once = _AT_ONCE
        self._last = 0

    def take(self, batch: Sequence[Record]) -> None:
        """Send the spans of what has ended: fewer at once the next time, if they are not taken.

        One that is not taken alone, although it is without all that it says, is sent so.

        Raises:
            NotSent: the collector does not take them.
        """
        for record in batch:
            if record.number > self._last:  # it is not taken again
                self._last = record.number
                self._note(record)
        while self._made:
            self._send(self._made[: self._at_once])

    def close(self, grace: float) -> None:  # noqa: ARG002 - it takes as long as it takes, in its thread
        """Let go of the connection."""
        self._exporter.shutdown()

    def _send(self, spans: Sequence[ReadableSpan]) -> None:
        if not self._taken(spans):
            self._at_once = max(1, len(spans) // 2)
            if len(spans) > 1 or not self._taken([_bare(spans[0])]):
                raise NotSent("the collector did not take the spans")
        del self._made[: len(spans)]
        self._at_once = min(_AT_ONCE, 2 * self._at_once)

    def _taken(self, spans: Sequence[ReadableSpan]) -> bool:
        with handover.waiting():
            return self._exporter.export(spans) is SpanExportResult.SUCCESS

    def _note(self, record: Record) -> None:
        match record.event:
            case RunStarted():
                self._begin(record.at, record.event)
            case RunEnded() as event:
                self._end(record.at, event.run_id, event.status.value, event.error)
            case RunRequeued() as event:
                self._end(record.at, event.run_id, "requeued", None)
            case RunCrashed() as event:
                self._end(record.at, event.run_id, "crashed", "WorkerLost")
            case NodeEnded() as event:
                said = {semconv.NODE: event.node, semconv.STEP: event.step}
                self._step(record, f"masterloop.node {event.node}", said)
            case ToolEnded() as event:
                said = {semconv.OPERATION: semconv.EXECUTE_TOOL, semconv.TOOL: event.tool}
                if event.call_id is not None:
                    said[semconv.TOOL_CALL] = event.call_id
                self._step(record, f"{semconv.EXECUTE_TOOL} {event.tool}", said)
            case TaskEnded() as event if event.run_id is not None:
                self._task(record, event)
            case _:
                pass

    def _begin(self, at: float, event: RunStarted) -> None:
        span, parent, link = span_of_run(event.run_id, event.attempt, event.waited, event.trace)
        sampled = span.sampled and (
            parent is not None or self._wanted(span.trace_id, event.graph_id, link)
        )
        if sampled:
            self._attempts[event.run_id] = _Attempt(span, parent, link, at, event)
            if len(self._attempts) > _RUNS:
                self._attempts.popitem(last=False)

    def _wanted(self, trace_id: int, graph_id: str, link: Span | None) -> bool:
        context = None
        if link is not None:
            context = set_span_in_context(NonRecordingSpan(_context(link)))
        name = f"{semconv.INVOKE_WORKFLOW} {graph_id}"
        return self._sampler.should_sample(context, trace_id, name).decision is not Decision.DROP

    def _end(self, at: float, run_id: str, status: str, error: str | None) -> None:
        attempt = self._attempts.pop(run_id, None)
        if attempt is None:
            return
        event = attempt.event
        ids = {semconv.RUN: run_id, semconv.ATTEMPT: event.attempt}
        waiting = Span(attempt.span.trace_id, digest(f"{attempt.span.span_id}/queue"))
        wait = {**ids, semconv.PRIORITY: event.priority, semconv.QUEUE_WAIT: event.waited}
        arrived = attempt.began - event.waited
        self._make("masterloop.queue", waiting, attempt.span, (arrived, attempt.began), wait)
        said: dict[str, Any] = {
            semconv.OPERATION: semconv.INVOKE_WORKFLOW,
            semconv.WORKFLOW: event.graph_id,
            semconv.CONVERSATION: event.thread_id,
            semconv.STATUS: status,
            **ids,
        }
        failed = error or ("timeout" if status == "timeout" else None)
        name = f"{semconv.INVOKE_WORKFLOW} {event.graph_id}"
        self._make(
            name,
            attempt.span,
            attempt.parent,
            (attempt.began, at),
            said,
            error=failed,
            link=attempt.link,
        )

    def _step(self, record: Record, name: str, said: dict[str, Any]) -> None:
        event: NodeEnded | ToolEnded = record.event
        attempt = self._attempts.get(event.run_id)
        if attempt is not None:
            trace_id = attempt.span.trace_id
            parent = attempt.span if event.parent is None else Span(trace_id, event.parent)
            said |= {semconv.RUN: event.run_id, semconv.ATTEMPT: attempt.event.attempt}
            own = Span(trace_id, event.span_id)
            time = (record.at - event.took, record.at)
            self._make(name, own, parent, time, said, error=event.error)

    def _task(self, record: Record, event: TaskEnded) -> None:
        attempt = self._attempts.get(event.run_id or "")
        if attempt is not None:
            said = {
                semconv.OPERATION: semconv.INVOKE_AGENT,
                semconv.AGENT: event.pool,
                semconv.CAPABILITY: event.capability,
                semconv.RUN: event.run_id,
            }
            trace_id, named = attempt.span.trace_id, event.span_id
            own = Span(trace_id, named or digest(f"task/{record.number}/{record.at}"))
            parent = attempt.span if event.parent is None else Span(trace_id, event.parent)
            time = (record.at - event.took, record.at)
            name = f"{semconv.INVOKE_AGENT} {event.pool}"
            self._make(name, own, parent, time, said, error=event.error)

    def _make(
        self,
        name: str,
        own: Span,
        parent: Span | None,
        time: tuple[float, float],
        said: Mapping[str, Any],
        *,
        error: str | None = None,
        link: Span | None = None,
    ) -> None:
        attributes = said if error is None else {**said, semconv.ERROR_TYPE: error}
        self._made.append(
            ReadableSpan(
                name,
                _context(own),
                None if parent is None else _context(parent),
                self._resource,
                attributes,
                links=() if link is None else (Link(_context(link)),),
                kind=SpanKind.INTERNAL,
                status=Status() if error is None else Status(StatusCode.ERROR, error),
                start_time=int(time[0] * 1e9),
                end_time=int(time[1] * 1e9),
                instrumentation_scope=_SCOPE,
            )
        )


def _bare(span: ReadableSpan) -> ReadableSpan:
    """Return a span in the same place that says nothing."""
    return ReadableSpan(
        _REFUSED,
        span.context,
        span.parent,
        span.resource,
        kind=span.kind,
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=_SCOPE,
    )


def _context(span: Span) -> SpanContext:
    flags = TraceFlags(TraceFlags.SAMPLED if span.sampled else TraceFlags.DEFAULT)
    state = TraceState.from_header([span.state]) if span.state else None
    return SpanContext(
        span.trace_id, span.span_id, is_remote=False, trace_flags=flags, trace_state=state
    )
