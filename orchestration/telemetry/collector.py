"""Where traces go: to a collector, if the environment names one in OpenTelemetry's own words."""

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from operations.errors import ConfigurationError
from operations.telemetry.record import Sink

if TYPE_CHECKING:
    from orchestration.telemetry.spans import Exporter

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_HTTP, _GRPC = "http/protobuf", "grpc"


def traced(environment: Mapping[str, str]) -> bool:
    """Return whether traces are to be sent anywhere."""
    return (
        any(environment.get(name) for name in _ENDPOINTS)
        and environment.get("OTEL_TRACES_EXPORTER", "otlp") == "otlp"
        and environment.get("OTEL_SDK_DISABLED", "").lower() != "true"
    )


def traces(environment: Mapping[str, str], common: Mapping[str, str]) -> list[Sink]:
    """Return the sink that sends traces, if they are to be sent. Nothing is imported otherwise.

    Raises:
        ConfigurationError: the protocol is not one that there is.
    """
    if not traced(environment):
        return []
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - slow, and rarely wanted
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 - as above

    from orchestration.telemetry.spans import Spans  # noqa: PLC0415 - as above

    # What a collector that is away makes the exporter say, the lane says once a minute.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    resource = Resource.create(dict(common))
    sampler = TracerProvider(resource=resource, shutdown_on_exit=False).sampler
    return [Spans(_exporter(environment), resource, sampler)]


def _exporter(environment: Mapping[str, str]) -> "Exporter":
    named = [environment[name] for name in _PROTOCOLS if environment.get(name)]
    protocol = named[0] if named else _HTTP
    if protocol == _HTTP:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415 - slow
            OTLPSpanExporter as HttpExporter,
        )

        return HttpExporter()
    if protocol == _GRPC:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (  # noqa: PLC0415 - slow
            OTLPSpanExporter as GrpcExporter,
        )

        return GrpcExporter()
    fix = f"It has to be {_HTTP} or {_GRPC}."
    raise ConfigurationError(_PROTOCOLS[1], f"found {protocol!r}", fix)
