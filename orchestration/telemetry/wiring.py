"""How the telemetry of a service is put together."""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager, nullcontext, suppress
from random import Random

from operations.logs import lines_heard_by
from operations.telemetry.aggregator import Aggregator
from operations.telemetry.events import LogLine, ServiceStarted, ServiceStopped
from operations.telemetry.record import Sink, Writer
from operations.telemetry.trail import Trail
from orchestration.api.meta import VERSION
from orchestration.graphs.manifest import Manifest
from orchestration.graphs.steps import StepWatch
from orchestration.loop.events import harmless
from orchestration.loop.master import MasterLoop
from orchestration.loop.run import Run
from orchestration.telemetry.collector import senders, wanted
from orchestration.telemetry.importance import IMPORTANCE
from orchestration.telemetry.journal import Journal
from orchestration.telemetry.metrics import Metrics


@asynccontextmanager
async def open_telemetry(
    manifest: Manifest,
    trail: Trail,
    metrics: Metrics,
    *sinks: Sink,
    writers: Iterable[Writer],
    counters: Iterable[Sink],
) -> AsyncGenerator[Aggregator]:
    """Open what the service is told by, and those who take it from there.

    ``counters`` are sinks that only compute; ``writers`` have that done for them.

    Raises:
        ConfigurationError: what the environment says of a collector cannot be done.
    """
    common = manifest.masterloop.telemetry.common(VERSION)
    sent, last = senders(os.environ, common, metrics)
    telemetry = Aggregator(
        [*sinks, *sent],
        writers=[Journal(), *writers],
        counters=[metrics, *counters],
        last=last,
        trail=trail,
        importance=IMPORTANCE,
        common=common,
        rng=Random(),
    )
    emit = harmless(telemetry.emit)
    lines = lines_heard_by(lambda line: emit(LogLine(line)))
    # To the very end: what is taken there is logged, too.
    with lines if wanted(os.environ, "logs") else nullcontext():
        async with telemetry:
            yield telemetry


def steps_watch(telemetry: Aggregator, *, kept: bool) -> Callable[[Run], StepWatch] | None:
    """Return what makes hearers of the steps of runs; None if nobody wants to know.

    ``kept``: somebody keeps them, whether or not they are traced.
    """
    if not (kept or wanted(os.environ, "traces")):
        return None
    emit = harmless(telemetry.emit)
    return lambda run: StepWatch(run.run_id, run.graph_id, emit, outputs=kept)


def restrict_without(trail: Trail, loop: MasterLoop) -> None:
    """Have the loop take no work of low priority while the audit trail cannot be written."""
    events = asyncio.get_running_loop()
    why = "the disk does not take the audit trail"
    trail.tell(lambda failing: _soon(events, loop.restrict, why if failing else None))


def _soon(
    events: asyncio.AbstractEventLoop, call: Callable[[str | None], None], why: str | None
) -> None:
    with suppress(RuntimeError):  # the event loop has ended
        events.call_soon_threadsafe(call, why)


@asynccontextmanager
async def in_the_trail(telemetry: Aggregator) -> AsyncGenerator[None]:
    """Tell the audit from when to when the service worked."""
    telemetry.emit(ServiceStarted(VERSION, os.getpid()))
    error = None
    try:
        yield
    except BaseException as broken:
        error = type(broken).__name__
        raise
    finally:
        telemetry.emit(ServiceStopped(error))
