"""Traces, as a collector gets them."""

import asyncio
import socket
import sys
import time
from collections.abc import Generator
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from langchain_core.tools import StructuredTool, tool
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from prometheus_client import CollectorRegistry

from operations.errors import ConfigurationError
from operations.telemetry.traceparent import Span as Place
from operations.telemetry.traceparent import span_of_run, trace_of
from orchestration.graphs.steps import NodeEnded, StepWatch, ToolEnded
from orchestration.telemetry.collector import senders, wanted
from tests.agents.kinds import PLAYERS
from tests.api.client import new_run, new_thread, open_client
from tests.operations.receiver import Receiver
from tests.telemetry.collector import Collector, attributes, collecting
from tests.telemetry.sinks import until

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"
WORKER = [sys.executable, str(PLAYERS / "worker.py")]

# As a server of MCP may call one.
odd = StructuredTool(
    name="find\ud800",
    description="Find something.",
    args_schema={"title": "find", "type": "object", "properties": {}},
    func=lambda: "found",
)


def _find(state: MessagesState) -> dict[str, Any]:
    call = {"name": odd.name, "args": {}, "id": "1\ud800", "type": "tool_call"}
    return {"messages": odd.invoke(call)}


finding = StateGraph(MessagesState)
finding.add_node("find", _find)
finding.add_edge(START, "find")
finding.add_edge("find", END)


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Generator[Collector]:
    with collecting() as found:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", found.url)
        yield found


async def test_a_run_its_wait_and_its_nodes_are_spans_in_the_trace_of_who_asked_for_it(
    tmp_path: Path, collector: Collector
) -> None:
    section = {"telemetry": {"environment": "test", "fields": {"brand": "acme"}}}
    async with open_client(tmp_path, "echo", manifest={"masterloop": section}) as client:
        thread = await new_thread(client)
        answer = await client.post(
            f"/threads/{thread}/runs/wait",
            json={"assistant_id": "echo", "input": {"text": "x"}},
            headers={"traceparent": TRACEPARENT},
        )
        assert answer.is_success
    run = collector.named("invoke_workflow echo")
    assert run.trace_id.hex() == TRACE
    assert run.parent_span_id.hex() == PARENT
    said = attributes(run)
    assert said["gen_ai.operation.name"] == "invoke_workflow"
    assert said["gen_ai.workflow.name"] == "echo"
    assert said["gen_ai.conversation.id"] == thread
    assert said["masterloop.run.status"] == "success"
    others = [span for span in collector.spans if span is not run]
    assert {"masterloop.queue"} < {span.name for span in others}
    assert any(span.name.startswith("masterloop.node ") for span in others)
    for span in others:
        assert (span.trace_id, span.parent_span_id) == (run.trace_id, run.span_id)
        assert span.start_time_unix_nano <= span.end_time_unix_nano
    assert collector.resource["service.name"] == "masterloop"
    assert collector.resource["deployment.environment.name"] == "test"
    assert collector.resource["brand"] == "acme"


async def test_the_trace_goes_on_in_agents_and_at_receivers_of_webhooks(
    tmp_path: Path, collector: Collector
) -> None:
    manifest = {
        "graphs": {"asker": "tests.agents.players.asker:asker"},
        "webhooks": {"url": {"require_https": False, "disable_loopback": False}},
        "masterloop": {"agents": {"play": {"kind": "process", "argv": WORKER}}},
    }
    given = {"tasks": [{"do": "trace"}]}
    async with Receiver.open() as receiver, open_client(tmp_path, manifest=manifest) as client:
        body = {"assistant_id": "asker", "input": given, "webhook": receiver.url}
        headers = {"traceparent": TRACEPARENT}
        answer = (await client.post("/runs/wait", json=body, headers=headers)).json()
        (request,) = await receiver.arrived(1)
    run, task = collector.named("invoke_workflow asker"), collector.named("invoke_agent play")
    assert task.parent_span_id == run.span_id
    assert answer["answers"] == [f"00-{TRACE}-{task.span_id.hex()}-01"]
    assert request.headers["traceparent"] == f"00-{TRACE}-{run.span_id.hex()}-01"


async def test_a_failure_is_told_with_its_type(tmp_path: Path, collector: Collector) -> None:
    async with open_client(tmp_path, "failing") as client:
        path = await new_run(client, await new_thread(client), "failing")
        await client.get(f"{path}/join")
    run = collector.named("invoke_workflow failing")
    assert attributes(run)["error.type"] == "ValueError"
    assert run.status.code == run.status.STATUS_CODE_ERROR
    assert not run.parent_span_id
    node = next(span for span in collector.spans if span.name.startswith("masterloop.node "))
    assert attributes(node)["error.type"] == "ValueError"


async def test_a_run_that_waits_for_a_restart_is_still_in_its_trace(
    tmp_path: Path, collector: Collector
) -> None:
    async with open_client(tmp_path, "holder", "echo", max_concurrent_runs=1) as client:
        await new_run(client, await new_thread(client), "holder")
        thread = await new_thread(client)
        client.headers["traceparent"] = TRACEPARENT
        waiting = await new_run(client, thread, "echo")
    assert not [span for span in collector.spans if span.name == "invoke_workflow echo"]
    async with open_client(tmp_path, "holder", "echo", max_concurrent_runs=2) as client:
        await client.get(f"{waiting}/join")
    run = collector.named("invoke_workflow echo")
    assert (run.trace_id.hex(), run.parent_span_id.hex()) == (TRACE, PARENT)


def test_who_asked_long_ago_or_for_a_run_that_was_tried_before_is_linked() -> None:
    trace = trace_of({b"traceparent": TRACEPARENT.encode()})["trace"]
    asked = Place.parse(trace)
    span, parent, link = span_of_run("run", 1, 60.0, trace)
    assert (span.trace_id, parent, link) == (int(TRACE, 16), asked, None)
    for attempt, waited in ((1, 60.1), (2, 0.0)):
        span, parent, link = span_of_run("run", attempt, waited, trace)
        assert span.trace_id != int(TRACE, 16)
        assert (parent, link) == (None, asked)


@pytest.mark.parametrize(
    "given",
    [
        b"",
        b"00-4bf9-00f067aa0ba902b7-01",
        b"00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        b"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        b"ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        b"\xff" * 60,
    ],
)
def test_a_context_that_is_none_is_not_kept(given: bytes) -> None:
    assert trace_of({b"traceparent": given}) == {}


@pytest.mark.parametrize("state", [b"a=\xe9", b"a=1\x7f", b"a=\t1"])
def test_a_state_that_no_header_can_hold_is_not_handed_on(state: bytes) -> None:
    given = f"00-{TRACE}-00f067aa0ba902b7-01".encode()
    trace = trace_of({b"traceparent": given, b"tracestate": state})["trace"]
    assert trace == {"traceparent": given.decode()}


async def test_a_context_that_is_not_sampled_makes_no_spans(
    tmp_path: Path, collector: Collector
) -> None:
    async with open_client(tmp_path, "echo") as client:
        for flags in ("00", "01"):
            await client.post(
                "/runs/wait",
                json={"assistant_id": "echo", "input": {}},
                headers={"traceparent": f"{TRACEPARENT[:-2]}{flags}"},
            )
    assert len([span for span in collector.spans if span.name == "invoke_workflow echo"]) == 1


async def test_a_collector_that_refuses_for_a_while_gets_each_span_once(
    tmp_path: Path, collector: Collector
) -> None:
    collector.status = 400
    async with open_client(tmp_path, "echo") as client:
        await client.post("/runs/wait", json={"assistant_id": "echo", "input": {}})
        await until(lambda: collector.asked >= 2)
        collector.status = 200
        await client.post("/runs/wait", json={"assistant_id": "echo", "input": {}})
        await until(lambda: len(collector.spans) == 6)
    assert len({span.span_id for span in collector.spans}) == 6


async def test_a_tool_whose_name_is_no_unicode_holds_up_no_other_span(
    tmp_path: Path, collector: Collector
) -> None:
    manifest = {"graphs": {"finding": "tests.telemetry.test_traces:finding"}}
    async with open_client(tmp_path, manifest=manifest) as client:
        await client.post("/runs/wait", json={"assistant_id": "finding", "input": {"messages": []}})
        await until(lambda: len(collector.spans) == 4)
    assert attributes(collector.named("execute_tool find?"))["gen_ai.tool.call.id"] == "1?"


@pytest.mark.parametrize("dead", [False, True])
async def test_a_collector_that_never_answers_costs_no_run_and_no_time_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dead: bool
) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as black_hole:
        if dead:
            black_hole.shutdown(socket.SHUT_RDWR)
        url = f"http://127.0.0.1:{black_hole.getsockname()[1]}"
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        async with open_client(tmp_path, "echo") as client:
            bodies = [{"assistant_id": "echo", "input": {}}] * 50
            answers = await asyncio.gather(
                *(client.post("/runs/wait", json=body) for body in bodies)
            )
            assert {answer.status_code for answer in answers} == {200}
            begun = time.monotonic()
        assert time.monotonic() - begun < 6


async def test_tools_and_nodes_are_told_with_what_they_are_a_part_of() -> None:
    @tool
    def double(number: int) -> int:
        """Double a number."""
        if number > 10:
            raise RuntimeError("too much")
        return 2 * number

    events: list[Any] = []
    graph = StateGraph(MessagesState)
    graph.add_node("tools", ToolNode([double], handle_tool_errors=True))
    graph.add_edge(START, "tools")
    graph.add_edge("tools", END)
    calls = [
        {"name": "double", "args": {"number": number}, "id": f"call-{number}"} for number in (2, 20)
    ]
    watch = StepWatch("run", "graph", events.append)
    await graph.compile().ainvoke(
        {"messages": [AIMessage("", tool_calls=calls)]}, {"callbacks": [watch]}
    )
    (node,) = [event for event in events if isinstance(event, NodeEnded)]
    tools = {event.call_id: event for event in events if isinstance(event, ToolEnded)}
    assert (node.node, node.step, node.parent, node.error) == ("tools", 1, None, None)
    assert tools.keys() == {"call-2", "call-20"}
    assert {one.parent for one in tools.values()} == {node.span_id}
    assert (tools["call-2"].error, tools["call-20"].error) == (None, "RuntimeError")
    assert node.took >= tools["call-2"].took > 0


def test_nothing_is_traced_unless_the_environment_names_a_collector() -> None:
    named = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}
    registry = CollectorRegistry()
    for signal in ("traces", "metrics", "logs"):
        assert wanted(named, signal)
        assert not wanted({}, signal)
        assert not wanted({**named, "OTEL_SDK_DISABLED": "true"}, signal)
        assert not wanted({**named, f"OTEL_{signal.upper()}_EXPORTER": "none"}, signal)
        own = {f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT": "http://127.0.0.1:4318"}
        assert wanted(own, signal)
    assert senders({}, {}, registry) == ([], [])
    with pytest.raises(ConfigurationError, match="OTEL_EXPORTER_OTLP_PROTOCOL"):
        senders({**named, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}, {}, registry)
    with pytest.raises(ConfigurationError, match="OTEL_METRIC_EXPORT_INTERVAL"):
        senders({**named, "OTEL_METRIC_EXPORT_INTERVAL": "1s"}, {}, registry)
    delta = {"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "delta"}
    with pytest.raises(ConfigurationError, match="TEMPORALITY"):
        senders({**named, **delta}, {}, registry)
    sinks = chain(*senders({**named, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, {}, registry))
    assert [sink.name for sink in sinks] == ["traces", "gen_ai", "sent metrics", "sent logs"]


@pytest.mark.parametrize("variable", ["", "TRACES_", "METRICS_", "LOGS_"])
@pytest.mark.parametrize(
    ("protocol", "endpoint"),
    [
        ("http/protobuf", "not a url"),
        ("http/protobuf", "localhost:4318"),
        ("http/protobuf", "http://"),
        ("http/protobuf", "http://localhost:99999"),
        ("http/protobuf", "http://localhost:4318 "),
        ("http/protobuf", "ftp://localhost"),
        ("grpc", "not a url"),
        ("grpc", "http://:4317"),
    ],
)
async def test_an_endpoint_that_is_none_stops_the_start_and_says_which(
    variable: str,
    protocol: str,
    endpoint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = f"OTEL_EXPORTER_OTLP_{variable}ENDPOINT"
    monkeypatch.setenv(name, endpoint)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    with pytest.raises(
        ConfigurationError, match=r"Use one such as http://localhost:431[78]\."
    ) as no:
        async with open_client(tmp_path, "echo"):
            pass
    assert no.value.where == name


@pytest.mark.parametrize("endpoint", ["localhost:4317", "dns:///localhost:4317", "https://[::1]"])
def test_grpc_has_addresses_that_are_no_urls(
    endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
    sinks = chain(*senders(named, {}, CollectorRegistry()))
    assert [sink.name for sink in sinks] == ["traces", "gen_ai", "sent metrics", "sent logs"]


def test_what_is_not_sent_has_no_endpoint_to_be_wrong() -> None:
    wrong = {"OTEL_EXPORTER_OTLP_ENDPOINT": "not a url"}
    assert senders({**wrong, "OTEL_SDK_DISABLED": "true"}, {}, CollectorRegistry()) == ([], [])
