"""API keys over HTTP: who is let in, and as far as what."""

import asyncio
from datetime import timedelta
from pathlib import Path
from time import time
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedError

from operations.clock import utc_now
from operations.keys import KeyFolder, KeyScope
from orchestration.api.access import Principal
from orchestration.api.auth.builtin import BuiltIn
from orchestration.graphs.users import User
from tests.api.client import PROBLEM, new_thread, open_client, open_play, open_socket, serving
from tests.api.plays import gates


def _key(folder: Path, owner: str, scope: KeyScope = "run") -> dict[str, str]:
    return {"x-api-key": KeyFolder(folder / "data").create(owner, scope)[1]}


async def test_a_key_opens_the_service_in_either_header(tmp_path: Path) -> None:
    alice = _key(tmp_path, "alice")
    async with open_client(tmp_path, "echo") as client:
        bearer = {"authorization": f"Bearer {alice['x-api-key']}", "x-api-key": "lsv2_pt_other"}
        assert (await client.post("/threads", headers=alice)).status_code == 200
        assert (await client.post("/threads", headers=bearer)).status_code == 200


@pytest.mark.parametrize("how", ["nothing", "query", "cut", "case", "other"])
async def test_without_a_key_there_is_nothing(tmp_path: Path, how: str) -> None:
    token = _key(tmp_path, "alice")["x-api-key"]
    options: dict[str, Any] = {
        "nothing": {},
        "query": {"params": {"x-api-key": token, "api_key": token}},
        "cut": {"headers": {"x-api-key": token[:-1]}},
        "case": {"headers": {"x-api-key": token.swapcase()}},
        "other": {"headers": {"authorization": f"Basic {token}"}},
    }
    async with open_client(tmp_path, "echo") as client:
        answer = await client.post("/threads", **options[how])
        assert (answer.status_code, answer.headers["content-type"]) == (401, PROBLEM)
        assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_a_revoked_key_is_none_at_once(tmp_path: Path) -> None:
    key, token = KeyFolder(tmp_path / "data").create("alice", "run")
    async with open_client(tmp_path, "echo") as client:
        assert (await client.post("/threads", headers={"x-api-key": token})).is_success
        KeyFolder(tmp_path / "data").revoke(key.key_id)
        assert (await client.post("/threads", headers={"x-api-key": token})).status_code == 401


@pytest.mark.parametrize("what", ["operations", "thread", "events"])
async def test_what_has_no_end_ends_once_its_key_is_revoked(tmp_path: Path, what: str) -> None:
    keys = KeyFolder(tmp_path / "data")
    key, token = keys.create("alice", "admin")
    async with open_socket(tmp_path, "echo", keep_alive=0.05) as (_, client):
        client.headers["x-api-key"] = token
        thread = await new_thread(client)
        streams: dict[str, Any] = {
            "operations": client.stream("GET", "/ops/stream"),
            "thread": client.stream("GET", f"/threads/{thread}/stream"),
            "events": client.stream(
                "POST", f"/threads/{thread}/stream/events", json={"channels": ["values"]}
            ),
        }
        async with asyncio.timeout(15), streams[what] as response:
            lines = response.aiter_lines()
            assert await anext(lines)
            keys.revoke(key.key_id)
            assert "event: shutdown" not in [line async for line in lines]
        assert response.status_code == 200


async def test_a_websocket_ends_once_its_key_is_revoked(tmp_path: Path) -> None:
    keys = KeyFolder(tmp_path / "data")
    key, token = keys.create("alice", "admin")
    async with (
        open_play(tmp_path, "echo", keep_alive=0.05) as service,
        serving(service.app) as (host, port),
        asyncio.timeout(15),
        connect(
            f"ws://{host}:{port}/ops/stream", additional_headers={"x-api-key": token}
        ) as socket,
    ):
        await socket.recv()
        keys.revoke(key.key_id)
        with pytest.raises(ConnectionClosedError):
            async for _ in socket:
                pass
        assert socket.close_code == 1008


async def test_a_key_is_known_until_its_time_is_over(tmp_path: Path) -> None:
    keys = KeyFolder(tmp_path)
    authority = BuiltIn(keys, None)
    for hours, known in ((1, True), (-1, False)):
        key, _ = keys.create("alice", "run", utc_now() + timedelta(hours=hours))
        user = User(identity="alice", key_id=key.key_id)
        assert authority.knows(Principal(identity="alice", user=user)) is known


async def test_a_token_is_known_until_its_time_is_over(tmp_path: Path) -> None:
    authority = BuiltIn(KeyFolder(tmp_path), None)
    for exp, known in ((time() - 20, True), (time() - 40, False)):  # clocks may differ
        user = User(identity="alice", claims={"exp": int(exp)})
        assert authority.knows(Principal(identity="alice", user=user)) is known


async def test_scopes_say_how_far_a_key_goes(tmp_path: Path) -> None:
    read, run, admin = (_key(tmp_path, "alice", scope) for scope in ("read", "run", "admin"))
    async with open_client(tmp_path, "echo") as client:
        thread = (await client.post("/threads", headers=run)).json()["thread_id"]
        body = {"assistant_id": "echo", "input": {"text": 1}}
        item = {"namespace": ["n"], "key": "k", "value": {}}
        made = {"graph_id": "echo"}
        wanted = [
            (read, (200, 403, 403, 403)),
            (run, (200, 200, 204, 403)),
            (admin, (200, 200, 204, 200)),
        ]
        for key, statuses in wanted:
            got = (
                (await client.get(f"/threads/{thread}", headers=key)).status_code,
                (await client.post("/runs/wait", headers=key, json=body)).status_code,
                (await client.put("/store/items", headers=key, json=item)).status_code,
                (await client.post("/assistants", headers=key, json=made)).status_code,
            )
            assert got == statuses
        refused = await client.post("/threads", headers=read)
        assert 'error="insufficient_scope", scope="run"' in refused.headers["www-authenticate"]
        assert "takes the scope 'run'" in refused.json()["detail"]


async def test_keys_of_one_owner_share_and_an_admin_sees_all(tmp_path: Path) -> None:
    alice, too, bob, admin = (
        _key(tmp_path, "alice"),
        _key(tmp_path, "alice", "read"),
        _key(tmp_path, "bob"),
        _key(tmp_path, "root", "admin"),
    )
    async with open_client(tmp_path, "echo") as client:
        thread = (await client.post("/threads", headers=alice)).json()
        path = f"/threads/{thread['thread_id']}"
        seen = [(await client.get(path, headers=key)).status_code for key in (too, bob, admin)]
        assert seen == [200, 404, 200]
        counts = [
            (await client.post("/threads/count", headers=k)).json() for k in (too, bob, admin)
        ]
        assert counts == [1, 0, 1]
        body = {"metadata": {"owner": "bob"}}
        assert (await client.patch(path, headers=alice, json=body)).json()["metadata"] == {
            "owner": "alice"
        }
        assert (await client.patch(path, headers=admin, json=body)).json()["metadata"] == {
            "owner": "bob"
        }
        assert (await client.get(path, headers=bob)).status_code == 200


async def test_items_of_owners_are_apart_in_graphs_too(tmp_path: Path) -> None:
    alice, bob = _key(tmp_path, "alice.a@example.com"), _key(tmp_path, "bob")
    async with open_client(tmp_path, "noting") as client:
        run = {"assistant_id": "noting", "input": {"text": "hers"}}
        await client.post("/runs/wait", headers=alice, json=run)
        where = {"namespace": "notes", "key": "latest"}
        mine = (await client.get("/store/items", headers=alice, params=where)).json()
        assert (mine["namespace"], mine["value"]) == (["notes"], {"text": "hers"})
        assert (await client.get("/store/items", headers=bob, params=where)).json() is None
        everything = await client.post("/store/items/search", headers=bob)
        assert everything.json() == {"items": []}


async def test_who_may_only_look_stops_no_run_by_going_away(tmp_path: Path) -> None:
    read, run = (_key(tmp_path, "alice", scope) for scope in ("read", "run"))
    async with open_client(tmp_path, "holder") as client:
        thread = await client.post("/threads", headers=run)
        path = f"/threads/{thread.json()['thread_id']}/runs"
        body = {"assistant_id": "holder", "input": {"text": "looked at"}}
        made = (await client.post(path, headers=run, json=body)).json()["run_id"]
        places = (f"{path}/{made}/join", f"{path}/{made}/stream", f"/runs/{made}/stream")
        query = {"cancel_on_disconnect": "true"}
        refused = [await client.get(place, headers=read, params=query) for place in places]
        gates["looked at"].opened.set()
        joined = await client.get(places[0], headers=run, params=query)
    assert [answer.status_code for answer in refused] == [403] * 3
    assert joined.status_code == 200


async def test_an_admin_who_changes_a_cron_leaves_it_to_its_owner(tmp_path: Path) -> None:
    alice, bob, admin = _key(tmp_path, "alice"), _key(tmp_path, "bob"), _key(tmp_path, "x", "admin")
    async with open_client(tmp_path, "echo") as client:
        body = {"assistant_id": "echo", "schedule": "0 0 1 1 *", "metadata": {"old": 1}}
        cron = (await client.post("/runs/crons", headers=alice, json=body)).json()
        path = f"/runs/crons/{cron['cron_id']}"
        await client.patch(path, headers=admin, json={"metadata": {"new": 1}})
        seen = await client.get(path, headers=alice)
        await client.patch(path, headers=admin, json={"metadata": {"owner": "bob"}})
        given = [(await client.get(path, headers=key)).status_code for key in (alice, bob)]
    assert seen.json()["metadata"] == {"owner": "alice", "new": 1}
    assert given == [404, 200]


async def test_the_cron_of_an_admin_stays_theirs_when_another_changes_it(tmp_path: Path) -> None:
    root, other = (_key(tmp_path, name, "admin") for name in ("root", "other"))
    async with open_client(tmp_path, "echo") as client:
        cron = {"assistant_id": "echo", "schedule": "0 0 1 1 *"}
        made = (await client.post("/runs/crons", headers=root, json=cron)).json()
        path = f"/runs/crons/{made['cron_id']}"
        changed = await client.patch(path, headers=other, json={"metadata": {"new": 1}})
    assert changed.json()["metadata"] == {"new": 1, "owner": "root"}


async def test_a_change_of_a_cron_that_names_no_metadata_leaves_them(tmp_path: Path) -> None:
    keys = [_key(tmp_path, "alice"), _key(tmp_path, "root", "admin")]
    async with open_client(tmp_path, "echo") as client:
        body = {"assistant_id": "echo", "schedule": "0 0 1 1 *", "metadata": {"team": "x"}}
        cron = (await client.post("/runs/crons", headers=keys[0], json=body)).json()
        path = f"/runs/crons/{cron['cron_id']}"
        left = [
            (await client.patch(path, headers=key, json={"enabled": False})).json()["metadata"]
            for key in keys
        ]
    assert left == [{"team": "x", "owner": "alice"}] * 2
