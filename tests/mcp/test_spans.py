"""The spans that the SDK makes of messages, where somebody takes them."""

import subprocess
import sys
from pathlib import Path

# A process of its own: who takes spans is said once in each.
CALL = """
import asyncio, pathlib, sys
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tests.mcp.client import NEWEST, client_of, open_tools

spans, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(spans))
trace.set_tracer_provider(provider)

async def main():
    async with open_tools(pathlib.Path(sys.argv[1]), "greet") as (_, http):
        async with client_of(http, NEWEST) as client:
            assert not (await client.call_tool("greet", {"name": "Ada"})).is_error
    served = [one for one in spans.get_finished_spans() if one.kind is trace.SpanKind.SERVER]
    sys.exit(0 if "tools/call greet" in {one.name for one in served} else 3)

asyncio.run(main())
"""


def test_whoever_takes_the_spans_of_the_sdk_gets_them(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CALL, str(tmp_path)]
    assert subprocess.run(command, check=False, capture_output=True).returncode == 0
