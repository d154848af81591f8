"""Messages in a service: sent by clients and nodes, received by agents, shown and put back."""

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from structlog.testing import capture_logs

from operations.errors import ConfigurationError
from operations.keys import KeyFolder
from operations.shutdown import Result
from tests.agents.kinds import PLAYERS
from tests.api.client import PROBLEM, client_of, open_client, open_play

GRAPHS = {
    "teller": "tests.agents.players.teller:teller",
    "relay": "tests.agents.players.teller:relay",
}
METHODS = ("GET", "DELETE")
QUICK = {"first": 0.01, "most": 0.02, "attempts": 3}


def manifest(folder: Path, mailboxes: Any = None, **network: Any) -> dict[str, Any]:
    postmen = {
        "kind": "process",
        "argv": [sys.executable, str(PLAYERS / "postman.py")],
        "env": {"ROUND": str(folder / "round")},
    }
    relays = {"kind": "graph", "graph": "relay"}
    section = {"mailboxes": mailboxes or {"post": {"retry": QUICK}}, **network}
    agents = {"postmen": postmen, "relays": relays}
    return {"graphs": GRAPHS, "masterloop": {"agents": agents, "network": section}}


def received(folder: Path) -> list[str]:
    """Return what postmen took, each as the JSON of its content."""
    file = folder / "round"
    lines = file.read_text().splitlines() if file.exists() else []
    return [line.split(" ", 3)[3] for line in lines if line.startswith("ended")]


async def send(client: httpx.AsyncClient, content: Any, to: str = "post", **more: Any) -> Any:
    response = await client.post("/messages", json={"to": to, "content": content, **more})
    assert response.status_code == 202, response.text
    return response.json()


async def listed(client: httpx.AsyncClient, path: str = "post", **query: Any) -> Any:
    response = await client.get(f"/messages/{path}", params=query)
    assert response.status_code == 200, response.text
    return response.json()


async def until(
    client: httpx.AsyncClient, condition: Callable[[list[str]], bool], path: str = "post"
) -> list[str]:
    """Wait until the statuses of a mailbox are as wanted; return them."""
    while not condition(statuses := [one["status"] for one in await listed(client, path)]):  # noqa: ASYNC110 - over HTTP
        await asyncio.sleep(0.01)
    return statuses


def over(statuses: list[str]) -> bool:
    return "pending" not in statuses


async def test_an_agent_receives_what_a_client_sends_in_its_order(tmp_path: Path) -> None:
    async with open_client(tmp_path, manifest=manifest(tmp_path)) as client:
        first = await send(client, {"n": 0}, id="x", correlation_id="c")
        for number in range(1, 20):
            await send(client, {"n": number})
        again = await send(client, {"n": 0}, id="x")
        assert set(await until(client, over)) == {"delivered"}
        shown = (await listed(client))[0]
        later = await listed(client, after=first["offsets"]["post"], limit=2)
    assert received(tmp_path) == [f'{{"n": {number}}}' for number in range(20)]
    assert (first["sender"], first["duplicate"]) == ("client", False)
    assert again == {**first, "duplicate": True}
    assert (shown["id"], shown["content"], shown["correlation_id"]) == ("x", {"n": 0}, "c")
    assert [one["content"]["n"] for one in later] == [1, 2]


async def test_what_fails_too_often_is_a_dead_letter_until_it_is_requeued(tmp_path: Path) -> None:
    async with open_client(tmp_path, manifest=manifest(tmp_path)) as client:
        await send(client, "fail 1")
        bad = (await send(client, "fail"))["offsets"]["post"]
        await send(client, "fine")
        assert await until(client, over) == ["delivered", "dead", "delivered"]
        (dead,) = await listed(client, "post/dead-letters")
        assert (dead["offset"], dead["failures"]) == (bad, 3)
        assert dead["last_error"] == "TaskFailed: it failed on purpose"
        path = "/messages/post/dead-letters/requeue"
        none = await client.post(path, json={"offsets": [bad + 1]})
        assert none.json() == {"requeued": 0}
        assert (await client.post(path, json={"offsets": [bad]})).json() == {"requeued": 1}
        await until(client, over)
        assert (await client.post(path)).json() == {"requeued": 1}
        await until(client, over)
        (box,) = (await client.get("/messages")).json()
    assert received(tmp_path) == ['"fail 1"', '"fine"']
    counts = {name: box[name] for name in ("pending", "delivered", "dead", "in_flight")}
    assert counts == {"pending": 0, "delivered": 2, "dead": 1, "in_flight": 0}


async def test_what_was_delivered_is_replayed_from_an_offset(tmp_path: Path) -> None:
    async with open_client(tmp_path, manifest=manifest(tmp_path)) as client:
        offsets = [(await send(client, number))["offsets"]["post"] for number in range(4)]
        await until(client, over)
        answer = await client.post("/messages/post/replay", json={"after": offsets[1]})
        assert answer.json() == {"requeued": 2}
        await until(client, over)
    assert received(tmp_path) == ["0", "1", "2", "3", "2", "3"]


async def test_a_handler_for_runs_is_shown_what_it_would_find_of_one(tmp_path: Path) -> None:
    handlers = {"auth": {"path": "tests.api.guards:shaping"}}
    async with open_client(tmp_path, manifest=manifest(tmp_path) | handlers) as client:
        sent = await client.post("/messages", json={"to": "post", "content": 1})
        again = await client.post("/messages/post/replay", json={})
        revived = await client.post("/messages/post/dead-letters/requeue")
    assert [one.status_code for one in (sent, again, revived)] == [202, 200, 200]


async def test_messages_outlive_the_service_and_a_drained_pool(tmp_path: Path) -> None:
    async with open_client(tmp_path, manifest=manifest(tmp_path)) as client:
        await client.post("/agents/postmen/drain")
        await send(client, "waits")
    assert received(tmp_path) == []
    slow = {"post": {"retry": {"first": 1000, "most": 1000}}}
    async with open_client(tmp_path, manifest=manifest(tmp_path, slow)) as client:
        await until(client, over)
        await client.post("/agents/postmen/drain")
        await send(client, "is held")
        while (await client.get("/messages")).json()[0]["trouble"] is None:  # noqa: ASYNC110 - over HTTP
            await asyncio.sleep(0.01)
        assert await until(client, lambda found: len(found) == 2) == ["delivered", "pending"]
        await client.post("/agents/postmen/restart")
        await until(client, over)
    assert received(tmp_path) == ['"waits"', '"is held"']


async def test_what_waits_in_a_mailbox_that_is_no_longer_configured_is_shown_and_forgotten(
    tmp_path: Path,
) -> None:
    before = manifest(tmp_path, {"post": {}, "gone": {"agent": "nobody"}})
    async with open_client(tmp_path, manifest=before) as client:
        await send(client, "waits", to="gone")
        await send(client, "waits, too", to="gone")
        assert (await client.delete("/messages/gone")).status_code == 409
    with capture_logs() as logs:
        async with open_client(tmp_path, manifest=manifest(tmp_path)) as client:
            shown = (await client.get("/messages")).json()
            waiting = [one["content"] for one in await listed(client, "gone")]
            forgotten = (await client.delete("/messages/gone")).status_code
            after = [(await client.request(how, "/messages/gone")).status_code for how in METHODS]
            mailboxes = [one["mailbox"] for one in (await client.get("/messages")).json()]
    warned = [log["mailbox"] for log in logs if "not configured" in log["event"]]
    assert [(one["mailbox"], one["pending"], one["trouble"]) for one in shown] == [
        ("post", 0, None),
        ("gone", 2, "it is not configured: nobody receives"),
    ]
    assert (waiting, warned) == (["waits", "waits, too"], ["gone"])
    assert (forgotten, after, mailboxes) == (204, [404, 404], ["post"])


async def test_what_found_all_at_work_is_received_when_one_has_nothing_else_to_do(
    tmp_path: Path,
) -> None:
    slow = {"agent": "post", "retry": {"first": 100_000, "most": 100_000}}
    given = manifest(tmp_path, {"first": slow, "post": slow})
    given["masterloop"]["agents"]["postmen"]["lease_timeout"] = 0.1
    async with open_client(tmp_path, manifest=given) as client:
        await send(client, "hold", to="first")
        while not (tmp_path / "round").exists():  # noqa: ASYNC110 - another process makes it
            await asyncio.sleep(0.01)
        await send(client, "waits")
        while (await client.get("/messages")).json()[1]["trouble"] is None:  # noqa: ASYNC110 - over HTTP
            await asyncio.sleep(0.01)
        (tmp_path / "round.go").touch()
        await until(client, over)
    assert received(tmp_path) == ['"hold"', '"waits"']


async def test_one_that_receives_and_ignores_sigterm_ends_in_time_with_the_service(
    tmp_path: Path,
) -> None:
    given = manifest(tmp_path)
    given["masterloop"]["agents"]["postmen"]["end_grace"] = 1.8  # of the 2.5 s that a part has
    async with (
        open_play(tmp_path, manifest=given, drain_delay=0.0) as service,
        client_of(service.app) as client,
    ):
        await send(client, "ignore_term")
        while not (tmp_path / "round").exists():  # noqa: ASYNC110 - another process makes it
            await asyncio.sleep(0.01)
        await service.shutdown.run()
        ended = {one.name: one.result for one in service.shutdown.ended}
        pid = int((tmp_path / "round").read_text().split()[1])
        assert (ended["messages"], ended["agents"]) == (Result.DONE, Result.DONE)
        assert not psutil.pid_exists(pid)
        assert (await listed(client))[0]["status"] == "pending"


async def test_nodes_send_without_importing_anything(tmp_path: Path) -> None:
    mailboxes = {"post": {"topics": ["news"]}, "copy": {"agent": "post", "topics": ["news"]}}
    messages = [
        {"content": {"a": 1}, "to": "post", "message_id": "1"},
        {"content": "all", "topic": "news"},
        {"content": {"a": 1}, "to": "post", "message_id": "1"},
    ]
    async with open_client(tmp_path, manifest=manifest(tmp_path, mailboxes)) as client:
        run = {"assistant_id": "teller", "input": {"messages": messages}}
        values = (await client.post("/runs/wait", json=run)).json()
        await until(client, over)
        await until(client, over, "copy")
        senders = {one["sender"] for one in await listed(client)}
        (copy,) = await listed(client, "copy")
    first, news, again = values["offsets"]
    assert first == again
    assert news.keys() == {"post", "copy"}
    assert senders == {"graph:teller"}
    assert (copy["topic"], copy["content"]) == ("news", "all")


def told(folder: Path) -> Any:
    (line,) = (line for line in (folder / "round").read_text().splitlines() if "told" in line)
    return json.loads(line.split(" ", 3)[3])


async def test_a_subprocess_sends_while_it_has_a_task(tmp_path: Path) -> None:
    mailboxes = {"post": {}, "copy": {"agent": "post", "topics": ["news"]}}
    async with open_client(tmp_path, manifest=manifest(tmp_path, mailboxes)) as client:
        message = {"content": {"n": 1}, "topic": "news", "id": "x", "correlation_id": "c"}
        await send(client, {"send": message})
        await until(client, lambda found: bool(found) and over(found), "copy")
        (copy,) = await listed(client, "copy")
    assert told(tmp_path) == {"id": "x", "offsets": {"copy": copy["offset"]}}
    assert (copy["sender"], copy["hops"], copy["content"]) == ("agent:postmen", 2, {"n": 1})


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        ({"content": 1, "to": "pots"}, "Did you mean post?"),
        ({"content": 1, "to": 5}, "to: Input should be a valid string"),
        ({"content": 1, "to": "post", "sender": "x"}, "sender: Extra inputs are not permitted"),
        ({"content": 1, "to": "post", "priority": 99}, "the priority is 99"),
        ([], "params: Input should be"),
    ],
)
async def test_a_subprocess_is_told_why_nothing_was_sent(
    message: Any, complaint: str, tmp_path: Path
) -> None:
    async with open_client(tmp_path, manifest=manifest(tmp_path)) as client:
        await send(client, {"send": message})
        assert await until(client, lambda found: bool(found) and over(found)) == ["delivered"]
    assert complaint in told(tmp_path)["message"]


async def test_messages_that_lead_in_a_circle_end_at_the_limit(tmp_path: Path) -> None:
    mailboxes = {"relays": {"retry": QUICK}}
    async with open_client(tmp_path, manifest=manifest(tmp_path, mailboxes)) as client:
        await send(client, {"next": "relays"}, to="relays")
        statuses = await until(client, lambda found: "dead" in found, "relays")
        found = await listed(client, "relays")
    assert statuses == ["delivered"] * 15 + ["dead"]
    assert [one["hops"] for one in found] == list(range(1, 17))
    assert {one["sender"] for one in found[1:]} == {"agent:relays"}
    assert "16 messages led to this one" in found[-1]["last_error"]


async def test_the_sender_is_who_calls_and_others_do_not_see_it(tmp_path: Path) -> None:
    keys = KeyFolder(tmp_path / "data")
    alice, bob = ({"x-api-key": keys.create(name, "run")[1]} for name in ("alice", "bob"))
    mailboxes: dict[str, Any] = {"post": {}, "relays": {}}
    async with open_client(tmp_path, manifest=manifest(tmp_path, mailboxes)) as client:
        client.headers.update(alice)
        await send(client, "hers", id="1")
        await send(client, {"next": "post"}, to="relays")
        await until(client, lambda found: len(found) == 2 and over(found))
        run = {"assistant_id": "teller", "input": {"messages": [{"content": 1, "to": "post"}]}}
        await client.post("/runs/wait", json=run)
        await until(client, lambda found: len(found) == 3 and over(found))
        hers = await listed(client)
        client.headers.update(bob)
        assert not (await send(client, "his", id="1"))["duplicate"]
        his = await listed(client)
        counts = {one["mailbox"]: one["pending"] + one["delivered"] for one in (
            await client.get("/messages")
        ).json()}  # fmt: skip
        replayed = (await client.post("/messages/post/replay")).json()["requeued"]
        forged = await client.post("/messages", json={"to": "post", "content": 1, "sender": "x"})
    assert [one["sender"] for one in hers] == [
        "user/alice", "agent:relays/alice", "graph:teller/alice",
    ]  # fmt: skip
    assert [one["sender"] for one in his] == ["user/bob"]
    assert counts == {"post": 1, "relays": 0}
    assert replayed <= 1
    assert (forged.status_code, "sender" in forged.text) == (422, True)


async def test_whole_numbers_are_integers_however_they_are_written(tmp_path: Path) -> None:
    async with open_client(tmp_path, manifest=manifest(tmp_path)) as client:
        offset = (await send(client, "fine", priority=3.0))["offsets"]["post"]
        assert await until(client, over) == ["delivered"]
        dead = await client.post(
            "/messages/post/dead-letters/requeue", json={"offsets": [float(offset)]}
        )
        replayed = await client.post("/messages/post/replay", json={"after": float(offset - 1)})
        assert (dead.json(), replayed.json()) == ({"requeued": 0}, {"requeued": 1})
        (message,) = await listed(client)
    assert message["priority"] == 3


async def test_the_api_document_names_the_pools_and_mailboxes(tmp_path: Path) -> None:
    async with open_client(tmp_path, manifest=manifest(tmp_path)) as client:
        paths = (await client.get("/openapi.json")).json()["paths"]
    for path, names in (
        ("/agents/{pool}", ["postmen", "relays"]),
        ("/messages/{mailbox}", ["post"]),
    ):
        assert paths[path]["get"]["parameters"][0]["schema"] == {"enum": names}


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"content": 1}, 422, "either to a mailbox"),
        ({"content": 1, "to": "post", "topic": "news"}, 422, "either to a mailbox"),
        ({"to": "post"}, 422, "content: Field required"),
        ({"content": 1, "to": "pots"}, 404, "Did you mean post?"),
        ({"content": 1, "topic": "nwes"}, 404, "no topic 'nwes'. Did you mean news?"),
        ({"content": 1, "to": "post", "priority": 11}, 422, "priority"),
        ({"content": 1, "to": "post", "ttl": 0}, 422, "ttl"),
        ({"content": 1, "to": "post", "ttl": 1e300}, 422, "ttl"),
        ({"content": 1, "to": "post", "id": ""}, 422, "id"),
        ({"content": 1, "to": "post", "id": "x" * 256}, 422, "id"),
        ({"content": "x" * 200, "to": "post"}, 422, "202 bytes of JSON; 100 are the limit"),
        ({"content": 1, "to": "post", "tll": 1}, 422, "did you mean 'ttl'"),
        ({"content": 1, "to": "full"}, 503, "'full' is full: 1 messages wait in it"),
    ],
)
async def test_what_cannot_be_sent_is_refused_in_words(
    body: dict[str, Any], status: int, words: str, tmp_path: Path
) -> None:
    mailboxes = {"post": {"topics": ["news"]}, "full": {"agent": "nobody", "capacity": 1}}
    async with open_client(tmp_path, manifest=manifest(tmp_path, mailboxes, size=100)) as client:
        await send(client, "waits for ever", "full")
        response = await client.post("/messages", json=body)
    assert (response.status_code, response.headers["content-type"]) == (status, PROBLEM)
    assert words in response.json()["detail"]
    assert ("retry-after" in response.headers) == (status == 503)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("DELETE", ""),
        ("GET", "/dead-letters"),
        ("POST", "/dead-letters/requeue"),
        ("POST", "/replay"),
    ],
)
async def test_a_mailbox_that_is_not_there_is_404(method: str, path: str, tmp_path: Path) -> None:
    async with open_client(tmp_path, manifest=manifest(tmp_path)) as client:
        response = await client.request(method, f"/messages/pots{path}")
    assert (response.status_code, "Did you mean post?" in response.text) == (404, True)


@pytest.mark.parametrize(
    ("mailboxes", "complaint"),
    [
        ({"a b": {}}, "this cannot be the name of a mailbox"),
        ({"a": {"fulll": "reject"}}, "Did you mean full?"),
        ({"a": {"retry": {"first": 0}}}, "network.mailboxes.a.retry.first"),
        ({"a": {"retry": {"most": 1e300}}}, "network.mailboxes.a.retry.most"),
    ],
)
async def test_a_mistake_in_the_configuration_is_told(
    mailboxes: Any, complaint: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        async with open_client(tmp_path, manifest=manifest(tmp_path, mailboxes)):
            pass
