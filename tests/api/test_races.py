"""Requests that meet a run halfway: each has its turn, and none loses what another did."""

import asyncio
import sqlite3
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from langgraph.graph import END, START, StateGraph

from orchestration.loop.run import Place
from orchestration.service import Service
from orchestration.store.runs import RunStore
from tests.api import plays
from tests.api.client import (
    PROBLEM,
    client_of,
    new_run,
    new_thread,
    open_client,
    open_play,
    parts_of,
)

HERE = "tests.api.test_races"


async def _echo(state: plays.State) -> plays.State:
    return {"log": [state.get("text")]}


async def _exit(_: plays.State) -> plays.State:
    sys.exit(3)


async def _choose(state: plays.State) -> str:
    """Wait at the gate that the input names, and choose the end; updates of the state wait too."""
    gate = plays.gates[str(state.get("text"))]
    gate.reached.set()
    await gate.opened.wait()
    return END


def _graph(name: str, node: Any) -> Any:
    builder: Any = StateGraph(plays.State)
    builder.add_node(name, node)
    builder.add_edge(START, name)
    return builder


choosing = _graph("echo", _echo)
choosing.add_conditional_edges("echo", _choose, [END])
leaving = _graph("exit", _exit)


@asynccontextmanager
async def open_both(
    folder: Path, *graphs: str, **settings: Any
) -> AsyncGenerator[tuple[Service, httpx.AsyncClient]]:
    async with open_play(folder, *graphs, **settings) as service, client_of(service.app) as client:
        yield service, client


async def on_its_way(service: Service, thread_id: str) -> None:
    """Return when a run of the thread is known, and not yet durable."""
    while not service.loop.on_thread(thread_id):  # noqa: ASYNC110 - a turn, not a wait
        await asyncio.sleep(0)


def place_of(service: Service, path: str) -> Place:
    run = service.loop.live(path.rsplit("/", 1)[1])
    return Place.GONE if run is None else run.place


def ask(folder: Path, sql: str) -> list[tuple[Any, ...]]:
    """Return the answer of the database that a service has left."""
    with closing(sqlite3.connect(folder / "data" / "masterloop.db")) as connection, connection:
        return connection.execute(sql).fetchall()


async def test_a_thread_is_not_changed_while_a_run_of_it_is_on_its_way_or_works(
    tmp_path: Path,
) -> None:
    async with open_both(tmp_path, "holder", max_concurrent_runs=1) as (service, client):
        busy, waits = [await new_thread(client, metadata={"graph_id": "holder"}) for _ in range(2)]
        change = {"values": {"log": ["by hand"]}}

        starting = asyncio.create_task(new_run(client, busy, "holder", "on its way"))
        await on_its_way(service, busy)
        refused = [await client.post(f"/threads/{busy}/state", json=change)]
        runs = [await starting]
        await plays.gates["on its way"].reached.wait()
        refused.append(await client.post(f"/threads/{busy}/state", json=change))
        runs.append(await new_run(client, waits, "holder", "on its way"))
        place = place_of(service, runs[1])
        refused.append(await client.post(f"/threads/{waits}/state", json=change))
        plays.gates["on its way"].opened.set()
        logs = [(await client.get(f"{run}/join")).json()["log"] for run in runs]
        states = [(await client.get(f"/threads/{one}/state")).json() for one in (busy, waits)]
    assert [answer.status_code for answer in refused] == [409, 409, 409]
    assert place is Place.READY
    assert (
        logs
        == [state["values"]["log"] for state in states]
        == [["on its way", "held", "on its way"]] * 2
    )


async def test_a_run_waits_for_a_change_of_its_thread_and_works_on_what_came_of_it(
    tmp_path: Path,
) -> None:
    manifest = {"graphs": {"choosing": f"{HERE}:choosing"}}
    gate = plays.gates["change"]
    async with open_both(tmp_path, manifest=manifest) as (service, client):
        thread_id = await new_thread(client, metadata={"graph_id": "choosing"})
        change = {"values": {"text": "change", "log": ["by hand"]}, "as_node": "echo"}
        changing = asyncio.create_task(client.post(f"/threads/{thread_id}/state", json=change))
        await gate.reached.wait()
        run = await new_run(client, thread_id, "choosing", "change")
        again = await client.post(f"/threads/{thread_id}/state", json=change)
        place = place_of(service, run)
        gate.opened.set()
        changed = await changing
        log = (await client.get(f"{run}/join")).json()["log"]
        thread = (await client.get(f"/threads/{thread_id}")).json()
    assert (place, again.status_code, changed.status_code) == (Place.LINE, 409, 200)
    assert log == thread["values"]["log"] == ["by hand", "change"]


async def test_a_run_that_is_being_cancelled_can_be_deleted(tmp_path: Path) -> None:
    async with open_client(tmp_path, "stubborn", cancel_grace=0.1) as client:
        thread_id = await new_thread(client)
        run = await new_run(client, thread_id, "stubborn", "deleted while cancelled")
        await plays.gates["deleted while cancelled"].reached.wait()
        cancelled = await client.post(f"{run}/cancel")
        deleted = await client.delete(run)
        found = await client.get(run)
        thread = (await client.get(f"/threads/{thread_id}")).json()
        state = (await client.get(f"/threads/{thread_id}/state")).json()
        plays.gates["deleted while cancelled"].opened.set()
    assert (cancelled.status_code, deleted.status_code, found.status_code) == (202, 204, 404)
    assert (thread["status"], thread["values"] or {}, state["values"]) == ("idle", {}, {})


@pytest.mark.parametrize("delay", [0, 3_600])
async def test_a_run_that_comes_while_its_thread_is_deleted_is_never_executed(
    tmp_path: Path, delay: int
) -> None:
    gate = f"in the way of one in {delay} s"
    async with open_both(tmp_path, "stubborn", "holder") as (service, client):
        thread_id = await new_thread(client)
        await new_run(client, thread_id, "stubborn", gate)
        await plays.gates[gate].reached.wait()
        (working,) = service.loop.on_thread(thread_id)
        deleting = asyncio.create_task(client.delete(f"/threads/{thread_id}"))
        while working.ending is None:  # noqa: ASYNC110 - a turn, not a wait
            await asyncio.sleep(0)
        late = await new_run(client, thread_id, "holder", "too late", after_seconds=delay)
        plays.gates[gate].opened.set()
        deleted = await deleting
        found = await client.get(late)
        left = service.loop.on_thread(thread_id)
        with closing(sqlite3.connect(tmp_path / "data" / "masterloop.db")) as database:
            kept = database.execute("SELECT * FROM checkpoints").fetchall()
    assert (deleted.status_code, found.status_code) == (204, 404)
    assert not plays.gates["too late"].reached.is_set()
    assert (left, kept) == ((), [])


async def test_a_run_whose_start_is_undone_before_it_begins_fails_and_changes_nothing(
    tmp_path: Path,
) -> None:
    async with open_client(tmp_path, "echo", "holder") as client:
        thread_id = await new_thread(client)
        await client.get(await new_run(client, thread_id, "echo", "before") + "/join")
        await new_run(client, thread_id, "holder", "undone start")
        await plays.gates["undone start"].reached.wait()
        working = (await client.get(f"/threads/{thread_id}/state")).json()["checkpoint_id"]
        how = {"multitask_strategy": "rollback", "checkpoint_id": working}
        told = (
            await client.get(await new_run(client, thread_id, "echo", "x", **how) + "/join")
        ).json()
        state = (await client.get(f"/threads/{thread_id}/state")).json()
    assert told["__error__"]["error"] == "StartGone"
    assert f"checkpoint {working}, at which" in told["__error__"]["message"]
    assert state["values"] == {"text": "before", "log": ["before"]}


async def test_a_thread_is_not_pruned_of_what_may_be_its_latest_again(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo", "holder") as client:
        thread_id = await new_thread(client)
        await client.get(await new_run(client, thread_id, "echo", "before") + "/join")
        run = await new_run(client, thread_id, "holder", "pruned")
        await plays.gates["pruned"].reached.wait()
        body = {"thread_ids": [thread_id], "strategy": "keep_latest"}
        pruned = (await client.post("/threads/prune", json=body)).json()
        await client.post(f"{run}/cancel?wait=true&action=rollback")
        state = (await client.get(f"/threads/{thread_id}/state")).json()
    assert pruned == {"pruned_count": 0}
    assert state["values"] == {"text": "before", "log": ["before"]}


async def test_a_thread_that_is_being_updated_is_not_deleted(tmp_path: Path) -> None:
    async with open_both(tmp_path, "echo") as (service, client):
        thread_id = await new_thread(client)
        with service.loop.hold(thread_id):
            busy = await client.delete(f"/threads/{thread_id}")
        deleted = await client.delete(f"/threads/{thread_id}")
    assert (busy.status_code, deleted.status_code) == (409, 204)


async def test_those_who_update_the_state_of_a_thread_at_once_wait_for_one_another(
    tmp_path: Path,
) -> None:
    async with open_client(tmp_path, "echo") as client:
        thread_id = await new_thread(client, metadata={"graph_id": "echo"})
        bodies = [{"values": {"log": [number]}, "as_node": "echo"} for number in range(8)]
        updates = [client.post(f"/threads/{thread_id}/state", json=body) for body in bodies]
        answers = await asyncio.gather(*updates)
        state = (await client.get(f"/threads/{thread_id}/state")).json()
    assert [answer.status_code for answer in answers] == [200] * 8
    assert sorted(state["values"]["log"]) == [*range(8)]


async def test_of_those_who_delete_a_thread_at_once_one_does_and_the_others_find_none(
    tmp_path: Path,
) -> None:
    async with open_client(tmp_path, "echo") as client:
        thread_id = await new_thread(client, metadata={"graph_id": "echo"})
        body = {"values": {"log": [1]}, "as_node": "echo"}
        updating = asyncio.create_task(client.post(f"/threads/{thread_id}/state", json=body))
        deletions = [client.delete(f"/threads/{thread_id}") for _ in range(4)]
        answers = [answer.status_code for answer in await asyncio.gather(*deletions)]
        updated = await updating
    assert sorted(answers) == [204, 404, 404, 404]
    assert updated.status_code in {200, 404}


async def test_nothing_is_still_being_deleted_when_a_prune_answers_that_a_thread_is_not(
    tmp_path: Path,
) -> None:
    async with open_both(tmp_path, "holder") as (service, client):
        updated, works = [await new_thread(client) for _ in range(2)]
        await new_run(client, works, "holder", "beside one that is not deleted")
        await plays.gates["beside one that is not deleted"].reached.wait()
        with service.loop.hold(updated):
            body = {"thread_ids": [updated, works]}
            refused = await client.post("/threads/prune", json=body)
            left = [await client.get(f"/threads/{one}") for one in (updated, works)]
    assert refused.status_code == 409
    assert [answer.status_code for answer in left] == [200, 404]


async def test_who_undoes_a_run_that_is_about_to_end_hears_that_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ending, asked, finish = asyncio.Event(), asyncio.Event(), RunStore.finish

    async def late(*given: Any) -> bool:
        ending.set()
        await asked.wait()
        return await finish(*given)

    async with open_both(tmp_path, "holder") as (service, client):
        cancel = service.loop.cancel

        def heard(*given: Any) -> None:
            cancel(*given)
            asked.set()

        thread_id = await new_thread(client)
        path = await new_run(client, thread_id, "holder", "too late to undo")
        await plays.gates["too late to undo"].reached.wait()
        monkeypatch.setattr(RunStore, "finish", late)
        monkeypatch.setattr(service.loop, "cancel", heard)
        plays.gates["too late to undo"].opened.set()
        await ending.wait()
        how = {"action": "rollback", "wait": "true"}
        undone = await client.post(f"{path}/cancel", params=how)
        found = (await client.get(path)).json()
    assert found["status"] == "success"
    assert (undone.status_code, undone.headers["content-type"]) == (404, PROBLEM)
    assert undone.json()["detail"].endswith("has ended: success")


async def test_no_event_is_kept_of_a_run_that_was_undone(tmp_path: Path) -> None:
    async with open_client(tmp_path, "holder") as client:
        thread_id = await new_thread(client)
        run = await new_run(client, thread_id, "holder", "undone in time", stream_resumable=True)
        await plays.gates["undone in time"].reached.wait()
        headers = {"last-event-id": "-1"}
        joining = asyncio.create_task(client.get(f"{run}/stream", headers=headers))
        how = {"action": "rollback", "wait": "true"}
        cancelled = await client.post(f"{run}/cancel", params=how)
        joined = parts_of((await joining).text)
    assert cancelled.status_code == 204
    assert [part.event for part in joined] == ["metadata", "values", "values", "end"]
    assert ask(tmp_path, "SELECT * FROM run_events") == []


async def test_no_number_of_an_event_is_given_out_again_after_a_restart(tmp_path: Path) -> None:
    async with open_both(tmp_path, "holder") as (_, client):
        thread_id = await new_thread(client)
        run = await new_run(client, thread_id, "holder", "before and after", stream_resumable=True)
        await plays.gates["before and after"].reached.wait()
    ((sent,),) = ask(tmp_path, "SELECT max(number) FROM run_events")
    lose = "DELETE FROM run_events WHERE number = (SELECT max(number) FROM run_events)"
    ask(tmp_path, lose)  # as in a power cut

    del plays.gates["before and after"]
    async with open_both(tmp_path, "holder") as (_, client):
        await plays.gates["before and after"].reached.wait()
        joining = asyncio.create_task(
            client.get(f"{run}/stream", headers={"last-event-id": str(sent)})
        )
        plays.gates["before and after"].opened.set()
        rest = parts_of((await joining).text)
    assert (rest[0].event, rest[-1].event) == ("metadata", "end")
    assert all(int(part.id or 0) > sent for part in rest)
    logs = [part.data["log"] for part in rest if part.event == "values"]
    assert logs[-1] == ["before and after", "held", "before and after"]


async def test_a_stream_that_is_joined_late_has_all_that_was_kept(tmp_path: Path) -> None:
    async with open_client(tmp_path, "telling") as client:
        thread_id = await new_thread(client)
        run = await new_run(
            client, thread_id, "telling", 12_000, stream_mode="custom", stream_resumable=True
        )
        joined = await client.get(f"{run}/stream", headers={"last-event-id": "-1"})
    numbers = [int(part.id or 0) for part in parts_of(joined.text)]
    assert numbers == list(range(1, 12_003))  # metadata before, end after


async def test_a_node_that_asks_for_the_end_of_the_process_ends_its_run_alone(
    tmp_path: Path,
) -> None:
    graphs = {"leaving": f"{HERE}:leaving", "echo": "tests.api.plays:echo"}
    async with open_client(tmp_path, manifest={"graphs": graphs}) as client:
        body = {"assistant_id": "leaving", "input": {}}
        left = (await client.post("/runs/wait", json=body)).json()
        body = {"assistant_id": "echo", "input": {"text": "alive"}}
        alive = (await client.post("/runs/wait", json=body)).json()
    assert left["__error__"]["error"] == "NodeExit"
    assert alive["log"] == ["alive"]


@pytest.mark.parametrize("working", [True, False])
async def test_a_stop_charges_no_run_with_an_attempt(tmp_path: Path, working: bool) -> None:
    gate = plays.gates[f"uncharged {working}"]
    async with open_both(tmp_path, "holder") as (service, client):
        thread_id = await new_thread(client)
        body = {"assistant_id": "holder", "input": {"text": f"uncharged {working}"}}
        submitting = asyncio.create_task(client.post(f"/threads/{thread_id}/runs", json=body))
        await on_its_way(service, thread_id)
        (run,) = service.loop.on_thread(thread_id)
        if working:
            await gate.reached.wait()
        await service.loop.aclose()
        await asyncio.wait({submitting})
    rows = ask(tmp_path, "SELECT run_id, status, attempt, crashes FROM runs")
    assert rows == [(run.run_id, "pending", 0, 0)]


async def test_a_thread_that_another_makes_meanwhile_is_not_run_on(tmp_path: Path) -> None:
    manifest = {"auth": {"path": "tests.api.guards:owners"}}
    thread, run = {"thread_id": str(uuid4())}, {"assistant_id": "echo", "input": {"text": "hers"}}
    path = f"/threads/{thread['thread_id']}"
    async with (
        open_play(tmp_path, "echo", manifest=manifest) as service,
        client_of(service.app) as client,
        asyncio.TaskGroup() as group,
    ):

        def send(who: str, where: str, body: dict[str, Any]) -> asyncio.Task[httpx.Response]:
            headers = {"authorization": f"Bearer {who}"}
            return group.create_task(client.post(where, json=body, headers=headers))

        with closing(sqlite3.connect(tmp_path / "data/masterloop.db")) as database:
            database.execute("BEGIN IMMEDIATE")  # nothing is written until this ends
            made = send("bob", "/threads", thread)
            ran = send("alice", f"{path}/runs/wait", {**run, "if_not_exists": "create"})
            while not service.loop.on_thread(thread["thread_id"]):  # noqa: ASYNC110
                await asyncio.sleep(0)
            database.rollback()
        assert [(await each).status_code for each in (made, ran)] == [200, 404]
        kept = await client.get(path, headers={"authorization": "Bearer bob"})
    assert (kept.json()["metadata"], kept.json()["values"]) == ({"owner": "bob"}, None)
