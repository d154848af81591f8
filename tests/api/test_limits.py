"""What is refused when there is too much of it, and when to come back."""

import asyncio
import sqlite3
from contextlib import closing
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx
import pytest

from orchestration.store import bounded
from tests.api import plays
from tests.api.client import (
    PROBLEM,
    client_of,
    new_run,
    new_thread,
    open_client,
    open_play,
    open_socket,
)

STOPPING = "the service is stopping; try again in a few seconds"
ECHO: dict[str, Any] = {"assistant_id": "echo", "input": {"text": "x"}}


def refusal(response: httpx.Response) -> tuple[int, str, bool]:
    assert response.headers["content-type"] == PROBLEM
    return (
        response.status_code,
        response.json()["type"].rpartition("#")[2],
        1 <= int(response.headers["retry-after"]) <= 60,
    )


async def test_a_full_queue_answers_503_and_when_to_come_back(tmp_path: Path) -> None:
    async with open_client(tmp_path, "holder", max_concurrent_runs=1, queue_capacity=2) as client:
        await new_run(client, await new_thread(client), "holder", "full")
        await plays.gates["full"].reached.wait()
        for _ in range(2):
            await new_run(client, await new_thread(client), "holder", "full")
        body = {"assistant_id": "holder", "input": {"text": "full"}}
        answers = [
            await client.post(path, json=body) for path in ("/runs", "/runs/wait", "/runs/stream")
        ]
        plays.gates["full"].opened.set()
    assert [refusal(answer) for answer in answers] == [
        (503, "temporary-reduced-capacity", True)
    ] * 3
    assert answers[0].json()["detail"] == "the run queue is full (2 runs)"


async def test_a_tenant_above_its_rate_is_told_429_and_others_are_not(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo", submit_rate=2.0) as client:

        async def submit(tenant: str) -> httpx.Response:
            config = {"configurable": {"tenant": tenant}}
            return await client.post("/runs/wait", json={**ECHO, "config": config})

        codes = [(await submit("a")).status_code for _ in range(2)]
        refused = await submit("a")
        other = await submit("b")
    assert codes == [200, 200]
    assert refusal(refused) == (429, "quota-exceeded", True)
    assert {**refused.headers}.items() >= {"ratelimit": '"runs";r=0;t=1'}.items()
    assert refused.json()["detail"] == "a may submit 2 runs a second"
    assert other.status_code == 200


@pytest.mark.parametrize("path", ["/runs", "/runs/wait", "/runs/stream", "/runs/batch"])
async def test_what_is_left_of_the_rate_is_told_with_every_answer(
    tmp_path: Path, path: str
) -> None:
    body = [ECHO] if path == "/runs/batch" else ECHO
    async with open_client(tmp_path, "echo", submit_rate=3.0) as client:
        answers = [await client.post(path, json=body) for _ in range(4)]
    assert {answer.headers["ratelimit-policy"] for answer in answers} == {'"runs";q=3;w=1'}
    left = [answer.headers["ratelimit"].partition(";t=")[0] for answer in answers]
    assert left == ['"runs";r=2', '"runs";r=1', '"runs";r=0', '"runs";r=0']


async def test_without_a_rate_nothing_is_told_of_one(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo") as client:
        answer = await client.post("/runs", json=ECHO)
    assert not any(name.startswith("ratelimit") for name in answer.headers)


async def test_a_tenant_has_so_many_runs_working_at_once(tmp_path: Path) -> None:
    async with (
        open_play(tmp_path, "holder", runs_per_tenant=1) as service,
        client_of(service.app) as client,
    ):
        config = {"config": {"configurable": {"tenant": "busy"}}}
        paths = [
            await new_run(client, await new_thread(client), "holder", "tenant", **config)
            for _ in range(3)
        ]
        await plays.gates["tenant"].reached.wait()
        assert (service.loop.working, service.loop.waiting) == (1, 2)
        why = (await client.get(f"{paths[1]}/why")).json()["why"]
        plays.gates["tenant"].opened.set()
        for path in paths:
            await client.get(f"{path}/join")
    assert why == "tenant:busy has all the runs working that it may have"


async def test_a_service_that_stops_takes_no_runs_and_says_so(tmp_path: Path) -> None:
    async with open_play(tmp_path, "echo") as service, client_of(service.app) as client:
        before = await client.get("/readyz")
        await service.loop.drain()
        refused = await client.post("/runs", json=ECHO)
        ready = await client.get("/readyz")
        alive = await client.get("/livez")
    assert (before.status_code, before.json()) == (200, {"status": "ok"})
    assert (refused.status_code, int(refused.headers["retry-after"]) in range(5, 11)) == (503, True)
    assert (ready.status_code, ready.json()["loop"]) == (503, "the service is stopping")
    assert alive.status_code == 200


@pytest.mark.parametrize(("keep_alive", "status"), [(60.0, 503), (0.01, 200)])
@pytest.mark.parametrize("keyed", [False, True])
async def test_a_wait_that_the_stop_cuts_short_says_so(
    tmp_path: Path, keep_alive: float, status: int, *, keyed: bool
) -> None:
    name = f"cut short {status} {keyed}"
    key = {"idempotency-key": name} if keyed else {}
    async with open_socket(tmp_path, "holder", drain_grace=0.01, keep_alive=keep_alive) as opened:
        service, client = opened
        body = {"assistant_id": "holder", "input": {"text": name}, "on_completion": "keep"}

        def ask(method: str, path: str, **given: Any) -> asyncio.Task[httpx.Response]:
            request = client.build_request(method, path, **given)
            return asyncio.create_task(client.send(request, stream=True))

        waiting = ask("POST", "/runs/wait", json=body, headers=key)
        await plays.gates[name].reached.wait()
        run = service.loop.all_live()[0]
        joining = ask("GET", f"/threads/{run.thread_id}/runs/{run.run_id}/join")
        if status == HTTPStatus.OK:  # is said once there was something to keep alive
            await asyncio.wait({waiting, joining})
        else:
            await client.get("/ok")
        await service.loop.drain()
        answers = [await waiting, await joining]
        for answer in answers:
            await answer.aread()
    said = [answer.json().get("__error__", answer.json()) for answer in answers]
    if keyed:
        assert answers[0].status_code == status
        assert STOPPING in said[0].values()
    else:  # to send it again, as clients do by themselves on a 503, would make a second run
        assert answers[0].status_code == 200
        assert "join the run in a few seconds" in said[0]["message"]
        assert answers[0].headers["location"].endswith(f"{run.run_id}/join")
    assert answers[1].status_code == status
    assert STOPPING in said[1].values()


async def test_of_a_run_that_a_stop_put_back_nobody_is_told_that_it_ended(tmp_path: Path) -> None:
    key = {"idempotency-key": "put back"}
    body = {"assistant_id": "holder", "input": {"text": "put back"}, "stream_resumable": True}
    async with (
        open_play(tmp_path, "holder", drain_grace=0.01) as service,
        client_of(service.app) as client,
    ):
        thread = await new_thread(client)
        first = asyncio.create_task(
            client.post(f"/threads/{thread}/runs/wait", json=body, headers=key)
        )
        await plays.gates["put back"].reached.wait()
        path = f"/threads/{thread}/runs/{service.loop.all_live()[0].run_id}"
        await service.loop.drain()
        answers = [
            await first,
            await client.post(f"/threads/{thread}/runs/wait", json=body, headers=key),
            await client.get(f"{path}/join"),
            await client.post(f"{path}/cancel"),
        ]
        why = (await client.get(f"{path}/why")).json()["why"]
        of_run = await client.get(f"{path}/stream", headers={"last-event-id": "0"})
        of_thread = await client.get(f"/threads/{thread}/stream", headers={"last-event-id": "-1"})
        of_log = await client.post(
            f"/threads/{thread}/stream/events", json={"channels": ["lifecycle"]}
        )
    assert [answer.status_code for answer in answers] == [503] * 4
    assert {answer.json()["detail"] for answer in answers} == {why} == {STOPPING}
    for stream in (of_run, of_thread):
        names = [line for line in stream.text.splitlines() if line.startswith("event: ")]
        assert (names[0], names[-1]) == ("event: metadata", "event: shutdown")
        assert "event: end" not in names
        assert "run_done" not in stream.text
    assert "event: shutdown" in of_log.text


async def test_a_service_whose_database_cannot_be_read_is_not_ready(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo") as client:
        with closing(sqlite3.connect(tmp_path / "data" / "masterloop.db")) as connection:
            connection.execute("ALTER TABLE runs RENAME TO gone")
        ready = await client.get("/readyz")
        alive = await client.get("/livez")
    assert (ready.status_code, alive.status_code) == (503, 200)
    assert "no such table" in ready.json()["database"]


async def test_a_waiter_hears_that_the_service_stops_and_the_run_goes_on_after_the_next_start(
    tmp_path: Path,
) -> None:
    async with (
        open_play(tmp_path, "holder", drain_grace=0.01) as service,
        client_of(service.app) as client,
    ):
        thread_id = await new_thread(client)
        path = await new_run(client, thread_id, "holder", "restart")
        await plays.gates["restart"].reached.wait()
        await service.loop.drain()
    plays.gates["restart"].opened.set()
    async with open_play(tmp_path, "holder") as service, client_of(service.app) as client:
        assert service.recovered == 1
        output = (await client.get(f"{path}/join")).json()
        run = (await client.get(path)).json()
    assert output["log"] == ["restart", "held", "restart"]
    assert (run["status"], run["attempt"]) == ("success", 1)


@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("/runs/crons", {"assistant_id": "echo", "schedule": "0 0 1 1 *"}),
        ("/assistants", {"graph_id": "echo"}),
    ],
)
async def test_a_search_that_has_too_much_to_compare_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, more: dict[str, Any]
) -> None:
    async with open_client(tmp_path, "echo") as client:
        parts: list[Any] = [{"a": 0}] * 1_999 + [{"a": 1}]
        made = await client.post(path, json={**more, "metadata": {"parts": parts}})
        assert made.status_code == 200
        monkeypatch.setattr(bounded, "PATIENCE", 0.1)
        wide = {"metadata": {"parts": [{"a": 1}] * 2_000}}
        found = await client.post(f"{path}/search", json=wide)
        counted = await client.post(f"{path}/count", json=wide)
    for refused in (found, counted):
        assert (refused.status_code, refused.headers["content-type"]) == (422, PROBLEM)
        assert "the search was given up after 0.1 s" in refused.json()["detail"]
