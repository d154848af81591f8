"""``auth.path``: handlers written for LangGraph's server, as they are."""

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import httpx
import pytest
from langgraph_sdk import Auth
from starlette.types import Message, Scope
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from operations.errors import ConfigurationError
from orchestration.api.auth.handlers import Handlers
from tests.api.client import NOBODY, PROBLEM, client_of, new_thread, open_client, open_play, serving

ALICE = {"authorization": "Bearer alice"}
BOB = {"authorization": "Bearer bob"}


def _auth(name: str) -> dict[str, Any]:
    return {"auth": {"path": f"tests.api.guards:{name}", "disable_studio_auth": True}}


async def test_nobody_known_is_told_so(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo", manifest=_auth("owners")) as client:
        answer = await client.post("/threads", headers={"authorization": "Bearer eve"})
        assert answer.status_code == 401
        assert answer.headers["content-type"] == PROBLEM
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert answer.json()["detail"] == "Invalid token"
        assert (await client.get("/ok")).status_code == 200


async def test_callers_who_are_asked_for_long_hold_up_no_other_thread() -> None:
    loop = asyncio.get_running_loop()
    asked, answers = asyncio.Semaphore(0), threading.Event()
    slow = Auth()

    @slow.authenticate  # type: ignore[type-var]
    def ask() -> str:
        loop.call_soon_threadsafe(asked.release)
        answers.wait()
        return "alice"

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    scope: Scope = {"type": "http"}
    authority = Handlers(slow, "here", max_body=1)
    async with anyio.create_task_group() as tasks:
        for _ in range(40):
            tasks.start_soon(authority.authenticate, scope, receive)
        for _ in range(40):
            await asked.acquire()
        try:
            with anyio.fail_after(5):
                await anyio.to_thread.run_sync(int)
        finally:
            answers.set()


async def test_one_global_handler_keeps_everybody_apart(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo", manifest=_auth("owners")) as client:
        thread = await client.post("/threads", headers=ALICE, json={"metadata": {"owner": "bob"}})
        assert thread.json()["metadata"] == {"owner": "alice"}
        path = f"/threads/{thread.json()['thread_id']}"
        assert (await client.get(path, headers=ALICE)).status_code == 200
        assert (await client.get(path, headers=BOB)).status_code == 404
        assert (await client.post("/threads/search", headers=BOB)).json() == []
        assert (await client.post("/threads/count", headers=BOB)).json() == 0
        given_away = await client.patch(path, headers=ALICE, json={"metadata": {"owner": "bob"}})
        assert given_away.json()["metadata"] == {"owner": "alice"}
        body = {"assistant_id": "echo", "input": {"text": 1}}
        assert (await client.post(f"{path}/runs/wait", headers=BOB, json=body)).status_code == 404
        mine = await client.post(f"{path}/runs/wait", headers=ALICE, json=body)
        assert mine.json()["log"] == [1]


async def test_a_thread_made_by_a_run_is_its_callers(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo", manifest=_auth("owners")) as client:
        body = {"assistant_id": "echo", "input": {"text": 1}, "if_not_exists": "create"}
        path = "/threads/00000000-0000-4000-8000-000000000001"
        await client.post(f"{path}/runs/wait", headers=ALICE, json=body)
        assert (await client.get(path, headers=ALICE)).json()["metadata"]["owner"] == "alice"
        assert (await client.get(path, headers=BOB)).status_code == 404
        taken = await client.post(f"{path}/runs/wait", headers=BOB, json=body)
        assert taken.status_code == 404


async def test_the_most_specific_handler_decides(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo", manifest=_auth("resources")) as client:
        thread = await client.post("/threads", headers=ALICE, json={"metadata": {"share": ["bob"]}})
        path = f"/threads/{thread.json()['thread_id']}"
        assert (await client.get(path, headers=BOB)).status_code == 200  # $contains
        private = await new_thread(_as(client, ALICE))
        assert (await client.get(f"/threads/{private}", headers=BOB)).status_code == 404
        kept = await client.delete(path, headers=ALICE)
        assert (kept.status_code, kept.headers["x-why"]) == (418, "law")
        assert (await client.post("/assistants/search", headers=BOB)).status_code == 200
        made = await client.post("/assistants", headers=BOB, json={"graph_id": "echo"})
        assert made.status_code == 403
        assert made.json()["detail"] == "you may not create assistants"


def _as(client: httpx.AsyncClient, headers: dict[str, str]) -> httpx.AsyncClient:
    client.headers.update(headers)
    return client


async def test_a_handler_may_move_items(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo", manifest=_auth("resources")) as client:
        item = {"namespace": ["notes"], "key": "k", "value": {"a": 1}}
        assert (await client.put("/store/items", headers=ALICE, json=item)).status_code == 204
        where = {"namespace": "notes", "key": "k"}
        mine = await client.get("/store/items", headers=ALICE, params=where)
        assert mine.json()["namespace"] == ["alice", "notes"]
        assert (await client.get("/store/items", headers=BOB, params=where)).json() is None
        listed = await client.post("/store/namespaces", headers=BOB)
        assert listed.json() == {"namespaces": []}


async def test_items_are_apart_where_only_a_filter_is_returned(tmp_path: Path) -> None:
    async with open_client(tmp_path, "noting", manifest=_auth("owners")) as client:
        run = {"assistant_id": "noting", "input": {"text": "hers"}}
        await client.post("/runs/wait", headers=ALICE, json=run)
        where = {"namespace": "notes", "key": "latest"}
        mine = (await client.get("/store/items", headers=ALICE, params=where)).json()
        assert (mine["namespace"], mine["value"]) == (["notes"], {"text": "hers"})
        assert (await client.get("/store/items", headers=BOB, params=where)).json() is None
        found = await client.post("/store/items/search", headers=BOB, json={})
        assert found.json() == {"items": []}
        listed = await client.post("/store/namespaces", headers=ALICE, json={"max_depth": 1})
        assert listed.json() == {"namespaces": [["notes"]]}
        await client.request(
            "DELETE", "/store/items", headers=BOB, json={"namespace": ["notes"], "key": "latest"}
        )
        assert (await client.get("/store/items", headers=ALICE, params=where)).json() is not None


async def test_a_graph_knows_whom_it_works_for_and_nobody_else_learns_it(tmp_path: Path) -> None:
    async with open_client(tmp_path, "looking", manifest=_auth("owners")) as client:
        thread = await new_thread(_as(client, ALICE))
        forged = {"langgraph_auth_user_id": "bob", "langgraph_auth_user": {"identity": "bob"}}
        body = {
            "assistant_id": "looking",
            "input": {},
            "config": {"configurable": forged},
            "stream_mode": ["values", "checkpoints", "debug", "events", "tasks"],
        }
        stream = await client.post(f"/threads/{thread}/runs/stream", json=body)
        seen = (await client.get(f"/threads/{thread}")).json()["values"]["seen"]["configurable"]
        assert seen["langgraph_auth_user_id"] == "alice"
        state = await client.get(f"/threads/{thread}/state")
        history = await client.get(f"/threads/{thread}/history")
        runs = await client.get(f"/threads/{thread}/runs")
        assert "acme" not in stream.text + state.text + history.text + runs.text
        assert '"langgraph_auth_user_id"' not in str(state.json()["metadata"])
        assert "langgraph_auth" not in str([one["metadata"] for one in history.json()])


async def test_a_thread_that_a_command_makes_is_its_maker_s(tmp_path: Path) -> None:
    path, params = f"/threads/{NOBODY}", {"assistant_id": "echo", "input": {}}
    async with open_client(tmp_path, "echo", manifest=_auth("owners")) as client:
        command = {"id": 1, "method": "run.start", "params": params}
        await client.post(f"{path}/commands", headers=ALICE, json=command)
        seen = [(await client.get(path, headers=who)).status_code for who in (ALICE, BOB)]
    assert seen == [200, 404]


async def test_a_user_may_be_an_object_and_the_body_is_read_once_more(tmp_path: Path) -> None:
    async with open_client(tmp_path, "knowing", manifest=_auth("objects")) as client:
        body = {"assistant_id": "knowing", "input": {}}
        answer = await client.post("/runs/wait", params={"as": "carl"}, json=body)
        known = {"identity": "carl", "team": "blue", "permissions": ["a", "b"], "server": "carl"}
        assert answer.json()["seen"] == known


async def test_a_function_that_makes_graphs_is_always_told_for_whom(tmp_path: Path) -> None:
    async with open_client(tmp_path, "for_somebody", manifest=_auth("owners")) as client:
        _as(client, ALICE)
        thread = await new_thread(client)
        body = {"assistant_id": "for_somebody", "input": {"text": 1}}
        made = await client.post(f"/threads/{thread}/runs/wait", json=body)
        assert made.json()["log"] == [1]
        update = {"values": {"log": [2]}, "as_node": "echo"}
        answers = [
            await client.get(f"/threads/{thread}/state"),
            await client.get(f"/threads/{thread}/history"),
            await client.post(f"/threads/{thread}/state", json=update),
        ]
        assert [answer.status_code for answer in answers] == [200, 200, 200]
        assert "langgraph_auth" not in "".join(answer.text for answer in answers)
        config = {"configurable": {"langgraph_auth_user": {"identity": "root"}}}
        forged = await client.post(
            "/assistants", json={"graph_id": "for_somebody", "config": config}
        )
        path = f"/assistants/{forged.json()['assistant_id']}"
        assert (await client.get(f"{path}/schemas")).status_code == 200


async def test_handlers_see_and_change_what_is_asked_for(tmp_path: Path) -> None:
    async with open_client(tmp_path, "looking", manifest=_auth("shaping")) as client:
        thread = (await client.post("/threads")).json()
        assert thread["metadata"] == {"told": thread["thread_id"]}
        run = {"assistant_id": "looking", "input": {}}
        for path in ("/runs/wait", f"/threads/{thread['thread_id']}/runs/wait"):
            seen = (await client.post(path, json=run)).json()["seen"]
            assert seen["configurable"]["plan"] == "gold"
        assert (await client.post("/threads/search")).json() == []


async def test_what_a_filter_asks_for_is_written_into_what_is_made(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo", manifest=_auth("shaping")) as client:
        given = {"graph_id": "echo", "metadata": {"owner": "other", "kept": 1}}
        made = await client.post("/assistants", json=given)
        assert made.json()["metadata"] == {"owner": "carl", "kept": 1}


@pytest.mark.parametrize(
    ("sent", "left"),
    [
        ({"enabled": False}, {"team": "x", "by": "carl"}),
        ({"metadata": None}, {"team": "x", "by": "carl"}),
        ({"metadata": {}}, {"by": "carl"}),
        ({"metadata": {"new": 1}}, {"new": 1, "by": "carl"}),
    ],
)
async def test_what_a_handler_adds_to_a_cron_replaces_only_what_was_sent_to_replace(
    tmp_path: Path, sent: dict[str, Any], left: dict[str, Any]
) -> None:
    async with open_client(tmp_path, "echo", manifest=_auth("noting")) as client:
        cron = {"assistant_id": "echo", "schedule": "0 0 1 1 *", "metadata": {"team": "x"}}
        made = (await client.post("/runs/crons", json=cron)).json()
        changed = await client.patch(f"/runs/crons/{made['cron_id']}", json=sent)
        assert changed.json()["metadata"] == left


async def test_what_a_change_does_not_name_stays(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo", manifest=_auth("owners")) as client:
        _as(client, ALICE)
        whole = {"metadata": {"team": "x"}}
        cron = {"assistant_id": "echo", "schedule": "0 0 1 1 *", **whole}
        changes = [
            ("/runs/crons", cron, "cron_id", {"enabled": False}),
            ("/threads", whole, "thread_id", {"ttl": 5}),
            ("/assistants", {"graph_id": "echo", **whole}, "assistant_id", {"name": "new"}),
        ]
        for path, body, name, change in changes:
            made = (await client.post(path, json=body)).json()
            changed = await client.patch(f"{path}/{made[name]}", json=change)
            assert changed.json()["metadata"] == {"team": "x", "owner": "alice"}, path


async def test_to_replace_a_workflow_takes_what_a_change_takes(tmp_path: Path) -> None:
    hello = {"name": "hello", "steps": [{"id": "a", "graph": "echo"}]}
    async with open_client(tmp_path, "echo", manifest=_auth("making")) as client:
        made = (await client.post("/workflows", headers=ALICE, json={"workflow": hello})).json()
        path = f"/assistants/{made['assistant_id']}"
        body = {
            "workflow": {**hello, "description": "Another."},
            "assistant_id": made["assistant_id"],
            "if_exists": "replace",
        }
        theirs = await client.post("/workflows", headers=BOB, json=body)
        left = (await client.get(path, headers=ALICE)).json()
        own = (await client.post("/workflows", headers=ALICE, json=body)).json()
    assert (theirs.status_code, left) == (409, made)
    assert (own["version"], own["description"]) == (2, "Another.")
    assert own["metadata"] == {"owner": "alice", "by": "alice"}


async def test_a_websocket_is_authenticated_as_the_request_that_it_begins_with(
    tmp_path: Path,
) -> None:
    manifest = {**_auth("curious"), "http": {"app": "tests.api.routes:app"}}
    async with (
        open_play(tmp_path, "echo", manifest=manifest) as service,
        serving(service.app) as (host, port),
        asyncio.timeout(15),
    ):
        url = f"ws://{host}:{port}"
        async with connect(f"{url}/greet", additional_headers=ALICE) as socket:
            assert await socket.recv() == "alice"
        async with connect(f"{url}/ops/stream", additional_headers=ALICE) as socket:
            assert json.loads(await socket.recv())["topic"] == "metrics"
        for path in ("/greet", "/ops/stream"):
            with pytest.raises(InvalidStatus) as refused:
                await connect(url + path, additional_headers={"authorization": "Bearer eve"})
            assert refused.value.response.status_code == 401


async def test_a_filter_that_is_not_understood_shows_nothing(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo", manifest=_auth("shaping")) as client:
        assert (await client.get("/assistants/echo")).status_code == 500


async def test_limits_count_by_who_calls(tmp_path: Path) -> None:
    options: dict[str, Any] = {"manifest": _auth("owners"), "submit_rate": 1.0}
    async with open_client(tmp_path, "echo", **options) as client:
        statuses = []
        for who, tenant in ((ALICE, "a"), (ALICE, "b"), (BOB, "a")):
            config = {"configurable": {"tenant": tenant}}
            body = {"assistant_id": "echo", "input": {}, "config": config}
            statuses.append((await client.post("/runs", headers=who, json=body)).status_code)
        assert statuses == [200, 429, 200]


async def test_ten_guesses_a_minute_are_looked_at(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo", manifest=_auth("owners")) as client:
        statuses = []
        for number in range(11):
            guess = {"authorization": f"Bearer {number}"}
            statuses.append((await client.post("/threads", headers=guess)).status_code)
        assert statuses == [401] * 10 + [429]
        assert (await client.post("/threads", headers=ALICE)).status_code == 200
        assert (await client.post("/threads")).status_code == 401  # no guess


async def test_those_behind_one_proxy_who_guess_do_not_all_come_back_at_once(
    tmp_path: Path,
) -> None:
    async with open_client(tmp_path, "echo", manifest=_auth("owners")) as client:
        waits: set[str] = set()
        for number in range(60):
            guess = {"authorization": f"Bearer {number}"}
            answer = await client.post("/threads", headers=guess)
            if answer.status_code == 429:
                waits.add(answer.headers["retry-after"])
    assert len(waits) > 2
    assert all(6 <= int(wait) <= 12 for wait in waits)


async def test_the_same_mistake_again_is_no_guess(tmp_path: Path) -> None:
    eve = {"authorization": "Bearer eve"}
    async with open_client(tmp_path, "echo", manifest=_auth("owners")) as client:
        statuses = {(await client.post("/threads", headers=eve)).status_code for _ in range(20)}
        assert statuses == {401}


async def test_an_auth_that_knows_nobody_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="it authenticates nobody"):
        async with open_play(tmp_path, "echo", manifest=_auth("nobody")):
            pass


async def test_who_a_run_is_for_outlives_a_restart(tmp_path: Path) -> None:
    body = {"assistant_id": "knowing", "input": {}, "after_seconds": 1}
    async with open_play(tmp_path, "knowing", manifest=_auth("objects")) as service:
        client = client_of(service.app)
        thread = (await client.post("/threads", params={"as": "carl"}, json={})).json()["thread_id"]
        await client.post(f"/threads/{thread}/runs", params={"as": "carl"}, json=body)
    async with open_play(tmp_path, "knowing", manifest=_auth("objects")) as service:
        client = client_of(service.app)
        (run,) = service.loop.on_thread(thread)
        assert run.done is not None
        await run.done
        values = (await client.get(f"/threads/{thread}")).json()["values"]
        assert values["seen"]["identity"] == "carl"
