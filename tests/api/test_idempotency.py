"""``Idempotency-Key``: a creation that is asked for again is answered again, not done again."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api import plays
from tests.api.client import (
    PROBLEM,
    client_of,
    new_thread,
    open_client,
    open_play,
    open_socket,
    parts_of,
)

KEY = {"idempotency-key": '"8e03978e-40d5-43dd-bc93-6894a57f9324"'}


def ask(graph: str = "echo", text: str = "x", **more: Any) -> dict[str, Any]:
    return {"assistant_id": graph, "input": {"text": text}, **more}


async def runs_of(client: httpx.AsyncClient, thread_id: str) -> int:
    return len((await client.get(f"/threads/{thread_id}/runs")).json())


async def test_a_run_is_made_once_and_its_first_answer_is_given_again(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo") as client:
        thread_id = await new_thread(client)
        path = f"/threads/{thread_id}/runs"
        first = await client.post(path, json=ask(), headers=KEY)
        await client.get(first.headers["content-location"] + "/join")
        again = await client.post(path, json=ask(), headers=KEY)
        assert await runs_of(client, thread_id) == 1
    assert (again.status_code, again.json()) == (200, first.json())
    assert again.headers["content-location"] == first.headers["content-location"]


@pytest.mark.parametrize("how", ["wait", "stream"])
async def test_the_answer_of_a_run_that_has_ended_says_which_it_is(
    tmp_path: Path, how: str
) -> None:
    async with open_client(tmp_path, "echo") as client:
        path = f"/threads/{await new_thread(client)}/runs/{how}"
        first, again = [await client.post(path, json=ask(), headers=KEY) for _ in range(2)]
    for name in ("content-location", "location"):
        assert again.headers[name] == first.headers[name]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/runs", ask()),
        ("/runs/batch", [ask(), ask()]),
        ("/threads", {"metadata": {"a": 1}}),
        ("/assistants", {"graph_id": "echo", "name": "mine"}),
        ("/runs/crons", {"assistant_id": "echo", "schedule": "0 0 1 1 *"}),
    ],
)
async def test_every_creation_answers_again_what_it_answered_first(
    tmp_path: Path, path: str, body: Any
) -> None:
    async with open_client(tmp_path, "echo") as client:
        first = await client.post(path, json=body, headers=KEY)
        again = await client.post(path, json=body, headers=KEY)
        other = await client.post(path, json=body, headers={"idempotency-key": "other"})
        plain = await client.post(path, json=body)
    assert first.status_code == again.status_code == other.status_code == plain.status_code == 200
    assert first.json() == again.json()
    assert len({answer.text for answer in (first, other, plain)}) == 3


async def test_it_is_the_same_request_whatever_a_handler_makes_of_it(tmp_path: Path) -> None:
    manifest = {"auth": {"path": "tests.api.guards:stamping", "disable_studio_auth": True}}
    async with open_client(tmp_path, "echo", manifest=manifest) as client:
        first, again = [await client.post("/runs/wait", json=ask(), headers=KEY) for _ in range(2)]
    assert first.json()["text"].startswith("x ")
    assert (again.status_code, again.json()) == (200, first.json())


async def test_a_thread_is_copied_once(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo") as client:
        thread_id = await new_thread(client)
        copies = [await client.post(f"/threads/{thread_id}/copy", headers=KEY) for _ in range(2)]
        count = (await client.post("/threads/count", json={})).json()
    assert copies[0].json() == copies[1].json()
    assert count == 2


async def test_a_repeated_wait_joins_the_same_run(tmp_path: Path) -> None:
    async with open_socket(tmp_path, "holder") as (service, client):
        body = ask("holder", "joined by key")
        first = asyncio.create_task(client.post("/runs/wait", json=body, headers=KEY))
        await plays.gates["joined by key"].reached.wait()
        second = asyncio.create_task(client.post("/runs/wait", json=body, headers=KEY))
        await client.get("/ok")
        assert len(service.loop.all_live()) == 1
        plays.gates["joined by key"].opened.set()
        answers = [await first, await second]
        late = await client.post("/runs/wait", json=body, headers=KEY)
    assert [answer.json()["log"][1] for answer in (*answers, late)] == ["held"] * 3
    assert answers[0].headers["location"] == answers[1].headers["location"]


@pytest.mark.parametrize("graph", ["echo", "failing"])
@pytest.mark.parametrize("stateless", [True, False])
async def test_a_wait_that_is_repeated_later_has_the_output_of_its_own_run(
    tmp_path: Path, graph: str, stateless: bool
) -> None:
    async with open_client(tmp_path, graph, "echo") as client:
        thread_id = await new_thread(client)
        path = "/runs/wait" if stateless else f"/threads/{thread_id}/runs/wait"
        first = await client.post(path, json=ask(graph), headers=KEY)
        await client.post(path, json=ask("echo", "later"))
        again = await client.post(path, json=ask(graph), headers=KEY)
    assert again.json() == first.json()
    assert ("__error__" in again.json()) is (graph == "failing")


@pytest.mark.parametrize("stateless", [True, False])
async def test_a_repeated_stream_has_everything_from_the_start(
    tmp_path: Path, stateless: bool
) -> None:
    async with open_client(tmp_path, "echo") as client:
        thread_id = await new_thread(client)
        path = "/runs/stream" if stateless else f"/threads/{thread_id}/runs/stream"
        first = parts_of((await client.post(path, json=ask(), headers=KEY)).text)
        again = parts_of((await client.post(path, json=ask(), headers=KEY)).text)
        seen = {**KEY, "last-event-id": str(first[1].id)}
        rest = parts_of((await client.post(path, json=ask(), headers=seen)).text)
    assert [(part.event, part.data) for part in again] == [
        (part.event, part.data) for part in first
    ]
    assert [part.event for part in rest] == [part.event for part in first[2:]]


async def test_another_request_with_the_same_key_is_refused(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo") as client:
        await client.post("/runs", json=ask(), headers=KEY)
        refused = [
            await client.post("/runs", json=ask(text="y"), headers=KEY),
            await client.post("/runs/wait", json=ask(), headers=KEY),
            await client.post("/threads", json={}, headers=KEY),
        ]
        spaced = await client.post(
            "/runs",
            content=b'{"input": {"text":  "x"}, "assistant_id":"echo"}',
            headers={**KEY, "content-type": "application/json"},
        )
    assert [answer.status_code for answer in refused] == [422] * 3
    assert "Idempotency-Key" in refused[0].json()["detail"]
    assert spaced.status_code == 200  # the same request, written in another way


async def test_while_the_first_is_not_answered_the_second_is_told_to_come_back(
    tmp_path: Path,
) -> None:
    async with open_client(tmp_path, "echo") as client:
        asked = [client.post("/runs", json=ask(), headers=KEY) for _ in range(2)]
        answers = sorted(await asyncio.gather(*asked), key=lambda answer: answer.status_code)
    assert [answer.status_code for answer in answers] == [200, 409]
    assert answers[1].headers["content-type"] == PROBLEM
    assert int(answers[1].headers["retry-after"]) >= 1


@pytest.mark.parametrize("method", ["run.start", "state.fork"])
async def test_a_command_that_makes_a_run_makes_one(tmp_path: Path, method: str) -> None:
    async with open_client(tmp_path, "echo") as client:
        thread_id = await new_thread(client)
        await client.post(f"/threads/{thread_id}/runs/wait", json=ask())
        state = (await client.get(f"/threads/{thread_id}/state")).json()
        where = {"checkpoint_id": state["checkpoint"]["checkpoint_id"]}
        command = {"id": 7, "method": method, "params": ask() if method == "run.start" else where}
        path = f"/threads/{thread_id}/commands"
        first = await client.post(path, json=command, headers=KEY)
        await client.get(f"/threads/{thread_id}/runs/{first.json()['result']['run_id']}/join")
        again = await client.post(path, json=command, headers=KEY)
        assert await runs_of(client, thread_id) == 2
        other = await client.post(path, json={**command, "id": 8}, headers=KEY)
    assert (first.status_code, again.status_code, again.content) == (200, 200, first.content)
    assert first.json()["meta"]["applied_through_seq"] >= 0
    assert (other.status_code, other.json()["error"]) == (400, "invalid_argument")


async def test_a_command_that_looks_is_done_whatever_its_key(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo") as client:
        thread_id = await new_thread(client)
        command = {"id": 7, "method": "state.get", "params": {}}
        seen = []
        for _ in range(2):
            found = await client.post(f"/threads/{thread_id}/commands", json=command, headers=KEY)
            seen.append(found.json()["result"]["values"])
            await client.post(f"/threads/{thread_id}/runs/wait", json=ask())
    assert seen[0] != seen[1]


@pytest.mark.parametrize("key", ["", "x" * 256, '""', "a\tb", "a\x7fb", "a\x80b", "x" * 10_000])
async def test_a_key_that_is_none_is_refused(tmp_path: Path, key: str) -> None:
    async with open_client(tmp_path, "echo") as client:
        headers = {b"idempotency-key": key.encode("latin-1")}
        answer = await client.post("/runs", json=ask(), headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (400, PROBLEM)


async def test_a_refused_request_leaves_no_key(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo") as client:
        refused = await client.post("/assistants", json={"graph_id": "nothing"}, headers=KEY)
        made = await client.post("/assistants", json={"graph_id": "echo"}, headers=KEY)
    assert (refused.status_code, made.status_code) == (404, 200)


async def test_a_thread_with_a_history_is_answered_again_whole_or_not_at_all(
    tmp_path: Path,
) -> None:
    def asked(node: str) -> dict[str, Any]:
        steps = [{"updates": [{"values": {"text": "before"}, "as_node": node}]}]
        return {"metadata": {"graph_id": "echo"}, "supersteps": steps}

    async with open_client(tmp_path, "echo") as client:
        refused = [
            await client.post("/threads", json=asked("nothing"), headers=KEY) for _ in range(2)
        ]
        made = [await client.post("/threads", json=asked("echo"), headers=KEY) for _ in range(2)]
    assert [answer.status_code for answer in refused] == [409, 409]
    assert made[0].json()["values"]["text"] == "before"
    assert made[1].json() == made[0].json()


async def test_a_key_outlives_a_restart(tmp_path: Path) -> None:
    body = ask("holder", "restarted with a key")
    async with (
        open_play(tmp_path, "holder", drain_grace=0.01) as service,
        client_of(service.app) as client,
    ):
        first = await client.post("/runs", json={**body, "durability": "sync"}, headers=KEY)
        await service.loop.drain()
    plays.gates["restarted with a key"].opened.set()
    async with open_client(tmp_path, "holder") as client:
        again = await client.post("/runs", json={**body, "durability": "sync"}, headers=KEY)
    assert again.json() == first.json()
