"""The events of a thread: followed from the start, late, again after a break, in part."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from orchestration.service import Service
from tests.api.client import (
    NOBODY,
    Part,
    client_of,
    new_run,
    new_thread,
    open_client,
    open_play,
    open_socket,
    parts,
)
from tests.api.plays import gates

ENDINGS = ("completed", "failed", "interrupted")
ALL = ["values", "updates", "messages", "tools", "lifecycle", "input", "checkpoints", "tasks"]


async def start(client: httpx.AsyncClient, thread: str, graph: str, given: Any, **more: Any) -> str:
    """Start a run as a client of the protocol does; return its id."""
    params = {"assistant_id": graph, "input": given, **more}
    command = {"id": 1, "method": "run.start", "params": params}
    response = await client.post(f"/threads/{thread}/commands", json=command)
    assert response.status_code == 200, response.text
    run_id: str = response.json()["result"]["run_id"]
    return run_id


async def events(
    client: httpx.AsyncClient, thread: str, channels: Sequence[str], **body: Any
) -> AsyncGenerator[Part]:
    """Yield the events of a thread, without an end."""
    asked = {"channels": [*channels], **body}
    async with client.stream("POST", f"/threads/{thread}/stream/events", json=asked) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        async for part in parts(response):
            if part.event:
                yield part


async def to_the_end(
    client: httpx.AsyncClient, thread: str, channels: Sequence[str] = ("lifecycle",), **body: Any
) -> list[Part]:
    """Return the events up to the one that says how a run ended."""
    got: list[Part] = []
    async with aclosing(events(client, thread, channels, **body)) as stream:
        async for part in stream:
            got.append(part)
            params = part.data["params"]
            ended = part.event == "lifecycle" and params["data"]["event"] in ENDINGS
            if ended and not params["namespace"]:
                break
    return got


def lives(got: Sequence[Part]) -> list[Any]:
    """Return what became of the graphs."""
    return [each.data["params"]["data"]["event"] for each in got if each.event == "lifecycle"]


async def quiet(service: Service, thread: str) -> None:
    """Wait until nobody reads the log of a thread."""
    log = service.loop.logs.find(thread)
    assert log is not None
    while log.read:  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(0)


async def test_a_run_is_followed_from_its_beginning_although_it_has_ended(tmp_path: Path) -> None:
    thread = str(uuid4())
    async with open_socket(tmp_path, "echo") as (service, client):
        run = service.loop.live(await start(client, thread, "echo", {"text": "x"}))
        if run is not None and run.done is not None:
            await run.done
        got = await to_the_end(client, thread)
    assert lives(got) == ["running", "completed"]


async def test_an_event_comes_in_its_envelope(tmp_path: Path) -> None:
    thread = str(uuid4())
    async with open_socket(tmp_path, "echo") as (_, client):
        await start(client, thread, "echo", {"text": "x"})
        got = await to_the_end(client, thread, ["lifecycle", "values"])
    assert [part.id for part in got] == [str(part.data["seq"]) for part in got]
    last = got[-2].data
    assert last["params"].pop("timestamp") > 10**12
    assert last == {
        "type": "event",
        "event_id": got[-2].id,
        "seq": int(got[-2].id or 0),
        "method": "values",
        "params": {"namespace": [], "data": {"text": "x", "log": ["x"]}},
    }


async def test_a_stream_stays_open_from_run_to_run(tmp_path: Path) -> None:
    thread = str(uuid4())
    async with (
        open_socket(tmp_path, "echo") as (_, client),
        aclosing(events(client, thread, ["lifecycle"])) as stream,
    ):
        await start(client, thread, "echo", {"text": "x"})
        first = [await anext(stream), await anext(stream)]
        await start(client, thread, "echo", {"text": "y"})
        second = [await anext(stream), await anext(stream)]
    assert lives(first) == lives(second) == ["running", "completed"]
    assert first[-1].data["seq"] < second[0].data["seq"]


async def test_after_a_break_nothing_is_lost_and_nothing_repeated(tmp_path: Path) -> None:
    thread, gate = str(uuid4()), gates["a broken stream"]
    async with open_socket(tmp_path, "holder") as (service, client):
        await start(client, thread, "holder", {"text": "a broken stream"})
        before: list[Part] = []
        async with aclosing(events(client, thread, ALL)) as stream:
            async for part in stream:
                before.append(part)
                if part.event == "values":
                    break
        await gate.reached.wait()
        gate.opened.set()
        run = service.loop.on_thread(thread)
        if run and run[0].done is not None:
            await run[0].done
        after = await to_the_end(client, thread, ALL, since=before[-1].data["seq"])
        whole = await to_the_end(client, thread, ALL, since=0)
    assert [part.id for part in before + after] == [part.id for part in whole]
    assert lives(whole) == ["running", "completed"]


async def test_a_last_event_id_does_what_since_does(tmp_path: Path) -> None:
    thread = str(uuid4())
    async with open_socket(tmp_path, "echo") as (_, client):
        await start(client, thread, "echo", {"text": "x"})
        first = (await to_the_end(client, thread))[0]
        client.headers["last-event-id"] = str(first.id)
        assert lives(await to_the_end(client, thread)) == ["completed"]


async def test_who_comes_late_is_told_of_the_latest_run_alone(tmp_path: Path) -> None:
    thread = str(uuid4())
    async with open_socket(tmp_path, "echo") as (_, client):
        await start(client, thread, "echo", {"text": "x"})
        first = await to_the_end(client, thread)
        await start(client, thread, "echo", {"text": "y"})
        second = await to_the_end(client, thread)
        again = await to_the_end(client, thread)
    assert first[-1].data["seq"] < second[0].data["seq"]
    assert [part.id for part in again] == [part.id for part in second]


async def test_a_watch_is_not_told_of_an_ending_that_was_seen(tmp_path: Path) -> None:
    """Else a client's second conversation on a thread would end with the first's last word."""
    thread = str(uuid4())
    async with open_socket(tmp_path, "echo") as (service, client):
        await start(client, thread, "echo", {"text": "x"})
        seen = await to_the_end(client, thread)
        await quiet(service, thread)
        async with aclosing(events(client, thread, ["lifecycle", "input"])) as stream:
            coming = asyncio.ensure_future(anext(stream))
            await start(client, thread, "echo", {"text": "y"})
            following = await coming
    assert following.data["seq"] > seen[-1].data["seq"]
    assert lives([following]) == ["running"]


async def test_a_question_is_told_although_the_log_is_gone(tmp_path: Path) -> None:
    thread = str(uuid4())
    async with open_socket(tmp_path, "asking") as (service, client):
        await start(client, thread, "asking", {"text": "x"})
        first = await to_the_end(client, thread, ["input", "lifecycle"])
        await quiet(service, thread)
        service.loop.logs.forget(thread)
        again = await to_the_end(client, thread, ["input", "lifecycle"])
    [asked, told] = [
        [part.data["params"]["data"] for part in got if part.event == "input.requested"]
        for got in (first, again)
    ]
    assert asked == told
    assert asked[0]["payload"] == {"question": "x"}
    assert again[0].data["seq"] > first[-1].data["seq"]


async def test_several_readers_get_the_same(tmp_path: Path) -> None:
    thread, gate = str(uuid4()), gates["several readers"]
    async with open_socket(tmp_path, "holder") as (_, client):
        await start(client, thread, "holder", {"text": "several readers"})
        reading = [asyncio.ensure_future(to_the_end(client, thread, ALL)) for _ in range(3)]
        await gate.reached.wait()
        gate.opened.set()
        first, *others = [[part.data for part in got] for got in await asyncio.gather(*reading)]
    assert all(other == first for other in others)


async def test_an_error_fails_the_run_with_its_message(tmp_path: Path) -> None:
    thread = str(uuid4())
    async with open_socket(tmp_path, "failing") as (_, client):
        await start(client, thread, "failing", {"text": "x"})
        got = await to_the_end(client, thread)
    assert got[-1].data["params"]["data"] == {
        "event": "failed",
        "graph_name": "failing",
        "error": "refused: x",
    }


async def test_an_error_of_a_subgraph_is_told_whatever_is_in_it(tmp_path: Path) -> None:
    thread = str(uuid4())
    async with open_socket(tmp_path, "failing_within") as (_, client):
        await start(client, thread, "failing_within", {"text": "x"})
        got = await to_the_end(client, thread)
    told = [part.data["params"]["data"] for part in got]
    assert [data["error"] for data in told if data["event"] == "failed"] == ["cannot parse ?"] * 2


async def test_a_cancelled_run_is_interrupted(tmp_path: Path) -> None:
    thread = str(uuid4())
    async with open_socket(tmp_path, "holder") as (_, client):
        run = await start(client, thread, "holder", {"text": "cancelled by its reader"})
        await gates["cancelled by its reader"].reached.wait()
        await client.post(f"/threads/{thread}/runs/{run}/cancel")
        assert lives(await to_the_end(client, thread)) == ["running", "interrupted"]


async def test_a_subgraph_has_a_namespace_and_a_life_of_its_own(tmp_path: Path) -> None:
    thread = str(uuid4())
    async with open_socket(tmp_path, "nesting") as (_, client):
        await start(client, thread, "nesting", {"text": "x"})
        got = await to_the_end(client, thread, ALL)
        inside = [part for part in got if part.data["params"]["namespace"]]
    assert inside[0].data["params"]["namespace"][0].startswith("inner:")
    assert lives(inside) == ["started", "completed"]


@pytest.mark.parametrize(
    ("filters", "depths"),
    [
        ({}, {0, 1}),
        ({"depth": 0}, {0}),
        ({"namespaces": [[]], "depth": 0}, {0}),
        ({"namespaces": [["inner"]]}, {1}),
        ({"namespaces": [["other"], []]}, {0, 1}),
    ],
)
async def test_a_reader_names_the_namespaces_it_wants(
    tmp_path: Path, filters: dict[str, Any], depths: set[int]
) -> None:
    thread = str(uuid4())
    async with open_socket(tmp_path, "nesting") as (_, client):
        await start(client, thread, "nesting", {"text": "x"})
        whole = await to_the_end(client, thread, ["values", "lifecycle"])
        wanted = [part.id for part in whole if len(part.data["params"]["namespace"]) in depths]
        async with aclosing(
            events(client, thread, ["values", "lifecycle"], since=0, **filters)
        ) as stream:
            assert [(await anext(stream)).id for _ in wanted] == wanted


async def test_a_run_made_in_the_old_way_is_told_to_those_who_follow_its_thread(
    tmp_path: Path,
) -> None:
    async with open_socket(tmp_path, "echo") as (service, client):
        thread = await new_thread(client)
        async with aclosing(events(client, thread, ["lifecycle", "values"])) as stream:
            following = asyncio.ensure_future(anext(stream))
            while service.loop.logs.find(thread) is None:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0)
            await new_run(client, thread, "echo", "x")
            got = [await following, *[await anext(stream) for _ in range(3)]]
    assert lives(got) == ["running", "completed"]


async def test_a_run_that_nobody_follows_writes_no_log(tmp_path: Path) -> None:
    async with open_play(tmp_path, "echo") as service, client_of(service.app) as client:
        thread = await new_thread(client)
        await client.post(f"/threads/{thread}/runs/wait", json={"assistant_id": "echo"})
        assert service.loop.logs.find(thread) is None


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "channels"),
        ({"channels": []}, "channels"),
        ({"channels": ["valuse"]}, "Did you mean values?"),
        ({"channels": ["values"], "since": -1}, "since"),
        ({"channels": ["values"], "depth": "deep"}, "depth"),
        ({"channels": ["values"], "namespaces": "all"}, "namespaces"),
    ],
)
async def test_a_stream_that_makes_no_sense_is_refused(
    tmp_path: Path, body: dict[str, Any], said: str
) -> None:
    async with open_client(tmp_path, "echo") as client:
        response = await client.post(f"/threads/{NOBODY}/stream/events", json=body)
    assert response.status_code == 400
    problem = response.json()
    assert (problem["type"], problem["id"]) == ("error", None)
    assert problem["error"] == "invalid_argument"
    assert said in problem["message"]


async def test_a_stream_that_is_refused_leaves_no_log(tmp_path: Path) -> None:
    async with open_play(tmp_path, "echo") as service, client_of(service.app) as client:
        path, body = f"/threads/{NOBODY}/stream/events", {"channels": ["values"]}
        refused = await client.post(path, json=body, headers={"last-event-id": "x"})
        assert refused.status_code == 400
        assert service.loop.logs.find(NOBODY) is None


async def test_a_deleted_thread_leaves_no_log(tmp_path: Path) -> None:
    thread = str(uuid4())
    async with open_socket(tmp_path, "echo") as (service, client):
        await start(client, thread, "echo", {"text": "x"})
        await to_the_end(client, thread)
        await client.delete(f"/threads/{thread}")
        assert service.loop.logs.find(thread) is None


async def test_a_run_goes_on_to_be_told_after_a_restart(tmp_path: Path) -> None:
    thread, gate = str(uuid4()), gates["told after a restart"]
    async with open_socket(tmp_path, "holder", drain_grace=0.01) as (service, client):
        await start(client, thread, "holder", {"text": "told after a restart"})
        await gate.reached.wait()
        async with aclosing(events(client, thread, ["lifecycle"])) as stream:
            before = await anext(stream)
            await service.loop.drain()
            assert [part async for part in stream if part.event == "lifecycle"] == []
    gate.opened.set()
    async with open_socket(tmp_path, "holder") as (_, client):
        after = await to_the_end(client, thread, since=before.data["seq"])
    assert lives(after) == ["running", "completed"]


async def test_a_run_that_stops_at_a_breakpoint_in_a_subgraph_is_interrupted(
    tmp_path: Path,
) -> None:
    thread = str(uuid4())
    async with open_socket(tmp_path, "stopping_within") as (_, client):
        await start(client, thread, "stopping_within", {"text": "x"})
        got = await to_the_end(client, thread)
    assert lives(got)[-1] == "interrupted"


async def test_a_run_that_is_cut_short_by_another_is_told_before_it(tmp_path: Path) -> None:
    thread = str(uuid4())
    async with open_socket(tmp_path, "holder", "echo") as (_, client):
        await start(client, thread, "holder", {"text": "cut short by another"})
        await gates["cut short by another"].reached.wait()
        async with aclosing(events(client, thread, ["lifecycle"])) as stream:
            first = await anext(stream)
            await start(client, thread, "echo", {"text": "x"}, multitaskStrategy="interrupt")
            got = [first, *[await anext(stream) for _ in range(3)]]
    assert lives(got) == ["running", "interrupted", "running", "completed"]
