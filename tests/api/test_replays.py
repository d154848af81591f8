"""What is missed of a stream comes a page at a time, whole, in order, and once."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestration.loop import streams
from orchestration.loop.streams import StreamEvent
from orchestration.store import events
from orchestration.store.events import EventStore
from tests.api.client import client_of, new_thread, open_play, open_socket, parts_of, serving
from tests.api.test_thread_stream import take, thread_stream


async def tell(client: httpx.AsyncClient, thread_id: str, count: int) -> str:
    """Run a graph that tells so many things, to its end; return the run's path."""
    body = {
        "assistant_id": "telling",
        "input": {"text": count},
        "stream_mode": ["custom"],
        "stream_resumable": True,
    }
    made = await client.post(f"/threads/{thread_id}/runs", json=body)
    path: str = made.headers["content-location"]
    await client.get(f"{path}/join")
    return path


def noting(app: ASGIApp, numbers: list[int]) -> ASGIApp:
    """Write down how many events are sent at once."""

    async def noted(scope: Scope, receive: Receive, send: Send) -> None:
        async def note(message: Message) -> None:
            numbers.append(message.get("body", b"").count(b"\n\n"))
            await send(message)

        await app(scope, receive, note)

    return noted


def ids_of(path: str, count: int) -> list[str | None]:
    """Return the ids that a thread's stream gives a run's events, and its end."""
    run_id = path.rpartition("/")[2]
    return [*(f"{run_id}:{number}" for number in range(1, count + 3)), None]


async def test_a_run_is_replayed_a_page_at_a_time(tmp_path: Path) -> None:
    numbers: list[int] = []
    async with open_play(tmp_path, "telling") as service, client_of(service.app) as client:
        path = await tell(client, await new_thread(client), 2_500)
        async with client_of(noting(service.app, numbers)) as noted:
            whole = await noted.get(f"{path}/stream", headers={"last-event-id": "-1"})
    assert [part.id for part in parts_of(whole.text)] == [str(n) for n in range(1, 2_503)]
    assert max(numbers) == 1_000


async def test_a_thread_is_replayed_a_page_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "PAGE", 10)
    numbers: list[int] = []
    async with (
        open_play(tmp_path, "telling") as service,
        serving(noting(service.app, numbers)) as (host, port),
        httpx.AsyncClient(base_url=f"http://{host}:{port}") as client,
    ):
        thread_id = await new_thread(client)
        paths = [await tell(client, thread_id, count) for count in (28, 40)]
        async with thread_stream(client, thread_id, "-1") as stream:
            seen = await take(stream, 31 + 43)
    assert [part.id for part in seen] == ids_of(paths[0], 28) + ids_of(paths[1], 40)
    assert max(numbers) == 10


async def test_a_replay_that_takes_longer_than_what_comes_can_wait_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "PAGE", 2)
    monkeypatch.setattr(streams, "LISTENER_LIMIT", 3)
    async with open_socket(tmp_path, "telling") as (_, client):
        thread_id = await new_thread(client)
        paths = [await tell(client, thread_id, 4)]
        read = EventStore.after

        async def meanwhile(*asked: Any) -> list[StreamEvent]:
            if len(paths) == 1:
                paths.append("")
                paths[1] = await tell(client, thread_id, 8)
            return await read(*asked)

        monkeypatch.setattr(EventStore, "after", meanwhile)
        async with thread_stream(client, thread_id, "-1") as stream:
            first = [part async for part in stream]
        async with thread_stream(client, thread_id, first[-2].id) as stream:
            rest = await take(stream, 8)
    assert [part.event for part in first[-2:]] == ["custom", "gap"]
    seen = [part.id for part in [*first[:-1], *rest]]
    assert seen == ids_of(paths[0], 4) + ids_of(paths[1], 8)
