"""The service itself, for those who run it: how it is, what it does, how its runs went."""

from typing import Annotated, Any, Literal

import anyio
from pydantic import Field
from starlette.responses import Response

from operations.health import examine
from operations.live import Looker, News
from orchestration.api import answers
from orchestration.api.access import SOMEBODY
from orchestration.api.asked import Query
from orchestration.api.conditions import components_document, shutdown_document
from orchestration.api.endpoint import EVENTS, Call, Endpoints, json_response
from orchestration.api.fields import WHOLE
from orchestration.api.sse import EventStream
from orchestration.loop.streams import StreamEvent

endpoint = Endpoints()

Topic = Literal["metrics", "runs", "agents", "activity", "shutdown"]
TOPICS: tuple[Topic, ...] = ("metrics", "runs", "agents", "activity", "shutdown")


class StatsHow(Query):
    """Whose figures."""

    assistant: Annotated[str, Field(max_length=255)] | None = None


class ActivityHow(Query):
    """Which of the last events."""

    event: list[str] | None = None
    run_id: str | None = None
    limit: Annotated[int, Field(ge=1, le=100), WHOLE] = 100


class StreamHow(Query):
    """What to be told of; of everything if nothing is named."""

    topics: list[Topic] | None = None


@endpoint("GET", "/ops/status", access=SOMEBODY, gives=answers.Status, refuses=(403,))
async def get_status(call: Call) -> Response:
    """Say how the service and each of its parts are."""
    call.require_admin()
    return json_response(await status_document(call))


@endpoint("GET", "/ops/stats", access=SOMEBODY, query=StatsHow, gives=Any, refuses=(403,))
async def get_stats(call: Call, how: StatsHow) -> Response:
    """Say how runs went in the last minute, hour and day: of each assistant, and of all."""
    call.require_admin()
    summary = call.backend.operations.summary
    return json_response(await anyio.to_thread.run_sync(summary, how.assistant))


@endpoint(
    "GET",
    "/ops/activity",
    access=SOMEBODY,
    query=ActivityHow,
    gives=list[answers.Activity],
    refuses=(403,),
)
async def get_activity(call: Call, how: ActivityHow) -> Response:
    """List the last hundred events, newest first."""
    call.require_admin()
    found = [
        entry
        for entry in call.backend.operations.activity()
        if (how.event is None or entry["event"] in how.event)
        and (how.run_id is None or entry.get("run_id") == how.run_id)
    ]
    return json_response(found[: how.limit])


@endpoint("GET", "/ops/stream", access=SOMEBODY, query=StreamHow, gives=EVENTS, refuses=(403,))
async def stream_operations(call: Call, how: StreamHow) -> Response:
    """Stream how things are, and then what changes; a WebSocket at the same path gets the same."""
    call.require_admin()
    live = call.backend.operations.live
    looker, before = live.look(how.topics or TOPICS)
    return EventStream(
        Reader(looker),
        call.backend.streams,
        leave=lambda _: live.leave(looker),
        before=as_events(before),
        known=call.known,
    )


async def status_document(call: Call) -> dict[str, Any]:
    """Return how the service is, with all figures."""
    backend = call.backend
    return {
        **backend.operations.identity,
        "components": components_document(await examine(backend.checks), details=True),
        "shutdown": shutdown_document(backend.shutdown) if backend.shutdown.begun else None,
        "lookers": backend.operations.live.lookers,
    }


class Reader:
    """A looker as a stream of events reads it. What is missing it says as it comes."""

    def __init__(self, looker: Looker) -> None:
        self._looker = looker
        self.overflowed = False

    @property
    def closed(self) -> bool:
        return self._looker.closed

    def take(self) -> list[StreamEvent]:
        news = self._looker.take()
        gap = [StreamEvent(0, "gap", b"null")] if self._looker.lost else []
        self._looker.lost = False
        return [*gap, *as_events(news)]

    async def wait(self) -> None:
        await self._looker.wait()

    def wake(self) -> None:
        self._looker.wake()

    def close(self) -> None:
        self._looker.close()


def as_events(news: list[News]) -> list[StreamEvent]:
    """Return news as events of a stream."""
    return [StreamEvent(0, one.topic, one.data) for one in news]
