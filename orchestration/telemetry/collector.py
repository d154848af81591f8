"""What is sent to a collector, if the environment names one in OpenTelemetry's own words."""

import logging
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from prometheus_client.registry import Collector

from operations.addresses import is_one_word, is_server
from operations.errors import ConfigurationError
from operations.telemetry.record import Sink

if TYPE_CHECKING:
    import requests
    from opentelemetry.sdk.resources import Resource

Signal = Literal["traces", "metrics", "logs"]

_HTTP, _GRPC = "http/protobuf", "grpc"
Senders = tuple[list[Sink], list[Sink]]  # those that are closed last apart
_PACKAGES = {
    _HTTP: "opentelemetry.exporter.otlp.proto.http",
    _GRPC: "opentelemetry.exporter.otlp.proto.grpc",
}
_EXPORTERS: Mapping[Signal, tuple[str, str]] = {
    "traces": ("trace_exporter", "OTLPSpanExporter"),
    "metrics": ("metric_exporter", "OTLPMetricExporter"),
    "logs": ("_log_exporter", "OTLPLogExporter"),
}
_ANSWER = 65_536  # bytes that are read of one
_INTERVAL = "OTEL_METRIC_EXPORT_INTERVAL"  # milliseconds
_MINUTE = "60000"
_TEMPORALITY = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"


def wanted(environment: Mapping[str, str], signal: Signal) -> bool:
    """Return whether traces, metrics or logs are to be sent anywhere."""
    return (
        any(environment.get(name) for name in _endpoints(signal))
        and environment.get(f"OTEL_{signal.upper()}_EXPORTER", "otlp") == "otlp"
        and environment.get("OTEL_SDK_DISABLED", "").lower() != "true"
    )


def senders(
    environment: Mapping[str, str], common: Mapping[str, str], figures: Collector
) -> Senders:
    """Return the sinks that send what is to be sent, and those of them that are closed last.

    Nothing is imported if that is nothing.

    Raises:
        ConfigurationError: the protocol, or how to send metrics, is not one that there is, or the
            endpoint is none.
    """
    makers: Mapping[Signal, Callable[[Any, Any], Senders]] = {
        "traces": _traces,
        "metrics": partial(_metrics, environment, figures),
        "logs": _logs,
    }
    signals: list[Signal] = [signal for signal in makers if wanted(environment, signal)]
    if not signals:
        return [], []
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - slow, and rarely wanted

    # What a collector that is away makes the exporters say, the lanes say once a minute.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    resource = Resource.create(dict(common))
    made = [makers[signal](_exporter(environment, signal), resource) for signal in signals]
    return [sink for some, _ in made for sink in some], [sink for _, last in made for sink in last]


def _traces(exporter: Any, resource: "Resource") -> Senders:
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 - as above

    from orchestration.telemetry.spans import Spans  # noqa: PLC0415 - as above

    sampler = TracerProvider(resource=resource, shutdown_on_exit=False).sampler
    return [Spans(exporter, resource, sampler)], []


def _metrics(
    environment: Mapping[str, str],
    figures: Collector,
    exporter: Any,
    resource: "Resource",
) -> Senders:
    from orchestration.telemetry.gen_ai import GenAi  # noqa: PLC0415 - as above
    from orchestration.telemetry.sent_metrics import SentMetrics  # noqa: PLC0415 - as above

    preference = environment.get(_TEMPORALITY, "cumulative").lower()
    if preference != "cumulative":
        fix = "Leave it out, or set it to cumulative."
        raise ConfigurationError(_TEMPORALITY, f"found {preference!r}", fix)
    text = environment.get(_INTERVAL) or _MINUTE
    if not text.isdecimal() or not int(text):
        fix = "It has to be a number of milliseconds."
        raise ConfigurationError(_INTERVAL, f"found {text!r}", fix)
    durations = GenAi()
    interval = int(text) / 1_000
    return [durations], [SentMetrics(exporter, resource, figures, durations, interval)]


def _logs(exporter: Any, resource: "Resource") -> Senders:
    from orchestration.telemetry.sent_logs import SentLogs  # noqa: PLC0415 - as above

    return [], [SentLogs(exporter, resource)]


def _exporter(environment: Mapping[str, str], signal: Signal) -> Any:
    names = (f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
    name, protocol = _first(environment, names) or (names[1], _HTTP)
    if protocol not in _PACKAGES:
        fix = f"It has to be {_HTTP} or {_GRPC}."
        raise ConfigurationError(name, f"found {protocol!r}", fix)
    _check_endpoint(environment, signal, protocol)
    module, kind = _EXPORTERS[signal]
    make = getattr(import_module(f"{_PACKAGES[protocol]}.{module}"), kind)
    if protocol == _GRPC or _first(environment, _credential_providers(signal)):
        return make()
    return make(session=_sparing_session())


def _sparing_session() -> "requests.Session":
    """Return a session that reads only so much of an answer: nobody wants more than its status.

    By itself requests reads all of it, and of one that does not end as much as there is memory.
    """
    import requests  # noqa: PLC0415 - as above

    def read_some(answer: requests.Response, *_: Any, **__: Any) -> None:
        answer.raw.read(_ANSWER)
        answer.close()  # the connection, too, unless that was all

    session = requests.Session()
    session.stream = True
    session.hooks["response"].append(read_some)
    return session


def _check_endpoint(environment: Mapping[str, str], signal: Signal, protocol: str) -> None:
    """Refuse what the exporters would take, and then never get anything to.

    Raises:
        ConfigurationError: the endpoint is none for this protocol.
    """
    name, endpoint = _first(environment, _endpoints(signal)) or ("", "")
    if is_server(endpoint):
        return
    # To gRPC, host:port and dns:///host:port are addresses, too.
    url = endpoint.lower().startswith(("http:", "https:"))
    if protocol == _GRPC and is_one_word(endpoint) and not url:
        return
    port = 4317 if protocol == _GRPC else 4318
    # Not the text itself: there may be a password in it.
    problem = f"this is no address to send to by {protocol}"
    raise ConfigurationError(name, problem, f"Use one such as http://localhost:{port}.")


def _endpoints(signal: Signal) -> tuple[str, str]:
    """Return the names of the variables, the one that goes first in front."""
    return f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"


def _credential_providers(signal: Signal) -> tuple[str, str]:
    """Return the variables that name who makes the exporter's session."""
    prefix, suffix = "OTEL_PYTHON_EXPORTER_OTLP_HTTP", "CREDENTIAL_PROVIDER"
    return f"{prefix}_{signal.upper()}_{suffix}", f"{prefix}_{suffix}"


def _first(environment: Mapping[str, str], names: tuple[str, ...]) -> tuple[str, str] | None:
    """Return the first of the variables that says something, with what it says."""
    return next(((name, environment[name]) for name in names if environment.get(name)), None)
