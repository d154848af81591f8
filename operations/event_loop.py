"""How a process of ours runs its event loop."""

import asyncio
import gc
from collections.abc import Generator
from contextlib import contextmanager

from operations.handover import handover

GARBAGE = 50_000  # objects that may wait for the collector
IN_FLIGHT = 300  # objects, about, that a run holds while it is under way


def loop_factory() -> "type[asyncio.AbstractEventLoop] | None":
    """Return the fastest event loop that there is; None for Python's own."""
    try:
        import uvloop  # noqa: PLC0415 - not there on every platform
    except ImportError:
        return None
    return uvloop.Loop


@contextmanager
def open_runner() -> Generator[asyncio.Runner]:
    """Open what runs coroutines on the event loop of a process."""
    with (
        handover.always_soon(),
        _known_to_sniffio(),
        asyncio.Runner(loop_factory=loop_factory()) as runner,
    ):
        yield runner


@contextmanager
def _known_to_sniffio() -> Generator[None]:
    """Let sniffio know meanwhile that this thread runs asyncio's event loop.

    Where it is there, anyio asks it for each event, lock and task group, and it looks for the
    current task each time: of a call over MCP, whose SDK is made of these, that took 2 %.
    """
    try:
        from sniffio import thread_local  # noqa: PLC0415 - anyio does without it, too
    except ImportError:
        yield
        return
    before, thread_local.name = thread_local.name, "asyncio"
    try:
        yield
    finally:
        thread_local.name = before


def tune_the_collector(runs: int) -> None:
    """Collect garbage less often, and start-up's never.

    Measured: with CPython's defaults, collecting cost 8 % of a no-op run; so it costs 2 %. What up
    to so many ``runs`` hold that are under way is no garbage: without room for it, each wave of 200
    was looked through in vain, an eighth of the time.
    """
    gc.freeze()  # with the little garbage there is: to collect it takes a tenth of a second
    gc.set_threshold(GARBAGE + runs * IN_FLIGHT, 20, 100)
    gc.enable()
