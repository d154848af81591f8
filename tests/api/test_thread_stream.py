"""The stream of a thread: resumed after a break, cut to what is asked for."""

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager, closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from orchestration.loop.streams import StreamEvent
from orchestration.store import events as kept_events
from orchestration.store.events import EventStore
from tests.api import plays
from tests.api.client import (
    NOBODY,
    PROBLEM,
    Part,
    new_run,
    new_thread,
    open_socket,
    parts,
    parts_of,
)
from tests.api.test_thread_log import events
from tests.api.test_ttl import expire

PATIENCE = 30.0  # seconds
SHOWN = {"stream_mode": ["updates"], "stream_resumable": True}


@asynccontextmanager
async def thread_stream(
    client: httpx.AsyncClient, thread_id: str, last: str | None = None, **params: Any
) -> AsyncGenerator[AsyncIterator[Part]]:
    headers = {} if last is None else {"last-event-id": last}
    path = f"/threads/{thread_id}/stream"
    async with client.stream("GET", path, headers=headers, params=params) as response:
        assert response.status_code == 200
        yield parts(response)


async def take(stream: AsyncIterator[Part], number: int) -> list[Part]:
    return [await anext(stream) for _ in range(number)]


async def ran(client: httpx.AsyncClient, thread_id: str, text: str, **more: Any) -> str:
    path = await new_run(client, thread_id, "echo", text, **{**SHOWN, **more})
    await client.get(f"{path}/join")
    return path.rpartition("/")[2]


async def test_a_thread_s_stream_goes_on_after_the_last_event_that_was_seen(tmp_path: Path) -> None:
    async with open_socket(tmp_path, "echo") as (_, client):
        thread_id = await new_thread(client)
        first = await ran(client, thread_id, "one")
        await ran(client, thread_id, "unkept", stream_resumable=False)
        second = await ran(client, thread_id, "two")
        async with thread_stream(client, thread_id, "-1") as stream:
            whole = await take(stream, 8)
            third = await ran(client, thread_id, "three")
            live = await take(stream, 4)
        async with thread_stream(client, thread_id, whole[1].id) as stream:
            rest = await take(stream, 10)
    ids = [f"{run}:{number}" for run in (first, second, third) for number in (1, 2, 3, 0)]
    expected = [None if name.endswith(":0") else name for name in ids]
    assert [part.id for part in whole + live] == expected
    assert [part.data.get("status") for part in (whole[3], whole[7], live[3])] == ["run_done"] * 3
    assert rest == (whole + live)[2:]


async def test_a_thread_s_stream_goes_on_in_the_order_in_which_runs_worked(tmp_path: Path) -> None:
    async with open_socket(tmp_path, "echo") as (_, client):
        thread_id = await new_thread(client)
        async with thread_stream(client, thread_id) as stream:
            delayed = await new_run(client, thread_id, "echo", "later", after_seconds=2, **SHOWN)
            now = await ran(client, thread_id, "now")
            await client.get(f"{delayed}/join")
            last = await ran(client, thread_id, "last")
            live = await take(stream, 12)
        again = []
        for number, seen in enumerate(live, 1):
            if seen.id is not None:
                async with thread_stream(client, thread_id, seen.id) as stream:
                    again.append((await take(stream, 12 - number)) == live[number:])
    runs = [part.id.partition(":")[0] for part in live if part.id]
    assert list(dict.fromkeys(runs)) == [now, delayed.rpartition("/")[2], last]
    assert again == [True] * 9


async def test_a_run_that_was_ended_before_it_began_is_told_to_who_missed_it(
    tmp_path: Path,
) -> None:
    gate = plays.gates["ahead of one that never begins"]
    async with open_socket(tmp_path, "holder") as (_, client):
        thread_id = await new_thread(client)
        path = await new_run(client, thread_id, "holder", "ahead of one that never begins", **SHOWN)
        await gate.reached.wait()
        never = await new_run(client, thread_id, "holder", **SHOWN)
        await client.post(f"{never}/cancel?wait=true")
        gate.opened.set()
        await client.get(f"{path}/join")
        told = {}
        worked, ended = (one.rpartition("/")[2] for one in (path, never))
        for seen in (f"{worked}:4", f"{ended}:1"):
            async with thread_stream(client, thread_id, seen) as stream:
                told[seen] = [(await anext(stream)).id for _ in range(4)]
    assert told == {
        f"{worked}:4": [f"{ended}:1", None, f"{worked}:5", None],
        f"{ended}:1": [None, *(f"{worked}:{number}" for number in (1, 2, 3))],
    }


@pytest.mark.parametrize("modes", [["run_modes"], ["lifecycle"]])
async def test_a_thread_s_stream_goes_on_after_a_run_that_is_gone(
    tmp_path: Path, modes: list[str]
) -> None:
    async with open_socket(tmp_path, "echo") as (_, client):
        thread_id = await new_thread(client)
        await ran(client, thread_id, "one")
        async with thread_stream(client, thread_id) as stream:
            undone = await ran(client, thread_id, "two")
            seen = await anext(stream)
        await client.delete(f"/threads/{thread_id}/runs/{undone}")
        third = await ran(client, thread_id, "three")
        async with thread_stream(client, thread_id, seen.id, stream_mode=modes) as stream:
            gap, metadata = await take(stream, 2)
    assert seen.id == f"{undone}:1"
    assert (gap.event, gap.id, "is gone" in gap.data["message"]) == ("gap", None, True)
    assert metadata.id == f"{third}:1"


async def test_who_asks_for_more_of_a_run_that_was_forgotten_is_told_of_a_gap(
    tmp_path: Path,
) -> None:
    async with open_socket(tmp_path, "echo") as (_, client):
        thread_id = await new_thread(client)
        first = await ran(client, thread_id, "one")
        second = await ran(client, thread_id, "two")
    with closing(sqlite3.connect(tmp_path / "data/masterloop.db")) as database, database:
        database.execute("UPDATE runs SET updated_at = '2025-01-01' WHERE run_id = ?", (first,))
    manifest = {"masterloop": {"events_ttl": 10_080}}
    path, last = f"/threads/{thread_id}/runs/{first}/stream", {"last-event-id": "1"}
    async with open_socket(tmp_path, "echo", manifest=manifest) as (_, client):
        while "updates" in (told := (await client.get(path, headers=last)).text):  # noqa: ASYNC110
            await asyncio.sleep(0)
        async with thread_stream(client, thread_id, f"{first}:1") as stream:
            gap, *rest = await take(stream, 5)
    assert [part.event for part in parts_of(told)] == ["gap", "end"]
    assert (gap.event, gap.id, "is gone" in gap.data["message"]) == ("gap", None, True)
    assert [part.id for part in rest] == [*(f"{second}:{number}" for number in (1, 2, 3)), None]


async def test_what_happens_while_the_missed_is_read_comes_once(tmp_path: Path) -> None:
    async with open_socket(tmp_path, "holder") as (_, client):
        thread_id = await new_thread(client)
        path = await new_run(client, thread_id, "holder", "once", **SHOWN)
        await plays.gates["once"].reached.wait()
        async with thread_stream(client, thread_id, "0") as stream:
            begun = await take(stream, 2)
            plays.gates["once"].opened.set()
            ended = await take(stream, 4)
    run_id = path.rpartition("/")[2]
    assert [part.id for part in begun + ended] == [
        *(f"{run_id}:{number}" for number in range(1, 6)), None,
    ]  # fmt: skip


@pytest.mark.parametrize("first", ["the end", "the reading"])
@pytest.mark.parametrize("page", [1, 2, 1_000])
async def test_a_run_that_ends_while_the_missed_is_read_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str, page: int
) -> None:
    monkeypatch.setattr(kept_events, "PAGE", page)
    async with open_socket(tmp_path, "holder") as (service, client):
        thread_id = await new_thread(client)
        gate = plays.gates[f"{first}, {page}"]
        await new_run(client, thread_id, "holder", f"{first}, {page}", **SHOWN)
        await gate.reached.wait()
        [run] = service.loop.on_thread(thread_id)
        read = EventStore.after

        async def meanwhile(*asked: Any) -> list[StreamEvent]:
            found = await read(*asked)
            gate.opened.set()
            assert run.done is not None
            await run.done
            return found if first == "the reading" else await read(*asked)

        monkeypatch.setattr(EventStore, "after", meanwhile)
        async with thread_stream(client, thread_id, "-1") as stream:
            whole = await take(stream, 6)
            await client.delete(f"/threads/{thread_id}")
            whole += [part async for part in stream]
    ids = [f"{run.run_id}:{number}" for number in range(1, 6)]
    assert [part.id for part in whole] == [*ids, None, None]
    assert [part.event for part in whole][-3:] == ["end", "metadata", "shutdown"]


@pytest.mark.parametrize("last", ["1", "x", f"{NOBODY}:1", "", "-2"])
async def test_an_id_that_is_none_of_the_thread_s_is_refused(tmp_path: Path, last: str) -> None:
    async with open_socket(tmp_path, "echo") as (_, client):
        thread_id = await new_thread(client)
        refused = await client.get(f"/threads/{thread_id}/stream", headers={"last-event-id": last})
    assert (refused.status_code, refused.headers["content-type"]) == (400, PROBLEM)


@pytest.mark.parametrize(
    ("modes", "seen"),
    [
        (["run_modes"], ["metadata", "updates", "end", "metadata"]),
        (["lifecycle"], ["metadata", "metadata"]),
        (["state_update"], ["state_update"]),
        (["lifecycle", "state_update"], ["metadata", "metadata", "state_update"]),
        (["run_modes", "state_update"], ["metadata", "updates", "end", "metadata", "state_update"]),
    ],
)
async def test_a_thread_s_stream_shows_what_is_asked_for(
    tmp_path: Path, modes: list[str], seen: list[str]
) -> None:
    async with open_socket(tmp_path, "echo", drain_grace=0.01) as (service, client):
        thread_id = await new_thread(client)
        async with thread_stream(client, thread_id, stream_mode=modes) as stream:
            await ran(client, thread_id, "one", stream_resumable=False)
            update = {"values": {"text": "two"}, "as_node": "echo"}
            updated = await client.post(f"/threads/{thread_id}/state", json=update)
            await service.loop.drain()
            shown = [part async for part in stream]
    assert [part.event for part in shown] == [*seen, "shutdown"]
    if "state_update" in modes:
        assert shown[-2].data == {
            "thread_id": thread_id,
            "checkpoint": updated.json()["checkpoint"],
            "values": {"text": "two", "log": ["one"]},
        }


async def test_a_mode_that_there_is_not_is_refused(tmp_path: Path) -> None:
    async with open_socket(tmp_path, "echo") as (_, client):
        path = f"/threads/{await new_thread(client)}/stream"
        refused = await client.get(path, params={"stream_mode": "values"})
    assert refused.status_code == 422


@pytest.mark.parametrize("how", ["deleted", "expired"])
async def test_a_stream_ends_with_its_thread_whoever_has_the_id_next(
    tmp_path: Path, how: str
) -> None:
    async with open_socket(tmp_path, "echo") as (_, client):
        thread_id = await new_thread(client, ttl=30)
        async with (
            thread_stream(client, thread_id) as stream,
            aclosing(events(client, thread_id, ["values"])) as followed,
        ):
            first = asyncio.ensure_future(anext(followed))
            while not first.done():
                await ran(client, thread_id, "begun")
            if how == "deleted":
                await client.delete(f"/threads/{thread_id}")
            else:
                expire(tmp_path, thread_id)
                await new_thread(client, ttl=1)  # which has the sweeper look
                while (await client.get(f"/threads/{thread_id}")).status_code != 404:  # noqa: ASYNC110
                    await asyncio.sleep(0)
            await new_thread(client, thread_id=thread_id)
            await ran(client, thread_id, "another's")
            async with asyncio.timeout(PATIENCE):
                seen = [part async for part in stream] + [part async for part in followed]
    assert seen[-1].event == "shutdown"
    assert "another's" not in str(seen)
