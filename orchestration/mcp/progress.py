"""Waiting for a run, and telling its client meanwhile how it gets on."""

import asyncio
import math
from typing import Any

import anyio
import orjson

from orchestration.api.fields import StreamMode
from orchestration.loop.run import Outcome, Run
from orchestration.loop.streams import Listener, StreamEvent
from orchestration.mcp.visit import Context

HEARTBEAT = 10.0  # seconds at most between two signs of life; the promise is 15
STREAM_MODES: list[StreamMode] = [
    "updates",
    "custom",
]  # what a run has to stream for its progress to be seen

_LITTLE = 0.001  # what is said again must be more than before: the protocol wants it so


class Progress:
    """Tells the client of one call of the progress of its runs.

    Each node that ends is a step. A node that writes ``{"progress": n, "total": m, "message": …}``
    counts for itself.
    """

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._said = 0.0
        self._total: float | None = None
        self._counted = False  # by the graph itself

    async def follow(self, run: Run, listener: Listener) -> None:
        """Tell what ``run`` does until it does no more."""
        while True:
            with anyio.move_on_after(HEARTBEAT) as patience:
                await listener.wait()
            if patience.cancelled_caught:
                await self._say(None, f"run {run.run_id} goes on")
                continue
            for event in listener.take():
                await self._tell(event)
            if listener.closed:
                return

    async def _tell(self, event: StreamEvent) -> None:
        kind = event.name.partition("|")[0]
        if kind not in STREAM_MODES:
            return
        try:
            data = orjson.loads(event.data)
        except ValueError:  # a number beyond all that are read here: it ends no run
            return
        if kind == "custom":
            await self._custom(data)
        else:
            for node in data or ():
                if not node.startswith("__"):
                    await self._say(None if self._counted else math.floor(self._said) + 1, node)

    async def _custom(self, data: Any) -> None:
        if not isinstance(data, dict) or not _is_number(data.get("progress")):
            text = data if isinstance(data, str) else orjson.dumps(data).decode()
            await self._say(None, text[:200])
            return
        self._counted = True
        if _is_number(data.get("total")):
            self._total = float(data["total"])
        message = data.get("message")
        await self._say(float(data["progress"]), None if message is None else str(message))

    async def _say(self, progress: float | None, message: str | None) -> None:
        if progress is None or progress <= self._said:
            progress = self._said + _LITTLE
        self._said = progress
        await self._ctx.session.report_progress(self._said, self._total, message)


async def outcome_of(run: Run, within: float | None = None) -> Outcome | None:
    """Return how ``run`` ended, None if it has not ``within`` so many seconds.

    Raises:
        LoopError, StorageUnavailable: it will not be heard how it ends.
    """
    done = run.done
    if done is None:
        raise RuntimeError("only a submitted run can be waited for")
    # Not awaited itself: to cancel this must not cancel what others wait for.
    await asyncio.wait({done}, timeout=within)
    return done.result() if done.done() else None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
