"""Streams over HTTP: in order, to the end, joined later, resumed after a break."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp, Receive, Send

from tests.api import plays
from tests.api.client import (
    NOBODY,
    PROBLEM,
    client_of,
    new_run,
    new_thread,
    open_client,
    open_play,
    open_socket,
    parts,
    parts_of,
)

TELL: dict[str, Any] = {"assistant_id": "telling", "stream_mode": ["custom"]}


async def finished(client: httpx.AsyncClient, count: int, **body: Any) -> str:
    """Run a graph that tells ``count`` things to its end; return the run's path."""
    thread_id = await new_thread(client)
    given = {**TELL, "input": {"text": count}, **body}
    run = await client.post(f"/threads/{thread_id}/runs", json=given)
    path: str = run.headers["content-location"]
    await client.get(f"{path}/join")
    return path


async def test_a_stream_begins_with_metadata_keeps_the_order_and_ends_with_end(
    tmp_path: Path,
) -> None:
    async with open_client(tmp_path, "telling") as client:
        thread_id = await new_thread(client)
        body = {**TELL, "input": {"text": 300}}
        response = await client.post(f"/threads/{thread_id}/runs/stream", json=body)
    seen = parts_of(response.text)
    place = response.headers["content-location"]
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["location"] == f"{place}/stream"
    assert seen[0].event == "metadata"
    assert seen[0].data == {"run_id": place.rpartition("/")[2], "attempt": 1}
    assert [part.data["number"] for part in seen[1:-1]] == list(range(300))
    assert (seen[-1].event, seen[-1].data) == ("end", None)


@pytest.mark.parametrize("resumable", [True, False])
async def test_only_a_resumable_stream_has_ids(tmp_path: Path, resumable: bool) -> None:
    async with open_client(tmp_path, "telling") as client:
        body = {**TELL, "input": {"text": 2}, "stream_resumable": resumable}
        seen = parts_of((await client.post("/runs/stream", json=body)).text)
    assert [part.id for part in seen] == (["1", "2", "3", "4"] if resumable else [None] * 4)


async def test_nothing_that_a_graph_says_can_forge_a_field_of_the_stream(tmp_path: Path) -> None:
    async with open_client(tmp_path, "telling", "forging") as client:
        body = {**TELL, "input": {"text": 1}}
        told = parts_of((await client.post("/runs/stream", json=body)).text)
        body = {"assistant_id": "nesting", "stream_mode": ["updates"], "input": {"text": 1}}
        body = {**body, "assistant_id": "forging", "stream_subgraphs": True}
        forged = parts_of((await client.post("/runs/stream", json=body)).text)
    assert told[1].data["text"] == "line\nbreak\r\nevent: forged"
    for part in told + forged:
        assert [field.partition(":")[0] for field in part.fields] == ["event", "data"]


async def test_a_failure_is_an_event_before_the_end(tmp_path: Path) -> None:
    async with open_client(tmp_path, "failing", "broken") as client:
        for graph, error in (("failing", "ValueError"), ("broken", "LookupError")):
            body = {"assistant_id": graph, "input": {"text": "x"}}
            seen = parts_of((await client.post("/runs/stream", json=body)).text)
            assert [part.event for part in seen[-2:]] == ["error", "end"]
            assert seen[-2].data["error"] == error


@pytest.mark.parametrize(
    ("last", "ids"),
    [
        ("-1", ["1", "2", "3", "4", "5"]),
        ("0", ["1", "2", "3", "4", "5"]),
        ("3", ["4", "5"]),
        ("5", [None]),
        ("77", [None]),
        ("999999999999999", [None]),
    ],
)
@pytest.mark.parametrize("restart", [False, True])
async def test_a_resumable_run_that_has_ended_is_replayed_from_the_last_id(
    tmp_path: Path, last: str, ids: list[str | None], restart: bool
) -> None:
    headers = {"last-event-id": last}
    async with open_client(tmp_path, "telling") as client:
        path = await finished(client, 3, stream_resumable=True)
        replay = await client.get(f"{path}/stream", headers=headers)
    if restart:
        async with open_client(tmp_path, "telling") as client:
            replay = await client.get(f"{path}/stream", headers=headers)
    seen = parts_of(replay.text)
    assert [part.id for part in seen] == ids
    assert seen[-1].event == "end"


@pytest.mark.parametrize(
    "last", ["", "x", "-2", "1.5", "1_0", "9" * 20, "\u00b2", " 1", "1\tevent"]
)
async def test_an_id_that_cannot_be_ours_is_refused(tmp_path: Path, last: str) -> None:
    async with open_client(tmp_path, "telling") as client:
        path = await finished(client, 1, stream_resumable=True)
        headers = {b"last-event-id": last.encode("latin-1")}
        response = await client.get(f"{path}/stream", headers=headers)
    assert (response.status_code, response.headers["content-type"]) == (400, PROBLEM)


async def test_joining_a_run_that_has_ended_ends_at_once(tmp_path: Path) -> None:
    async with open_client(tmp_path, "telling") as client:
        path = await finished(client, 3)
        joined = await client.get(f"{path}/stream")
        missing = await client.get(f"/threads/{NOBODY}/runs/{NOBODY}/stream")
    assert [part.event for part in parts_of(joined.text)] == ["end"]
    assert missing.status_code == 404


async def test_a_joined_stream_shows_the_modes_asked_for(tmp_path: Path) -> None:
    async with open_client(tmp_path, "telling") as client:
        path = await finished(
            client,
            2,
            stream_resumable=True,
            stream_mode=["custom", "updates", "values", "messages"],
        )

        async def events(*modes: str) -> list[str]:
            joined = await client.get(
                f"{path}/stream", headers={"last-event-id": "-1"}, params={"stream_mode": modes}
            )
            return [part.event for part in parts_of(joined.text)]

        assert await events("custom") == ["metadata", "custom", "custom", "end"]
        assert await events("updates", "messages") == ["metadata", "updates", "end"]
        assert (await events("")).count("values") == 2
        refused = await client.get(f"{path}/stream", params={"stream_mode": ["custom", "valeus"]})
    assert (refused.status_code, refused.headers["content-type"]) == (422, PROBLEM)
    assert "stream_mode/1: Input should be 'values'" in refused.json()["detail"]


async def test_a_reader_that_comes_later_sees_what_comes_from_then_on(tmp_path: Path) -> None:
    async with open_socket(tmp_path, "holder") as (_, client):
        thread_id = await new_thread(client)
        path = await new_run(
            client, thread_id, "holder", "joined", stream_mode=["updates"], stream_resumable=True
        )
        await plays.gates["joined"].reached.wait()
        async with (
            client.stream("GET", f"{path}/stream") as late,
            client.stream("GET", f"{path}/stream", headers={"last-event-id": "1"}) as resumed,
        ):
            plays.gates["joined"].opened.set()
            seen = [(part.id, part.event) async for part in parts(late)]
            missed = [(part.id, part.event) async for part in parts(resumed)]
    assert seen == [("3", "updates"), ("4", "updates"), ("5", "end")]
    assert missed == [("2", "updates"), *seen]


async def test_a_quiet_stream_shows_signs_of_life(tmp_path: Path) -> None:
    async with open_socket(tmp_path, "holder", keep_alive=0.02) as (_, client):
        body = {"assistant_id": "holder", "input": {"text": "quiet"}, "stream_mode": ["custom"]}
        async with client.stream("POST", "/runs/stream", json=body) as response:
            stream = parts(response)
            seen = [await anext(stream), await anext(stream)]
            plays.gates["quiet"].opened.set()
            seen += [part async for part in stream]
    assert [seen[0].event, seen[1].comment, seen[-1].event] == ["metadata", "heartbeat", "end"]


async def test_a_quiet_wait_shows_signs_of_life_and_is_json_in_the_end(tmp_path: Path) -> None:
    async with open_socket(tmp_path, "holder", "failing", keep_alive=0.02) as (_, client):
        body = {"assistant_id": "holder", "input": {"text": "patience"}}
        async with client.stream("POST", "/runs/wait", json=body) as response:
            chunks = response.aiter_text()
            first = await anext(chunks)
            plays.gates["patience"].opened.set()
            rest = "".join([chunk async for chunk in chunks])
    assert first.strip() == ""
    assert httpx.Response(200, text=first + rest).json()["log"] == ["patience", "held", "patience"]


@pytest.mark.parametrize("kind", ["wait", "stream"])
@pytest.mark.parametrize("on_disconnect", ["cancel", "continue"])
async def test_who_goes_away_takes_the_run_along_only_if_asked_to(
    tmp_path: Path, kind: str, on_disconnect: str
) -> None:
    name = f"{kind} {on_disconnect}"
    async with open_socket(tmp_path, "holder", keep_alive=0.02) as (service, client):
        thread_id = await new_thread(client)
        body = {"assistant_id": "holder", "input": {"text": name}, "on_disconnect": on_disconnect}
        path = f"/threads/{thread_id}/runs/{kind}"
        async with client.stream("POST", path, json=body) as response:
            await plays.gates[name].reached.wait()
            run = service.loop.all_live()[0]
        if on_disconnect == "continue":
            plays.gates[name].opened.set()
        assert run.done is not None
        outcome = await run.done
        place = response.headers["content-location"]
        status = (await client.get(place)).json()["status"]
    assert outcome.status == status
    assert status == ("interrupted" if on_disconnect == "cancel" else "success")


async def test_a_joined_stream_can_take_the_run_along_too(tmp_path: Path) -> None:
    async with open_socket(tmp_path, "holder") as (service, client):
        path = await new_run(client, await new_thread(client), "holder", "taken along")
        await plays.gates["taken along"].reached.wait()
        run = service.loop.all_live()[0]
        query = {"cancel_on_disconnect": "true"}
        async with client.stream("GET", f"{path}/stream", params=query):
            pass
        assert run.done is not None
        assert (await run.done).status == "interrupted"


@pytest.mark.parametrize(("cancel", "status"), [("1", "interrupted"), ("0", "success")])
async def test_who_waits_for_a_run_can_take_it_along_too(
    tmp_path: Path, cancel: str, status: str
) -> None:
    async with open_socket(tmp_path, "holder", keep_alive=0.01) as (service, client):
        name = f"waited for {cancel}"
        path = await new_run(client, await new_thread(client), "holder", name)
        await plays.gates[name].reached.wait()
        run = service.loop.all_live()[0]
        query = {"cancel_on_disconnect": cancel}
        async with client.stream("GET", f"{path}/join", params=query) as waiting:
            assert waiting.status_code == 200
        if cancel == "0":
            plays.gates[name].opened.set()
        assert run.done is not None
        assert (await run.done).status == status


async def test_a_run_is_joined_by_its_id_alone(tmp_path: Path) -> None:
    async with open_client(tmp_path, "telling") as client:
        path = await finished(client, 3, stream_resumable=True)
        headers = {"last-event-id": "-1"}
        on_thread = await client.get(f"{path}/stream", headers=headers)
        alone = await client.get(f"/runs/{path.rpartition('/')[2]}/stream", headers=headers)
        missing = await client.get(f"/runs/{NOBODY}/stream")
    assert alone.text == on_thread.text
    assert (missing.status_code, missing.headers["content-type"]) == (404, PROBLEM)


async def test_a_replay_says_where_events_could_not_be_kept(tmp_path: Path) -> None:
    async with open_client(tmp_path, "telling") as client:
        path = await finished(client, 5, stream_resumable=True)
    lost = "DELETE FROM run_events WHERE number IN (3, 4) OR name = 'end'"
    with closing(sqlite3.connect(tmp_path / "data" / "masterloop.db")) as connection:
        assert connection.execute(lost).rowcount == 3
        connection.commit()
    async with open_client(tmp_path, "telling") as client:
        whole, rest = [
            await client.get(f"{path}/stream", headers={"last-event-id": last})
            for last in ("-1", "4")
        ]
    seen = [(part.id, part.event) for part in parts_of(whole.text)]
    assert seen == [
        ("1", "metadata"), ("2", "custom"), (None, "gap"), ("5", "custom"), ("6", "custom"),
        (None, "end"),
    ]  # fmt: skip
    assert [part.id for part in parts_of(rest.text)] == ["5", "6", None]


async def test_streams_hear_that_the_service_stops(tmp_path: Path) -> None:
    async with open_socket(tmp_path, "holder", drain_grace=0.01) as (service, client):
        thread_id = await new_thread(client)
        body = {"assistant_id": "holder", "input": {"text": "shutdown"}, "stream_mode": ["custom"]}
        async with (
            client.stream("GET", f"/threads/{thread_id}/stream") as thread,
            client.stream("POST", f"/threads/{thread_id}/runs/stream", json=body) as run,
        ):
            await plays.gates["shutdown"].reached.wait()
            await service.loop.drain()
            seen = [[part.event async for part in parts(one)] for one in (run, thread)]
    assert seen == [["metadata", "shutdown"], ["metadata", "shutdown"]]


async def test_a_resumable_run_goes_on_with_higher_numbers_after_a_restart(tmp_path: Path) -> None:
    async with (
        open_play(tmp_path, "holder", drain_grace=0.01) as service,
        client_of(service.app) as client,
    ):
        thread_id = await new_thread(client)
        more = {"stream_resumable": True, "stream_mode": ["updates"]}
        path = await new_run(client, thread_id, "holder", "numbers", **more)
        await plays.gates["numbers"].reached.wait()
        await service.loop.drain()
    plays.gates["numbers"].opened.set()
    async with open_client(tmp_path, "holder") as client:
        await client.get(f"{path}/join")
        replay = await client.get(f"{path}/stream", headers={"last-event-id": "-1"})
    seen = parts_of(replay.text)
    numbers = [int(part.id or 0) for part in seen]
    assert numbers == sorted(set(numbers))
    assert [part.event for part in seen] == [
        "metadata", "updates", "metadata", "updates", "updates", "end",
    ]  # fmt: skip


async def test_a_thread_s_stream_shows_run_after_run(tmp_path: Path) -> None:
    async with open_socket(tmp_path, "echo", drain_grace=0.01) as (service, client):
        thread_id = await new_thread(client)
        async with client.stream("GET", f"/threads/{thread_id}/stream") as response:
            for text in ("one", "two"):
                path = await new_run(client, thread_id, "echo", text, stream_mode=["updates"])
                await client.get(f"{path}/join")
            await service.loop.drain()
            seen = [part async for part in parts(response)]
    run = ["metadata", "updates", "end", "metadata"]
    assert [part.event for part in seen] == [*run, *run, "shutdown"]
    assert [part.data["echo"]["log"] for part in seen if part.event == "updates"] == [
        ["one"],
        ["two"],
    ]
    assert seen[3].data["status"] == "run_done"


async def test_a_thread_s_stream_that_was_left_is_forgotten(tmp_path: Path) -> None:
    async with open_play(tmp_path, "holder") as service, client_of(service.app) as client:
        thread_id = await new_thread(client)
        path = await new_run(client, thread_id, "holder", "left")
        await plays.gates["left"].reached.wait()
        run = service.loop.all_live()[0]
        begun, gone = asyncio.Event(), asyncio.Event()

        async def receive() -> dict[str, Any]:
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(_: Any) -> None:
            begun.set()

        stream = f"/threads/{thread_id}/stream"
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "GET",
            "path": stream,
            "raw_path": stream.encode(),
            "query_string": b"",
            "headers": [(b"host", b"x")],
        }
        reading = asyncio.create_task(_call(service.app, scope, receive, send))
        await begun.wait()
        wanted = run.stream.wanted
        gone.set()
        await reading
        assert (wanted, run.stream.wanted) == (True, False)
        plays.gates["left"].opened.set()
        assert (await client.get(f"{path}/join")).status_code == 200


async def _call(app: ASGIApp, scope: Any, receive: Receive, send: Send) -> None:
    await app(scope, receive, send)
