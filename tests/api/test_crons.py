"""Crons over HTTP: made, read, changed, found, deleted; and that they run."""

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from langgraph_sdk import get_client

from tests.api.client import (
    NOBODY,
    PROBLEM,
    client_of,
    new_thread,
    open_client,
    open_play,
    open_socket,
)

YEARLY = "0 0 1 1 *"


async def new_cron(client: httpx.AsyncClient, thread: str | None = None, **body: Any) -> Any:
    path = "/runs/crons" if thread is None else f"/threads/{thread}/runs/crons"
    given = {"assistant_id": "echo", "schedule": YEARLY, **body}
    response = await client.post(path, json=given)
    assert response.status_code == 200, response.text
    return response.json()


@asynccontextmanager
async def open_sdk(folder: Path) -> AsyncGenerator[tuple[httpx.AsyncClient, Any]]:
    """Open a service, and LangGraph's client of its crons."""
    async with (
        open_socket(folder, "echo") as (_, client),
        get_client(url=str(client.base_url)) as sdk,
    ):
        yield client, sdk.crons


async def make_due(folder: Path, client: httpx.AsyncClient, cron: Any) -> None:
    """Let a cron have been due a second ago, and be looked at."""
    at = (datetime.now(UTC) - timedelta(seconds=1)).isoformat(timespec="seconds")
    with closing(sqlite3.connect(folder / "data/masterloop.db")) as database, database:
        row = (at, cron["cron_id"])
        database.execute("UPDATE crons SET next_run_date = ? WHERE cron_id = ?", row)
    await client.patch(f"/runs/crons/{cron['cron_id']}", json={"enabled": True})


async def until(look: Callable[[], Awaitable[Any]]) -> Any:
    """Look again and again, until there is something to see."""
    while True:
        if found := await look():
            return found
        await asyncio.sleep(0)


async def test_a_cron_is_shown_as_it_was_made(tmp_path: Path) -> None:
    end = datetime.now(UTC) + timedelta(days=800)
    async with open_sdk(tmp_path) as (client, crons):
        made: Any = await crons.create(
            "echo",
            schedule="30 5 * * *",
            timezone="America/New_York",
            end_time=end,
            input={"text": "x"},
            metadata={"k": 1},
            config={"tags": ["a"], "configurable": {"tone": "low"}},
            interrupt_before="*",
            interrupt_after=["echo"],
            webhook="https://example.com/hook",
            multitask_strategy="reject",
            on_run_completed="keep",
            stream_mode=["values", "updates"],
            stream_subgraphs=True,
            stream_resumable=True,
            durability="sync",
        )
        read = (await client.get(f"/runs/crons/{made['cron_id']}")).json()
    assert read == made
    due = datetime.fromisoformat(made["next_run_date"])
    assert due.minute == 30
    assert due.hour in (9, 10)
    assert datetime.fromisoformat(made["end_time"]) == end
    assert {key: made[key] for key in ("thread_id", "user_id", "enabled", "timezone")} == {
        "thread_id": None,
        "user_id": None,
        "enabled": True,
        "timezone": "America/New_York",
    }
    assert (made["metadata"], made["on_run_completed"]) == ({"k": 1}, "keep")
    assert made["payload"] == {
        "assistant_id": made["assistant_id"],
        "schedule": "30 5 * * *",
        "input": {"text": "x"},
        "config": {"tags": ["a"], "configurable": {"tone": "low"}},
        "interrupt_before": "*",
        "interrupt_after": ["echo"],
        "webhook": "https://example.com/hook",
        "multitask_strategy": "reject",
        "stream_mode": ["values", "updates"],
        "stream_subgraphs": True,
        "stream_resumable": True,
        "durability": "sync",
    }


async def test_a_cron_of_a_thread_runs_on_it_with_its_id(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo") as client:
        thread = await new_thread(client)
        cron = await new_cron(client, thread, input={"text": "x"}, metadata={"k": 1})
        await make_due(tmp_path, client, cron)

        async def runs_of_thread() -> Any:
            return (await client.get(f"/threads/{thread}/runs")).json()

        runs = await until(runs_of_thread)
        await client.get(f"/threads/{thread}/runs/{runs[0]['run_id']}/join")
        state = (await client.get(f"/threads/{thread}/state")).json()
        after = (await client.get(f"/runs/crons/{cron['cron_id']}")).json()
    assert state["values"]["log"] == ["x"]
    assert runs[0]["metadata"]["cron_id"] == cron["cron_id"]
    assert runs[0]["metadata"]["k"] == 1
    assert cron["on_run_completed"] is None
    assert after["next_run_date"] == cron["next_run_date"]


@pytest.mark.parametrize(("completed", "left"), [(None, 0), ("delete", 0), ("keep", 1)])
async def test_a_stateless_cron_keeps_its_thread_only_if_asked_to(
    tmp_path: Path, completed: str | None, left: int
) -> None:
    async with open_play(tmp_path, "noting") as service, client_of(service.app) as client:
        cron = await new_cron(
            client,
            assistant_id="noting",
            input={"text": "ran"},
            **({} if completed is None else {"on_run_completed": completed}),
        )
        await make_due(tmp_path, client, cron)

        async def noted() -> bool:
            item = {"namespace": "notes", "key": "latest"}
            found = (await client.get("/store/items", params=item)).json()
            return found is not None and "value" in found

        await until(noted)
        for run in service.loop.all_live():
            if run.done is not None:
                await run.done
        of_cron = {"metadata": {"cron_id": cron["cron_id"]}}
        found = (await client.post("/threads/search", json=of_cron)).json()
        assert (await client.post("/threads/count", json={})).json() == left
    assert len(found) == left
    assert [thread["status"] for thread in found] == ["idle"] * left


async def test_without_a_thread_a_cron_for_it_is_refused_unless_it_is_to_be_made(
    tmp_path: Path,
) -> None:
    async with open_client(tmp_path, "echo") as client:
        body = {"assistant_id": "echo", "schedule": YEARLY}
        path = f"/threads/{NOBODY}/runs/crons"
        refused = await client.post(path, json=body)
        cron = await new_cron(client, NOBODY, if_not_exists="create")
        await make_due(tmp_path, client, cron)

        async def made() -> bool:
            return (await client.get(f"/threads/{NOBODY}")).is_success

        await until(made)
    assert (refused.status_code, refused.json()["detail"]) == (404, f"Thread {NOBODY} not found")


async def test_changing_when_a_cron_is_due_counts_from_now(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo") as client:
        cron = await new_cron(client, input={"text": "x"})
        path = f"/runs/crons/{cron['cron_id']}"

        async def patched(**body: Any) -> Any:
            response = await client.patch(path, json=body)
            assert response.status_code == 200, response.text
            return response.json()

        daily = await patched(schedule="30 5 * * *")
        off = await patched(enabled=False)
        moved = await patched(timezone="Asia/Kolkata")
        on = await patched(enabled=True)
        same = await patched(metadata={"a": 1}, input={"text": "y"}, config={"tags": ["t"]})
    assert daily["next_run_date"][10:] == "T05:30:00+00:00"
    assert (off["enabled"], off["next_run_date"], moved["next_run_date"]) == (False, None, None)
    assert on["next_run_date"][10:] == "T00:00:00+00:00"
    assert same["next_run_date"] == on["next_run_date"]
    assert (same["metadata"], same["payload"]["input"]) == ({"a": 1}, {"text": "y"})
    assert same["payload"]["schedule"] == "30 5 * * *"
    assert cron["updated_at"] < daily["updated_at"] < same["updated_at"]


async def test_only_null_removes_an_end(tmp_path: Path) -> None:
    async with open_sdk(tmp_path) as (_, crons):
        end = datetime.now(UTC) + timedelta(minutes=5)
        cron: Any = await crons.create("echo", schedule=YEARLY, end_time=end)
        kept: Any = await crons.update(cron["cron_id"], metadata={"a": 1})
        without: Any = await crons.update(cron["cron_id"], end_time=None)
    assert (cron["next_run_date"], kept["end_time"]) == (None, cron["end_time"])
    assert without["end_time"] is None
    assert without["next_run_date"] is not None


async def test_crons_are_found_by_what_they_are(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo", "noting") as client:
        thread = await new_thread(client)
        one = await new_cron(client, metadata={"tag": "a", "n": 1})
        two = await new_cron(client, thread, metadata={"tag": "b"}, enabled=False)
        three = await new_cron(client, assistant_id="noting", schedule="0 0 1 6 *")

        async def found(**body: Any) -> list[str]:
            crons = (await client.post("/runs/crons/search", json=body)).json()
            counted = {key: body[key] for key in body if not key.startswith(("sort", "limit"))}
            assert (await client.post("/runs/crons/count", json=counted)).json() == len(crons)
            return [cron["cron_id"] for cron in crons]

        ids = [one["cron_id"], two["cron_id"], three["cron_id"]]
        assert await found() == ids[::-1]
        assert await found(sort_by="created_at", sort_order="asc") == ids
        assert await found(metadata={"tag": "a"}) == ids[:1]
        assert await found(assistant_id="noting") == ids[2:]
        assert await found(assistant_id=three["assistant_id"]) == ids[2:]
        assert await found(thread_id=thread) == ids[1:2]
        assert await found(enabled=False) == ids[1:2]
        page = {"sort_by": "cron_id", "sort_order": "asc", "limit": 1, "offset": 1}
        search = await client.post("/runs/crons/search", json={**page, "select": ["cron_id"]})
        timed = await client.post("/runs/crons/search", json={"select": ["now"], "limit": 1})
    assert search.json() == [{"cron_id": sorted(ids)[1]}]
    assert datetime.fromisoformat(timed.json()[0]["now"]) > datetime.fromisoformat(
        one["created_at"]
    )


async def test_a_cron_goes_with_its_thread_and_with_its_assistant(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo") as client:
        thread = await new_thread(client)
        made = (await client.post("/assistants", json={"graph_id": "echo"})).json()
        await new_cron(client, thread)
        await new_cron(client, assistant_id=made["assistant_id"])
        kept = await new_cron(client)
        await client.delete(f"/threads/{thread}")
        await client.delete(f"/assistants/{made['assistant_id']}")
        left = (await client.post("/runs/crons/search")).json()
    assert [cron["cron_id"] for cron in left] == [kept["cron_id"]]


async def test_a_deleted_cron_is_gone(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo") as client:
        path = f"/runs/crons/{(await new_cron(client))['cron_id']}"
        first, *others = [
            await client.delete(path),
            await client.delete(path),
            await client.get(path),
            await client.patch(path, json={"enabled": True}),
        ]
    assert (first.status_code, first.content) == (204, b"")
    assert {(other.status_code, other.headers["content-type"]) for other in others} == {
        (404, PROBLEM)
    }


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "six fields": ({"schedule": "* * * * * *"}, "/schedule"),
    "a start of the machine": ({"schedule": "@reboot"}, "/schedule"),
    "a day that never comes": ({"schedule": "0 0 30 2 *"}, "/schedule"),
    "a million terms": ({"schedule": "0," * 1_000_000 + "0 * * * *"}, "/schedule"),
    "no schedule": ({"schedule": None}, "/schedule"),
    "no such time zone": ({"timezone": "Mars/Olympus"}, "/timezone"),
    "an end that is past": ({"end_time": "2020-01-01T00:00:00"}, "/end_time"),
    "an end beyond time": ({"end_time": "9999-12-31T23:59:59-14:00"}, "/end_time"),
    "a webhook to this machine": ({"webhook": "http://127.0.0.1/"}, "/webhook"),
    "a misspelt field": ({"shedule": YEARLY}, "/shedule"),
    "a strategy that there is not": ({"multitask_strategy": "wait"}, "/multitask_strategy"),
}


@pytest.mark.parametrize(("body", "pointer"), REFUSED.values(), ids=REFUSED.keys())
async def test_a_bad_cron_is_refused_where_it_is_bad(
    tmp_path: Path, body: dict[str, Any], pointer: str
) -> None:
    async with open_client(tmp_path, "echo") as client:
        given = {"assistant_id": "echo", "schedule": YEARLY, **body}
        response = await client.post("/runs/crons", json=given)
        assert (await client.post("/runs/crons/count", json={})).json() == 0
    assert (response.status_code, response.headers["content-type"]) == (422, PROBLEM)
    assert response.json()["errors"][0]["pointer"] == pointer
    assert len(response.content) < 2_000


async def test_a_change_that_would_be_refused_in_a_new_cron_is_refused(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo") as client:
        thread = await new_thread(client)
        cron = await new_cron(client, thread)
        path = f"/runs/crons/{cron['cron_id']}"
        answers = [
            await client.patch(path, json=body)
            for body in (
                {"schedule": "@reboot"},
                {"end_time": "2020-01-01T00:00:00Z"},
                {"timezone": ""},
                {"webhook": "http://127.0.0.1/"},
                {"on_run_completed": "keep"},
                {"context": {"a": 1}, "config": {"configurable": {"a": 1}}},
            )
        ]
        left = (await client.get(path)).json()
    assert [answer.status_code for answer in answers] == [422, 422, 422, 422, 409, 409]
    assert left == cron


AUTH = {"auth": {"path": "tests.api.guards:owners", "disable_studio_auth": True}}
ALICE = {"authorization": "Bearer alice"}
BOB = {"authorization": "Bearer bob"}


async def test_a_cron_is_there_for_its_maker_and_nobody_else(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo", manifest=AUTH) as client:
        body = {"assistant_id": "echo", "schedule": YEARLY}
        thread = (await client.post("/threads", headers=ALICE, json={})).json()["thread_id"]
        made = await client.post(f"/threads/{thread}/runs/crons", headers=ALICE, json=body)
        path = f"/runs/crons/{made.json()['cron_id']}"
        statuses = [
            (await client.request(method, where, headers=BOB, json=sent)).status_code
            for method, where, sent in (
                ("GET", path, None),
                ("PATCH", path, {"enabled": False}),
                ("DELETE", path, None),
                ("POST", f"/threads/{thread}/runs/crons", body),
            )
        ]
        found = (await client.post("/runs/crons/search", headers=BOB, json={})).json()
        counted = (await client.post("/runs/crons/count", headers=BOB, json={})).json()
        given = {"metadata": {"owner": "bob"}}
        kept = await client.patch(path, headers=ALICE, json=given)
    assert made.json()["user_id"] == "alice"
    assert "maker" not in made.json()
    assert (statuses, found, counted) == ([404] * 4, [], 0)
    assert kept.json()["metadata"] == {"owner": "alice"}


async def test_a_cron_runs_as_whoever_made_it(tmp_path: Path) -> None:
    async with open_client(tmp_path, "looking", manifest=AUTH) as client:
        client.headers.update(ALICE)
        asked: Any = {"assistant_id": "looking", "input": {"text": "x"}}
        cron = await new_cron(client, **asked, on_run_completed="keep")
        await make_due(tmp_path, client, cron)

        async def ended() -> Any:
            return (await client.post("/threads/search", json={"status": "idle"})).json()

        (thread,) = await until(ended)
        others = (await client.post("/threads/search", headers=BOB, json={})).json()
    seen = thread["values"]["seen"]["configurable"]
    assert (seen["langgraph_auth_user_id"], others) == ("alice", [])


async def test_who_may_make_no_runs_makes_no_crons(tmp_path: Path) -> None:
    auth = {"auth": {"path": "tests.api.guards:runless", "disable_studio_auth": True}}
    async with open_client(tmp_path, "echo", manifest=auth) as client:
        body = {"assistant_id": "echo", "schedule": YEARLY}
        response = await client.post("/runs/crons", headers=ALICE, json=body)
    assert response.status_code == 403


async def test_a_cron_from_before_authentication_runs_for_nobody(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo") as client:
        cron = await new_cron(client, input={"text": "x"}, on_run_completed="keep")
        with closing(sqlite3.connect(tmp_path / "data/masterloop.db")) as database, database:
            database.execute("UPDATE crons SET next_run_date = '2026-01-01T00:00:00+00:00'")
    async with open_play(tmp_path, "echo", manifest=AUTH) as service:

        async def ran() -> Any:
            with closing(sqlite3.connect(tmp_path / "data/masterloop.db")) as database:
                return database.execute("SELECT status, principal FROM runs").fetchall()

        assert await until(ran)
        for run in service.loop.all_live():
            if run.done is not None:
                await run.done
        assert await ran() == [("success", None)]
    assert cron["user_id"] is None
