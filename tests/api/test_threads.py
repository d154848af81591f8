"""Threads over HTTP: made, read, changed, found, copied, pruned, deleted."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from orjson import Fragment

from orchestration.api import threads
from orchestration.api.documents import Document, extracted
from orchestration.store import bounded
from tests.api import plays
from tests.api.client import NOBODY, PROBLEM, new_run, new_thread, open_client


async def test_a_new_thread_is_idle_and_empty(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo") as client:
        thread = (await client.post("/threads", json={"metadata": {"owner": "ada"}})).json()
        read = (await client.get(f"/threads/{thread['thread_id']}")).json()
    assert read == thread
    assert {key: read[key] for key in ("status", "values", "metadata", "interrupts", "error")} == {
        "status": "idle",
        "values": None,
        "metadata": {"owner": "ada"},
        "interrupts": {},
        "error": None,
    }


async def test_a_thread_can_be_created_without_a_body(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo") as client:
        assert (await client.post("/threads")).json()["metadata"] == {}


async def test_a_thread_that_exists_is_refused_unless_the_caller_does_not_mind(
    tmp_path: Path,
) -> None:
    async with open_client(tmp_path, "echo") as client:
        first = (await client.post("/threads", json={"thread_id": NOBODY})).json()
        again = await client.post("/threads", json={"thread_id": NOBODY})
        found = await client.post(
            "/threads", json={"thread_id": NOBODY, "if_exists": "do_nothing", "metadata": {"a": 1}}
        )
    assert (again.status_code, again.headers["content-type"]) == (409, PROBLEM)
    assert again.json()["detail"] == f"Thread {NOBODY} already exists"
    assert found.json() == first


async def test_patching_merges_metadata_key_by_key(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo") as client:
        thread_id = await new_thread(client, metadata={"a": 1, "b": 2})
        patched = await client.patch(f"/threads/{thread_id}", json={"metadata": {"b": 3, "c": 4}})
        minimal = await client.patch(
            f"/threads/{thread_id}",
            json={"metadata": {"c": 5}},
            headers={"Prefer": "return=minimal"},
        )
        read = (await client.get(f"/threads/{thread_id}")).json()
    assert patched.json()["metadata"] == {"a": 1, "b": 3, "c": 4}
    assert (minimal.status_code, minimal.content) == (204, b"")
    assert read["metadata"] == {"a": 1, "b": 3, "c": 5}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "", None),
        ("PATCH", "", {"metadata": {}}),
        ("DELETE", "", None),
        ("GET", "/state", None),
        ("POST", "/state", {"values": {}}),
        ("POST", "/state/checkpoint", {"checkpoint": {}}),
        ("GET", "/history", None),
        ("POST", "/history", {}),
        ("POST", "/copy", None),
        ("GET", "/stream", None),
        ("GET", "/runs", None),
        ("POST", "/runs", {"assistant_id": "echo"}),
        ("POST", "/runs/wait", {"assistant_id": "echo"}),
        ("POST", "/runs/stream", {"assistant_id": "echo"}),
        ("GET", f"/runs/{NOBODY}", None),
        ("GET", f"/runs/{NOBODY}/why", None),
        ("GET", f"/runs/{NOBODY}/join", None),
        ("GET", f"/runs/{NOBODY}/stream", None),
        ("POST", f"/runs/{NOBODY}/cancel", None),
        ("DELETE", f"/runs/{NOBODY}", None),
    ],
)
async def test_what_needs_a_thread_says_that_there_is_none(
    tmp_path: Path, method: str, path: str, body: Any
) -> None:
    async with open_client(tmp_path, "echo") as client:
        response = await client.request(method, f"/threads/{NOBODY}{path}", json=body)
    assert (response.status_code, response.headers["content-type"]) == (404, PROBLEM)
    assert "not found" in response.json()["detail"]


async def test_threads_are_found_by_what_they_hold(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo") as client:
        plain = await new_thread(client, metadata={"n": 1, "tags": ["x", "y"]})
        worked = await new_thread(client, metadata={"n": 2})
        await client.get(await new_run(client, worked, "echo", "hello") + "/join")

        async def found(**body: Any) -> list[str]:
            rows = (await client.post("/threads/search", json=body)).json()
            assert (await client.post("/threads/count", json=body)).json() == len(rows)
            return [row["thread_id"] for row in rows]

        assert await found(metadata={"tags": ["y"]}) == [plain]
        assert await found(metadata={"n": 3}) == []
        assert await found(values={"text": "hello"}) == [worked]
        assert await found(status="idle") == [worked, plain]
        assert await found(status="busy") == []
        assert await found(ids=[plain, NOBODY]) == [plain]


async def test_threads_are_sorted_paged_and_cut_to_the_fields_asked_for(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo") as client:
        threads = [await new_thread(client, metadata={"n": number}) for number in range(3)]
        search = {"sort_by": "created_at", "sort_order": "asc", "limit": 2, "offset": 1}
        page = (
            await client.post("/threads/search", json={**search, "select": ["thread_id"]})
        ).json()
    assert page == [{"thread_id": threads[1]}, {"thread_id": threads[2]}]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("metadata.list[1]", "b"),
        ("metadata.list[-1]", "c"),
        ("metadata.list.0", "a"),
        ("metadata.list[3]", None),
        ("metadata.list[--1]", None),
        ("metadata.list[²]", None),
        ("metadata.list[" + "9" * 5000 + "]", None),
        ("metadata.deep.er", 5),
        ("metadata.list.text", None),
        ("metadata.nothing.there", None),
        ("", None),
    ],
)
async def test_a_search_extracts_what_a_path_points_to(
    tmp_path: Path, path: str, value: Any
) -> None:
    async with open_client(tmp_path, "echo") as client:
        await new_thread(client, metadata={"list": ["a", "b", "c"], "deep": {"er": 5}})
        found = await client.post("/threads/search", json={"extract": {"it": path}})
    assert found.json()[0]["extracted"] == {"it": value}


def test_only_the_part_of_a_thread_that_a_path_begins_with_is_parsed() -> None:
    document = {"metadata": Fragment('{"a": [1]}'), "values": Fragment("not parsed")}
    assert extracted(document, {"it": "metadata.a[0]", "no": "nothing"}) == {"it": 1, "no": None}


async def test_an_extraction_that_takes_long_holds_up_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, opened = Event(), Event()

    def slow(document: Document, paths: Mapping[str, str]) -> Document:
        begun.set()
        assert opened.wait(5), "nobody else has had a turn"
        return extracted(document, paths)

    monkeypatch.setattr(threads, "extracted", slow)
    async with open_client(tmp_path, "echo") as client:
        thread_id = await new_thread(client, metadata={"a": 1})
        body = {"extract": {"it": "metadata.a"}}
        search = asyncio.create_task(client.post("/threads/search", json=body))
        await asyncio.to_thread(begun.wait)
        meanwhile = await client.get(f"/threads/{thread_id}")
        opened.set()
        found = (await search).json()
    assert meanwhile.status_code == 200
    assert [thread["extracted"] for thread in found] == [{"it": 1}]


async def test_metadata_with_more_values_than_can_be_looked_up_are_refused(tmp_path: Path) -> None:
    many = {"list": list(range(1_000))}
    async with open_client(tmp_path, "echo") as client:
        thread_id = await new_thread(client, metadata=many)
        patched = await client.patch(f"/threads/{thread_id}", json={"metadata": {"one": 1}})
        created = await client.post("/threads", json={"metadata": {**many, "one": 1}})
        found = await client.post("/threads/search", json={"metadata": {"list": [999]}})
    for refused in (patched, created):
        assert (refused.status_code, refused.headers["content-type"]) == (422, PROBLEM)
        assert "1,000 values, and these hold 1,001" in refused.json()["detail"]
    assert [thread["thread_id"] for thread in found.json()] == [thread_id]


async def test_a_search_that_no_index_answers_is_given_up_and_says_what_would_help(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_client(tmp_path, "echo") as client:
        thread_id = await new_thread(client)
        await client.get(await new_run(client, thread_id, "echo", "x") + "/join")
        monkeypatch.setattr(bounded, "PATIENCE", 0.0)
        monkeypatch.setattr(bounded, "STEPS", 1)
        found = await client.post("/threads/search", json={"values": {"text": "nobody"}})
        counted = await client.post("/threads/count", json={"values": {"text": "nobody"}})
    for refused in (found, counted):
        assert (refused.status_code, refused.headers["content-type"]) == (422, PROBLEM)
        assert "ask also for values of metadata, a status or ids" in refused.json()["detail"]


async def test_more_ids_than_sqlite_has_variables_are_looked_for(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo") as client:
        thread_id = await new_thread(client)
        ids = [NOBODY] * 40_000 + [thread_id]
        counted = await client.post("/threads/count", json={"ids": ids})
    assert counted.json() == 1


async def test_a_copy_has_the_state_and_the_history_but_not_the_runs(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo") as client:
        thread_id = await new_thread(client, metadata={"owner": "ada"})
        await client.get(await new_run(client, thread_id, "echo", "one") + "/join")
        copy = (await client.post(f"/threads/{thread_id}/copy")).json()
        state = (await client.get(f"/threads/{copy['thread_id']}/state")).json()
        runs = (await client.get(f"/threads/{copy['thread_id']}/runs")).json()
    assert (copy["metadata"]["owner"], copy["status"]) == ("ada", "idle")
    assert state["values"] == copy["values"] == {"text": "one", "log": ["one"]}
    assert runs == []


async def test_a_copy_shows_what_a_run_under_way_has_come_to(tmp_path: Path) -> None:
    key = {"Idempotency-Key": "copied"}
    async with open_client(tmp_path, "echo", "holder") as client:
        thread_id = await new_thread(client)
        await client.get(await new_run(client, thread_id, "echo", "one") + "/join")
        await new_run(client, thread_id, "holder", "copied on the way")
        await plays.gates["copied on the way"].reached.wait()
        copy = (await client.post(f"/threads/{thread_id}/copy", headers=key)).json()
        again = (await client.post(f"/threads/{thread_id}/copy", headers=key)).json()
        path = f"/threads/{copy['thread_id']}"
        state, shown = [(await client.get(path + end)).json() for end in ("/state", "")]
        plays.gates["copied on the way"].opened.set()
    assert shown == copy == again
    assert copy["values"] == state["values"]
    assert (copy["values"]["text"], copy["status"]) == ("copied on the way", "interrupted")


async def test_pruning_keeps_the_latest_checkpoint_or_nothing(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo") as client:
        thread_id = await new_thread(client)
        await client.get(await new_run(client, thread_id, "echo", "one") + "/join")
        kept = await client.post(
            "/threads/prune", json={"thread_ids": [thread_id, NOBODY], "strategy": "keep_latest"}
        )
        history = (await client.get(f"/threads/{thread_id}/history")).json()
        deleted = await client.post("/threads/prune", json={"thread_ids": [thread_id, NOBODY]})
        gone = await client.get(f"/threads/{thread_id}")
    assert kept.json() == deleted.json() == {"pruned_count": 1}
    assert [state["values"] for state in history] == [{"text": "one", "log": ["one"]}]
    assert gone.status_code == 404


@pytest.mark.parametrize("strategy", ["keep_latest", "delete"])
async def test_a_thread_that_is_named_twice_is_pruned_once(tmp_path: Path, strategy: str) -> None:
    async with open_client(tmp_path, "echo") as client:
        body = {"thread_ids": [await new_thread(client)] * 3, "strategy": strategy}
        pruned = await client.post("/threads/prune", json=body)
    assert (pruned.status_code, pruned.json()) == (200, {"pruned_count": 1})


async def test_deleting_a_thread_stops_what_works_and_waits_on_it(tmp_path: Path) -> None:
    async with open_client(tmp_path, "holder") as client:
        thread_id = await new_thread(client)
        working = await new_run(client, thread_id, "holder", "deleted")
        waiting = await new_run(client, thread_id, "holder", "deleted")
        await plays.gates["deleted"].reached.wait()
        assert (await client.get(f"/threads/{thread_id}")).json()["status"] == "busy"
        assert (await client.delete(f"/threads/{thread_id}")).status_code == 204
        assert plays.cleaned.pop() == "deleted"
        for path in (f"/threads/{thread_id}", working, waiting):
            assert (await client.get(path)).status_code == 404


async def test_what_is_too_large_for_one_answer_is_refused_and_less_of_it_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded, "MOST", 20_000)
    async with open_client(tmp_path, "echo") as client:
        ids = [await new_thread(client) for _ in range(2)]
        for thread_id in ids:
            for _ in range(2):
                body = {"assistant_id": "echo", "input": {"text": "x" * 12_000}}
                await client.post(f"/threads/{thread_id}/runs/wait", json=body)
        one = f"/threads/{ids[0]}"
        asked: list[tuple[str, dict[str, Any]]] = [
            ("/threads/search", {}),
            ("/threads/search", {"limit": 1}),
            ("/threads/search", {"select": ["thread_id"]}),
            (f"{one}/history", {}),
            (f"{one}/history", {"limit": 1}),
            (f"{one}/history", {"select": ["checkpoint"]}),
        ]
        posted = [await client.post(path, json=body) for path, body in asked]
        listed = [await client.get(f"{one}/runs", params=params) for params in ({}, {"limit": 1})]
    statuses = [answer.status_code for answer in (*posted, *listed)]
    assert statuses == [422, 200, 200, 422, 200, 200, 422, 200]
    assert posted[0].headers["content-type"] == PROBLEM
    assert posted[0].json()["detail"] == (
        "what was found has more than 20000 characters: ask for fewer at once"
    )
