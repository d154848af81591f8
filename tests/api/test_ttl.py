"""Threads with a time to live over HTTP."""

import asyncio
import sqlite3
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from langgraph_sdk import get_client

from tests.api.client import PROBLEM, new_run, new_thread, open_client, open_socket

DEFAULT = {"checkpointer": {"ttl": {"strategy": "keep_latest", "default_ttl": 60}}}


async def ttl_of(client: httpx.AsyncClient, thread_id: str) -> Any:
    """Return how long a thread lives; None: for ever."""
    thread = (await client.get(f"/threads/{thread_id}?include=ttl")).json()
    if "ttl" not in thread:
        return None
    ttl = thread["ttl"]
    left = datetime.fromisoformat(ttl["expires_at"]) - datetime.fromisoformat(thread["updated_at"])
    assert left == timedelta(minutes=ttl["ttl_minutes"])
    return ttl["strategy"], ttl["ttl_minutes"]


def expire(folder: Path, thread_id: str) -> None:
    """Let the time of a thread have been over for a year."""
    with closing(sqlite3.connect(folder / "data/masterloop.db")) as database, database:
        sql = "UPDATE threads SET expires_at = ?, updated_at = ? WHERE thread_id = ?"
        database.execute(sql, ("2025-01-02", "2025-01-01", thread_id))


async def test_the_sdk_gives_and_changes_a_time_to_live(tmp_path: Path) -> None:
    async with (
        open_socket(tmp_path, "echo") as (_, client),
        get_client(url=str(client.base_url)) as sdk,
    ):
        thread: Any = await sdk.threads.create(ttl=30)
        thread_id = thread["thread_id"]
        assert thread["ttl"]["ttl_minutes"] == 30
        assert await ttl_of(client, thread_id) == ("delete", 30)
        await sdk.threads.update(
            thread_id, metadata={}, ttl={"ttl": 1.5, "strategy": "keep_latest"}
        )
        shown: Any = await sdk.threads.get(thread_id, include=["ttl"])
        plain: Any = await sdk.threads.get(thread_id)
        assert (shown["ttl"]["strategy"], shown["ttl"]["ttl_minutes"]) == ("keep_latest", 1.5)
        assert "ttl" not in plain


async def test_only_null_takes_a_time_to_live_away(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo") as client:
        thread_id = await new_thread(client, ttl=30)
        await client.patch(f"/threads/{thread_id}", json={"metadata": {"a": 1}})
        kept = await ttl_of(client, thread_id)
        await client.patch(f"/threads/{thread_id}", json={"ttl": None})
        assert (kept, await ttl_of(client, thread_id)) == (("delete", 30), None)


async def test_without_configuration_threads_live_for_ever(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo") as client:
        assert await ttl_of(client, await new_thread(client)) is None


async def test_the_default_is_for_every_new_thread_that_is_not_told(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo") as client:
        old = await new_thread(client)
    async with open_client(tmp_path, "echo", manifest=DEFAULT) as client:
        made, told = await new_thread(client), await new_thread(client, ttl=30)
        stateless = {"assistant_id": "echo", "input": {}, "on_completion": "keep"}
        run = (await client.post("/runs", json=stateless)).json()["thread_id"]
        copied = (await client.post(f"/threads/{told}/copy")).json()["thread_id"]
        assert [await ttl_of(client, one) for one in (old, made, told, run, copied)] == [
            None,
            ("keep_latest", 60),
            ("delete", 30),
            ("keep_latest", 60),
            ("delete", 30),
        ]


async def test_a_thread_is_gone_when_its_time_is_over(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo") as client:
        thread_id = await new_thread(client, ttl=30)
        await client.get(await new_run(client, thread_id, "echo", "x") + "/join")
        expire(tmp_path, thread_id)
        await new_thread(client, ttl=1)  # which has the sweeper look
        while (await client.get(f"/threads/{thread_id}")).status_code != 404:  # noqa: ASYNC110
            await asyncio.sleep(0)
        assert (await client.get(f"/threads/{thread_id}/runs")).status_code == 404


@pytest.mark.parametrize(
    "ttl",
    [0, -1, True, "30", 1e12, {}, {"ttl": 0}, {"ttl": 5, "strategy": "archive"}, {"minutes": 5}],
)
async def test_a_time_that_is_none_is_refused(tmp_path: Path, ttl: Any) -> None:
    async with open_client(tmp_path, "echo") as client:
        thread_id = await new_thread(client)
        answers = [
            await client.post("/threads", json={"ttl": ttl}),
            await client.patch(f"/threads/{thread_id}", json={"ttl": ttl}),
        ]
    for answer in answers:
        assert (answer.status_code, answer.headers["content-type"]) == (422, PROBLEM)
        assert answer.json()["errors"][0]["pointer"].startswith("/ttl")


async def test_nothing_but_the_ttl_can_be_included(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo") as client:
        thread_id = await new_thread(client)
        answer = await client.get(f"/threads/{thread_id}?include=runs")
    assert (answer.status_code, answer.headers["content-type"]) == (422, PROBLEM)


async def test_what_a_run_streamed_is_forgotten_where_that_is_configured(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo") as client:
        thread_id = await new_thread(client)
        path = await new_run(client, thread_id, "echo", "x", stream_resumable=True)
        await client.get(f"{path}/join")
        kept = await client.get(f"{path}/stream", headers={"last-event-id": "-1"})
    with closing(sqlite3.connect(tmp_path / "data/masterloop.db")) as database, database:
        database.execute("UPDATE runs SET updated_at = '2025-01-01'")
    manifest = {"masterloop": {"events_ttl": 10_080}}
    async with open_client(tmp_path, "echo", manifest=manifest) as client:
        while "values" in (text := await _replayed(client, path)):  # noqa: ASYNC110
            await asyncio.sleep(0)
    assert "event: values" in kept.text
    assert text.endswith("event: end\ndata: null\n\n")


async def _replayed(client: httpx.AsyncClient, path: str) -> str:
    return (await client.get(f"{path}/stream", headers={"last-event-id": "-1"})).text
