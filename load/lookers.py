"""What it costs to show what happens to ten and to a thousand who look, and to nobody.

    PYTHONPATH=. .venv/bin/python load/lookers.py

The live view of the service, and streams of server-sent events that are written to nowhere. Told
is the processor time of an event: to make its text, and to write it to one who looks.
"""

import asyncio
import statistics
import time
from typing import Any

from operations.live import Looker
from operations.telemetry.record import Importance, Record
from orchestration.api.ops import TOPICS, Reader, as_events
from orchestration.api.sse import EventStream, Streams
from orchestration.loop.events import RunEnded
from orchestration.loop.run import RunStatus
from orchestration.telemetry.live import LiveView

EVENTS = 200
ROUNDS = 5


async def forever() -> Any:
    """Return when the client has gone: never."""
    await asyncio.Event().wait()


def stream_to(view: LiveView, sent: list[int]) -> tuple[Looker, asyncio.Task[None]]:
    """Have somebody look, and their stream written."""
    looker, before = view.live.look(TOPICS)

    async def send(message: Any) -> None:
        sent[0] += len(message.get("body", b""))

    stream = EventStream(
        Reader(looker),
        Streams(keep_alive=60.0, send_timeout=60.0),
        leave=lambda _: view.live.leave(looker),
        before=as_events(before),
    )
    return looker, asyncio.create_task(stream({}, forever, send))


async def one_round(lookers: int) -> tuple[float, float]:
    """Return the processor time of an event in seconds: to tell it, and for it to be seen."""
    view, sent = LiveView(list, list, dict), [0]
    looking = [stream_to(view, sent) for _ in range(lookers)]
    await asyncio.sleep(0.1)
    telling = seeing = 0.0
    for number in range(EVENTS):
        event = RunEnded(f"run-{number}", "t", "g", RunStatus.SUCCESS, 1, 0.1)
        begun = time.process_time()
        view.take([Record(number, 0.0, Importance.LIFECYCLE, event, {})])
        told = time.process_time()
        for _ in range(4):  # turns of the loop, until all have written it
            await asyncio.sleep(0)
        telling += told - begun
        seeing += time.process_time() - told
    view.live.close()
    await asyncio.gather(*(task for _, task in looking))
    return telling / EVENTS, seeing / EVENTS


async def main() -> None:
    """Measure and tell."""
    for lookers in (0, 10, 1_000):
        rounds = [await one_round(lookers) for _ in range(ROUNDS)]
        telling, seeing = (statistics.median(ones) * 1e6 for ones in zip(*rounds, strict=True))
        each = f", {seeing / lookers:.1f} µs for each" if lookers else ""
        print(
            f"{lookers:5} look: {telling:6.1f} µs to tell an event, {seeing:8.1f} to show it{each}"
        )


if __name__ == "__main__":
    asyncio.run(main())
