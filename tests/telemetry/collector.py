"""A collector: takes traces, metrics and logs over HTTP as protobuf, and can be slow or refuse."""

import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Collector:
    """What was taken. While ``gate`` is shut, nobody is answered."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.spans: list[Span] = []
        self.metrics: dict[str, Metric] = {}  # as they were sent last
        self.lines: list[LogRecord] = []
        self.resource: dict[str, Any] = {}
        self.status = 200
        self.refused: bytes | None = None  # 400 to what has it in it
        self.answer = ExportTraceServiceResponse().SerializeToString()
        self.unread = 0  # answers that were broken off
        self.asked = 0
        self.gate = threading.Event()
        self.gate.set()

    def named(self, name: str) -> Span:
        """Return the one span of that name."""
        (span,) = [span for span in self.spans if span.name == name]
        return span

    def take(self, path: str, body: bytes) -> None:
        match path:
            case "/v1/metrics":
                self._take_metrics(ExportMetricsServiceRequest.FromString(body))
            case "/v1/logs":
                self._take_lines(ExportLogsServiceRequest.FromString(body))
            case _:
                self._take_spans(ExportTraceServiceRequest.FromString(body))

    def _take_spans(self, request: ExportTraceServiceRequest) -> None:
        for resource in request.resource_spans:
            self.resource |= _values(resource.resource.attributes)
            for scope in resource.scope_spans:
                self.spans.extend(scope.spans)

    def _take_metrics(self, request: ExportMetricsServiceRequest) -> None:
        for resource in request.resource_metrics:
            for scope in resource.scope_metrics:
                self.metrics.update({metric.name: metric for metric in scope.metrics})

    def _take_lines(self, request: ExportLogsServiceRequest) -> None:
        for resource in request.resource_logs:
            for scope in resource.scope_logs:
                self.lines.extend(scope.log_records)


def attributes(told: Any) -> dict[str, Any]:
    """Return what a span, a point of a metric or a line of the log says."""
    return _values(told.attributes)


def _values(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


@contextmanager
def collecting() -> Generator[Collector]:
    """Collect on a free port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            collector.asked += 1
            collector.gate.wait()
            status = collector.status
            if collector.refused is not None and collector.refused in body:
                status = 400
            if status == 200:
                collector.take(self.path, body)
            self.send_response(status)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", str(len(collector.answer)))
            self.end_headers()
            try:
                self.wfile.write(collector.answer)
            except ConnectionError:
                collector.unread += 1

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    collector = Collector(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield collector
    finally:
        collector.gate.set()
        server.shutdown()
        thread.join()
        server.server_close()
