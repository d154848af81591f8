"""Metrics and lines of the log, as a collector gets them."""

import os
import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path

import pytest
import structlog
from opentelemetry._logs import SeverityNumber
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExportResult
from opentelemetry.sdk.resources import Resource
from prometheus_client import CollectorRegistry

from agents.events import TaskEnded
from operations.handover import LATE, Handover
from operations.logs import configure_logs
from operations.shutdown import Step, Tier
from operations.telemetry.events import LogLine, LoopTurned
from operations.telemetry.record import Importance, Record, Sink
from orchestration.graphs.node_tasks import whereabouts
from orchestration.graphs.steps import ToolEnded
from orchestration.loop.events import RunEnded, RunStarted
from orchestration.loop.run import RunStatus
from orchestration.telemetry.collector import senders
from orchestration.telemetry.gen_ai import BOUNDS, GenAi
from orchestration.telemetry.sending import NotSent
from orchestration.telemetry.sent_logs import SentLogs
from tests.api.client import client_of, open_client, open_play
from tests.telemetry.collector import Collector, attributes, collecting
from tests.telemetry.sinks import until
from tests.telemetry.told import aggregator

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
ASKED = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
ECHO = {"assistant_id": "echo", "input": {"text": "x"}}


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Generator[Collector]:
    with collecting() as found:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", found.url)
        yield found


async def test_metrics_are_sent_as_prometheus_is_shown_them(
    tmp_path: Path, collector: Collector
) -> None:
    async with open_client(tmp_path, "echo") as client:
        for _ in range(3):
            await client.post("/runs/wait", json=ECHO)
    finished = collector.metrics["masterloop_runs_finished"].sum
    assert (finished.is_monotonic, finished.aggregation_temporality) == (True, 2)  # cumulative
    (point,) = finished.data_points
    assert (attributes(point), point.as_double) == ({"assistant": "echo", "status": "success"}, 3)
    assert 0 < point.start_time_unix_nano < point.time_unix_nano
    duration = collector.metrics["masterloop_run_duration_seconds"]
    (spread,) = duration.histogram.data_points
    assert (duration.unit, spread.count, sum(spread.bucket_counts)) == ("s", 3, 3)
    assert len(spread.bucket_counts) == len(spread.explicit_bounds) + 1
    assert collector.metrics["masterloop_workers_limit"].gauge.data_points[0].as_double == 100
    assert collector.metrics["process_resident_memory_bytes"].unit == "By"
    assert collector.metrics["masterloop_db_operation_seconds"].histogram.data_points


@pytest.mark.parametrize("in_order", [True, False])
async def test_the_last_requests_are_counted_however_a_service_ends(
    tmp_path: Path, collector: Collector, in_order: bool
) -> None:
    async with open_play(tmp_path, "echo") as service, client_of(service.app) as client:

        async def ask() -> None:
            await client.get("/info")

        if in_order:
            service.shutdown.add(Step("last request", Tier.PARTS, ask, 1.0))
            await service.shutdown.run()
        else:
            await ask()
    (point,) = collector.metrics["masterloop_http_requests"].sum.data_points
    assert (attributes(point)["route"], point.as_double) == ("/info", 1)


async def test_workflows_are_sent_by_the_names_for_generative_ai(
    tmp_path: Path, collector: Collector
) -> None:
    async with open_client(tmp_path, "echo") as client:
        await client.post("/runs/wait", json=ECHO)
    metric = collector.metrics["gen_ai.workflow.duration"]
    (point,) = metric.histogram.data_points
    said = {"gen_ai.operation.name": "invoke_workflow", "gen_ai.workflow.name": "echo"}
    assert (metric.unit, attributes(point), point.count) == ("s", said, 1)
    assert list(point.explicit_bounds) == pytest.approx(BOUNDS)


async def test_metrics_are_sent_every_so_often(
    tmp_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "10")
    async with open_client(tmp_path, "echo"):
        await until(lambda: "masterloop_workers_limit" in collector.metrics)


@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.usefixtures("logs_as_before")
async def test_lines_of_the_log_are_sent_in_their_trace_and_without_secrets(
    tmp_path: Path, collector: Collector, as_json: bool
) -> None:
    configure_logs("info", json=as_json, context=whereabouts)
    async with open_client(tmp_path, "echo") as client:
        structlog.get_logger("x").warning("a token", header="Bearer abcdefghijklmnop", parts=[1])
        structlog.get_logger("x").warning("odd", trace_id="mine", span_id=7, number=2**63)
        await client.post("/runs/wait", json=ECHO, headers=ASKED)
    run = collector.named("invoke_workflow echo")
    lines = {line.body.string_value: line for line in collector.lines}
    ended = lines["run ended"]
    assert (ended.trace_id.hex(), ended.span_id) == (TRACE, run.span_id)
    assert ended.severity_text == "info"
    assert attributes(ended).items() >= {"graph_id": "echo", "status": "success"}.items()
    assert run.start_time_unix_nano <= ended.time_unix_nano
    token = lines["a token"]
    assert (token.severity_number, token.trace_id) == (SeverityNumber.WARN.value, b"")
    assert "abcdefgh" not in str(token)
    assert attributes(token)["parts"] == "[1]"
    odd = attributes(lines["odd"])
    assert (odd["trace_id"], odd["span_id"], odd["number"]) == ("mine", 7, str(2**63))


class Kept:
    """Keeps what is sent, unless a line of it is longer than it takes."""

    def __init__(self, longest: int = 1_000) -> None:
        self.lines: list[ReadableLogRecord] = []
        self.longest = longest  # characters

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        if any(len(str(one.log_record.body)) > self.longest for one in batch):
            return LogRecordExportResult.FAILURE
        self.lines.extend(batch)
        return LogRecordExportResult.SUCCESS

    def shutdown(self) -> None:
        pass


def test_a_line_that_cannot_be_read_is_sent_as_it_is_and_so_are_the_others() -> None:
    kept = Kept()
    lines = ['{"event": "so"]', '{"event": "after it"}']
    SentLogs(kept, Resource({})).take(
        [Record(n, 1.5, Importance.DETAIL, LogLine(line), {}) for n, line in enumerate(lines)]
    )
    sent = [one.log_record for one in kept.lines]
    assert [(one.body, one.timestamp) for one in sent] == [
        (lines[0], 1_500_000_000),
        ("after it", 1_500_000_000),
    ]


def taken_after(sink: Sink, batch: Sequence[Record]) -> int:
    """Have a batch taken, as often as a lane would; return how often it was not."""
    for tries in range(20):
        with suppress(NotSent):
            sink.take(batch)
            return tries
    raise AssertionError("it is never taken")


def test_a_line_that_the_collector_refuses_holds_up_no_other() -> None:
    kept = Kept()
    sink = SentLogs(kept, Resource({}))
    texts = [*map(str, range(100)), "x" * 2_000, *map(str, range(101, 256))]
    batch = [
        Record(n, 1.5, Importance.DETAIL, LogLine(f'{{"event": "{text}"}}'), {})
        for n, text in enumerate(texts, 1)
    ]
    assert taken_after(sink, batch) < 20
    assert [one.log_record.body for one in kept.lines] == [
        *texts[:100],
        "the collector refused a line of the log",
        *texts[101:],
    ]


def test_of_a_collector_that_takes_nothing_no_line_is_left_out() -> None:
    kept = Kept(longest=0)
    sink = SentLogs(kept, Resource({}))
    batch = [
        Record(n, 1.5, Importance.DETAIL, LogLine(f'{{"event": "{n}"}}'), {}) for n in range(1, 9)
    ]
    for _ in range(20):
        with pytest.raises(NotSent):
            sink.take(batch)
    kept.longest = 1_000
    assert taken_after(sink, batch) == 0
    assert [one.log_record.body for one in kept.lines] == [*map(str, range(1, 9))]


def test_a_span_that_the_collector_refuses_holds_up_no_other(collector: Collector) -> None:
    collector.refused = b"number 200;"
    begun = RunStarted("r", "g", 1, 0.1, "t", 5, None)
    used = [ToolEnded("r", n, None, f"number {n};", None, 0.3, None) for n in range(1, 256)]
    batch = [Record(n, 1.5, Importance.DETAIL, one, {}) for n, one in enumerate([begun, *used], 1)]
    (sink,) = (
        one for one in senders(os.environ, {}, CollectorRegistry())[0] if one.name == "traces"
    )
    assert taken_after(sink, batch) < 20
    names = [f"execute_tool number {n};" for n in range(1, 256)]
    names[199] = "masterloop.refused"
    assert [span.name for span in collector.spans] == names
    assert len({span.trace_id for span in collector.spans}) == 1


@pytest.mark.usefixtures("logs_as_before")
async def test_of_an_answer_without_end_no_more_than_a_part_is_read(
    tmp_path: Path, collector: Collector
) -> None:
    collector.answer = bytes(2**26)
    configure_logs("info", json=True)
    async with open_client(tmp_path, "echo") as client:
        await client.post("/runs/wait", json=ECHO)
    await until(lambda: collector.unread == collector.asked)
    assert collector.spans
    assert collector.metrics
    assert collector.lines


@pytest.mark.usefixtures("collector")
def test_who_has_an_exporter_use_other_credentials_is_heard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER", "of-nobody")
    with pytest.raises(RuntimeError, match="of-nobody"):
        senders(os.environ, {}, CollectorRegistry())


async def test_each_is_sent_only_if_it_is_to_be(
    tmp_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    for signal in ("METRICS", "LOGS"):
        monkeypatch.setenv(f"OTEL_{signal}_EXPORTER", "none")
    async with open_client(tmp_path, "echo") as client:
        await client.post("/runs/wait", json=ECHO)
    assert collector.spans
    assert (collector.metrics, collector.lines) == ({}, [])


@pytest.fixture
def gathering(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    handover = Handover()  # that of this process may have other threads that compute
    for module in ("aggregator", "lane"):
        monkeypatch.setattr(f"operations.telemetry.{module}.handover", handover)
    for module in ("spans", "sent_logs", "sent_metrics"):
        monkeypatch.setattr(f"orchestration.telemetry.{module}.handover", handover)
    handover.gather()
    yield
    handover.gathered()


@pytest.mark.usefixtures("gathering")
@pytest.mark.parametrize(
    ("signal", "events"),
    [
        (
            "TRACES",
            [
                RunStarted("r", "g", 1, 0.1, "t", 5, None),
                RunEnded("r", "t", "g", RunStatus.SUCCESS, 1, 0.1),
            ],
        ),
        ("METRICS", [LoopTurned((0.1,))]),
        ("LOGS", [LogLine('{"event": "x"}')]),
    ],
)
async def test_a_writer_finds_as_much_to_write_while_a_collector_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, collector: Collector, signal: str, events: Sequence[object]
) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT")
    url = f"{collector.url}/v1/{signal.lower()}"
    monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT", url)
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "1")
    collector.gate.clear()

    def asked() -> int:
        for event in events:
            telemetry.emit(event)
        return collector.asked

    async with aggregator(*chain(*senders(os.environ, {}, CollectorRegistry()))) as telemetry:
        await until(asked)
        # An exporter waits for 10 s.
        await until(lambda: sys.getswitchinterval() == pytest.approx(LATE), limit=5.0)
        assert any(sink.busy for sink in telemetry.sinks)
        collector.gate.set()


def test_names_and_errors_beyond_a_bound_are_other() -> None:
    durations = GenAi()
    events = [
        *(RunEnded("r", "t", f"g{n}", RunStatus.ERROR, 1, 0.1, f"E{n}") for n in range(300)),
        TaskEnded("pool", 1, "c", 0.2, None, 0, "r"),
        ToolEnded("r", 1, None, "tool", None, 0.3, None),
    ]
    durations.take([Record(1, 0.0, Importance.DETAIL, event, {}) for event in events])
    told = list(durations.series())
    by_name = {one.name: one for one in told}
    assert by_name["gen_ai.invoke_agent.duration"].attributes["gen_ai.agent.name"] == "pool"
    assert by_name["gen_ai.execute_tool.duration"].attributes["gen_ai.tool.name"] == "tool"
    runs = [one for one in told if one.name == "gen_ai.workflow.duration"]
    assert len({one.attributes["gen_ai.workflow.name"] for one in runs}) == 201
    assert len({one.attributes["error.type"] for one in runs}) == 51
    assert sum(one.counted.upto[-1][1] for one in runs) == 300
