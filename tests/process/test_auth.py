"""Who calls, asked by a real server: inputs 24, 25, 26, 35, 36 and 37 of the security notes."""

import asyncio
import base64
import contextlib
import json
import os
import socket
import subprocess
import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from langgraph_sdk import get_sync_client

from tests.api.issuer import AUDIENCE, open_issuer
from tests.process.server import MASTERLOOP, Server

PROBLEM = "application/problem+json"
ABSENT = "00000000-0000-4000-8000-000000000000"
LIVE_LIMIT = 0.1  # seconds


def manifest(folder: Path, **more: Any) -> Path:
    graphs = {name: f"tests.api.plays:{name}" for name in ("echo", "looking", "noting")}
    file = folder / "langgraph.json"
    file.write_text(json.dumps({"graphs": graphs, **more}))
    return file


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with closing(Server(tmp_path, manifest(tmp_path, http={"app": "tests.api.routes:app"}))) as one:
        yield one


def keys(server: Server, *arguments: str) -> str:
    """Run ``masterloop keys`` on the server's data, whether it runs or not."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MASTERLOOP_")}
    done = subprocess.run(
        [str(MASTERLOOP), "keys", *arguments],
        env={**environment, "MASTERLOOP_DATA_DIR": str(server.data)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def key(server: Server, owner: str, scope: str = "run") -> dict[str, str]:
    return {"x-api-key": keys(server, "create", "--owner", owner, "--scope", scope)}


def refused(answer: httpx.Response, *statuses: int) -> None:
    assert answer.status_code in statuses, answer.text
    assert answer.headers["content-type"] == PROBLEM


def alive(server: Server) -> None:
    """Check that the server answers at once, nobody's key needed."""
    took: list[float] = []
    for _ in range(9):
        began = time.monotonic()
        assert server.http.get("/livez").is_success
        took.append(time.monotonic() - began)
    # Others share this machine: what counts is that most answers come at once.
    assert sorted(took)[len(took) // 2] < LIVE_LIMIT


def test_keys_are_made_and_revoked_beside_a_running_server(server: Server) -> None:
    first = key(server, "alice")
    server.start()
    refused(server.http.post("/threads", json={}), 401)
    assert server.http.post("/threads", headers=first, json={}).is_success
    second = key(server, "bob")
    assert server.http.post("/threads", headers=second, json={}).is_success
    entries = json.loads(keys(server, "ls", "--json"))
    assert [(entry["owner"], entry["last_used_at"] is not None) for entry in entries] == [
        ("alice", True),
        ("bob", True),
    ]
    keys(server, "revoke", entries[1]["key_id"])
    refused(server.http.post("/threads", headers=second, json={}), 401)
    assert server.http.post("/threads", headers=first, json={}).is_success


def test_the_sdk_sends_a_key_by_itself(server: Server) -> None:
    token = key(server, "alice")["x-api-key"]
    server.start()
    with get_sync_client(url=server.url, api_key=token) as client:
        thread = client.threads.create(metadata={"topic": "a"})
        assert thread["metadata"] == {"topic": "a", "owner": "alice"}
        values = client.runs.wait(thread["thread_id"], "echo", input={"text": "hello"})
        assert isinstance(values, dict)
        assert values["log"] == ["hello"]
        assert client.threads.count() == 1


def test_24_what_is_foreign_is_as_absent(server: Server) -> None:
    alice, bob = key(server, "alice"), key(server, "bob")
    server.start()
    body = {"assistant_id": "echo", "input": {"text": "hers"}}
    thread = server.http.post("/threads", headers=alice, json={}).json()["thread_id"]
    server.http.post(f"/threads/{thread}/runs/wait", headers=alice, json=body)
    (run,) = server.http.get(f"/threads/{thread}/runs", headers=alice).json()
    cron = server.http.post(
        "/runs/crons", headers=alice, json={"assistant_id": "echo", "schedule": "0 0 1 1 *"}
    ).json()["cron_id"]
    places = [
        ("/threads/{}", thread),
        ("/threads/{}/state", thread),
        ("/threads/{}/history", thread),
        (f"/threads/{thread}/runs/{{}}", run["run_id"]),
        ("/runs/crons/{}", cron),
    ]
    for place, one in places:
        for method in ("GET", "PATCH", "DELETE"):
            options: dict[str, Any] = {"headers": bob, "json": {} if method == "PATCH" else None}
            foreign = server.http.request(method, place.format(one), **options)
            absent = server.http.request(method, place.format(ABSENT), **options)
            assert (foreign.status_code, foreign.headers["content-type"]) == (
                absent.status_code,
                absent.headers["content-type"],
            ), (method, place)
            assert foreign.status_code in {404, 405}
            said = foreign.json()["detail"].replace(one, ABSENT)
            assert said == absent.json()["detail"].replace(thread, ABSENT) or thread in place
    assert server.http.get(f"/threads/{thread}", headers=alice).is_success
    alive(server)


def test_25_namespaces_reach_nobody_elses_items(server: Server) -> None:
    alice, bob = key(server, "alice"), key(server, "bob")
    server.start()
    item = {"namespace": ["users", "alice"], "key": "k", "value": {"text": "hers"}}
    assert server.http.put("/store/items", headers=alice, json=item).status_code == 204
    for prefix in (["users", "alice"], [], ["users"], ["masterloop-owner", "alice"]):
        found = server.http.post(
            "/store/items/search", headers=bob, json={"namespace_prefix": prefix}
        )
        assert found.json() == {"items": []}
        listed = server.http.post("/store/namespaces", headers=bob, json={"prefix": prefix})
        assert listed.json() == {"namespaces": []}
    for odd in (["..", "alice"], [".."], ["*"], ["a.b"]):
        answer = server.http.post(
            "/store/items/search", headers=bob, json={"namespace_prefix": odd}
        )
        assert answer.status_code == 422 or answer.json() == {"items": []}
    mine = server.http.post("/store/items/search", headers=alice, json={}).json()["items"]
    assert [(one["namespace"], one["value"]) for one in mine] == [
        (["users", "alice"], {"text": "hers"})
    ]


def test_26_a_client_cannot_say_who_it_is(server: Server) -> None:
    alice = key(server, "alice")
    server.start()
    forged = {
        "langgraph_auth_user": {"identity": "root"},
        "langgraph_auth_user_id": "root",
        "langgraph_auth_permissions": ["admin"],
        "thread_id": ABSENT,
        "checkpoint_id": ABSENT,
        "__pregel_resuming": True,
    }
    for body in (
        {"config": {"configurable": forged}},
        {"context": forged},
        {"config": {"configurable": forged}, "metadata": {"owner": "root"}},
    ):
        run = {"assistant_id": "looking", "input": {}, **body}
        answer = server.http.post("/runs/wait", headers=alice, json=run)
        seen = answer.json()["seen"]["configurable"]
        assert seen["langgraph_auth_user_id"] == "alice"
        assert ABSENT not in seen.values()
        assert "__pregel_resuming" not in seen


@asynccontextmanager
async def trusting(server: Server) -> AsyncGenerator[Any]:
    """Start a server that takes the tokens of an issuer in this process."""
    async with open_issuer() as issuer:
        settings = {"oidc_issuer": issuer.url, "oidc_audience": AUDIENCE}
        await asyncio.to_thread(lambda: server.start(**settings))
        yield issuer


async def test_35_forged_tokens_are_refused(server: Server) -> None:
    async with trusting(server) as issuer, httpx.AsyncClient(base_url=server.url) as client:
        good = issuer.token()
        assert (await client.post("/threads", headers=_bearer(good), json={})).is_success
        header, claims, signature = good.split(".")
        none = _part({"alg": "none", "kid": "one"})
        forged = [
            f"{none}.{claims}.",
            f"{_part({'alg': 'HS256', 'kid': 'one'})}.{claims}.{signature}",
            issuer.token(aud="others"),
            issuer.token(iss="https://evil.example"),
            issuer.token(exp=int(time.time()) - 60),
            issuer.token(headers={"crit": ["x"], "x": 1}),
            issuer.token(headers={"kid": "../../x"}),
            f"{header}.{claims}.{signature[:-4]}AAAA",
        ]
        for token in forged:
            answer = await client.post("/threads", headers=_bearer(token), json={})
            refused(answer, 401)
        embedded = issuer.token(headers={"jwk": issuer.public("one"), "kid": "unknown"})
        refused(await client.post("/threads", headers=_bearer(embedded), json={}), 401)
        with contextlib.suppress(httpx.TransportError):  # it is not read to its end
            huge = await client.post("/threads", headers=_bearer("x" * 1_000_000), json={})
            refused(huge, 400, 401, 431)
        assert (await client.post("/threads", headers=_bearer(good), json={})).is_success
    await asyncio.to_thread(alive, server)


def _bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def _part(content: Mapping[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()


def test_36_what_is_nearly_a_key_opens_nothing(server: Server) -> None:
    token = key(server, "alice")["x-api-key"]
    server.start()
    for wrong in (token[:-1], token.swapcase(), f"{token}A", token[:20], "ml_", token[::-1]):
        refused(server.http.post("/threads", headers={"x-api-key": wrong}, json={}), 401)
    for name in ("x-api-key", "api_key", "token", "access_token"):
        refused(server.http.post("/threads", params={name: token}, json={}), 401, 429)
    with closing(socket.create_connection(("127.0.0.1", server.port))) as raw:  # no client sends it
        head = f"GET /threads/{ABSENT} HTTP/1.1\r\nhost: x\r\nx-api-key: {token}\x00\r\n\r\n"
        raw.sendall(head.encode())
        assert raw.recv(4096).split()[1] in {b"400", b"401", b"429"}
    alive(server)
    assert server.http.post("/threads", headers={"x-api-key": token}, json={}).is_success


def test_37_routes_of_the_project_are_closed(server: Server) -> None:
    alice = key(server, "alice")
    server.start()
    for path in ("/hello", "/mounted/inner", "/mounted/", "/docs", "/openapi.json"):
        refused(server.http.get(path), 401)
    assert server.http.get("/hello", headers=alice).json()["hello"] == "alice"
    assert server.http.get("/docs", headers=alice).is_success
