"""Every operation, called by somebody else: nothing of the first is seen, changed or counted."""

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from operations.keys import KeyFolder, KeyScope
from orchestration.api.app import ENDPOINTS
from orchestration.service import DATABASE, Service
from tests.api.client import client_of, open_play
from tests.api.plays import gates

_PATIENCE = 30.0  # seconds
CANARY = "hers-and-nobody-elses"
PLACE = {"namespace": "notes", "key": "k"}
ITEM = {"namespace": ["notes"], "key": "k", "value": {"text": CANARY}}
HERS = {"metadata": {"owner": "alice"}}
SCHEDULE = {"schedule": "0 0 1 1 *", "assistant_id": "echo"}
WORKFLOW = {"name": "his", "steps": [{"id": "a", "graph": "echo", "input": {"text": "his"}}]}
RUN = {"assistant_id": "echo", "input": {"text": "his"}}
CRON_WITH_HERS = {"schedule": "0 0 1 1 *", "assistant_id": "{assistant_id}"}
WITH_HERS = {"assistant_id": "{assistant_id}", "input": {"text": "his"}}
COMMANDS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("run.start", {"assistant_id": "echo", "input": {}}),
    ("input.respond", {"interrupt_id": "x", "response": 1}),
    ("agent.getTree", {}),
    ("state.get", {}),
    ("state.listCheckpoints", {}),
    ("state.fork", {"checkpoint_id": "x"}),
)


@dataclass(frozen=True)
class Case:
    """What the second one sends, and what must come of it: a status, or a whole answer."""

    status: int | None = None
    answer: Any = ...
    body: Any = None
    params: Mapping[str, Any] | None = None
    with_keys: "Case | None" = None  # where keys differ: assistants are the server's


GONE = Case(404)
SHARED = Case(404, with_keys=Case(200))
ADMINS = Case(404, body={"name": "his"}, with_keys=Case(403, body={"name": "his"}))


def gone(body: Any = None, **params: Any) -> Case:
    return Case(404, body=body, params=params or None)


def gives(answer: Any, body: Any = None) -> Case:
    return Case(200, answer, body)


def makes(body: Any, status: int = 200) -> Case:
    return Case(status, body=body)


CASES: dict[str, list[Case]] = {
    "POST /runs/wait": [makes(RUN), Case(404, body=WITH_HERS, with_keys=Case(200, body=WITH_HERS))],
    "POST /runs/stream": [makes(RUN)],
    "POST /runs": [makes(RUN)],
    "POST /runs/batch": [makes([RUN])],
    "POST /threads/{thread_id}/runs": [gone(RUN), gone({**RUN, "if_not_exists": "create"})],
    "POST /threads/{thread_id}/runs/wait": [gone(RUN), gone({**RUN, "if_not_exists": "create"})],
    "POST /threads/{thread_id}/runs/stream": [gone({**RUN, "multitask_strategy": "rollback"})],
    "POST /runs/cancel": [
        Case(body={"status": "all"}),  # there may be one of his
        gone({"thread_id": "{held}", "status": "all"}),
        gone({"run_ids": ["{live}", "{loose}"]}, action="rollback"),
    ],
    "GET /dead-letters": [gives([])],
    "GET /threads/{thread_id}/runs": [GONE],
    "GET /threads/{thread_id}/runs/{run_id}": [GONE],
    "GET /threads/{thread_id}/runs/{run_id}/why": [GONE],
    "GET /runs": [
        Case(200),  # there may be one of his
        Case(200, [], params={"run_id": "{run_id}"}),
        Case(200, [], params={"run_id": "{live}"}),
        Case(200, [], params={"run_id": "{loose}"}),
    ],
    "GET /runs/{run_id}/why": [GONE],
    "GET /runs/{run_id}/stream": [GONE],
    "GET /threads/{thread_id}/runs/{run_id}/join": [GONE],
    "GET /threads/{thread_id}/runs/{run_id}/stream": [GONE],
    "POST /threads/{thread_id}/runs/{run_id}/cancel": [GONE, gone(action="rollback")],
    "DELETE /threads/{thread_id}/runs/{run_id}": [GONE],
    "POST /threads": [
        makes({}),
        Case(409, body={"thread_id": "{thread_id}", "if_exists": "do_nothing"}),
    ],
    "GET /threads/{thread_id}": [GONE],
    "PATCH /threads/{thread_id}": [gone({"metadata": {"owner": "bob"}})],
    "DELETE /threads/{thread_id}": [GONE],
    "POST /threads/search": [
        gives([], {"metadata": {"canary": CANARY}}),
        gives([], {"ids": ["{thread_id}"]}),
        Case(200, body=HERS, with_keys=gives([], HERS)),  # the handler puts his name for hers
        gives([], {"values": {"text": CANARY}}),
    ],
    "POST /threads/count": [
        gives(0, {"metadata": {"canary": CANARY}}),
        Case(200, body=HERS, with_keys=gives(0, HERS)),
        gives(0, {"ids": ["{thread_id}"]}),
    ],
    "POST /threads/{thread_id}/copy": [GONE],
    "POST /threads/prune": [
        gives({"pruned_count": 0}, {"thread_ids": ["{thread_id}"], "strategy": strategy})
        for strategy in ("delete", "keep_latest")
    ],
    "GET /threads/{thread_id}/stream": [GONE],
    "GET /threads/{thread_id}/state": [GONE],
    "GET /threads/{thread_id}/state/{checkpoint_id}": [GONE],
    "POST /threads/{thread_id}/state/checkpoint": [gone({"checkpoint": {}})],
    "POST /threads/{thread_id}/state": [gone({"values": {"text": "his"}})],
    "POST /threads/{thread_id}/state/bulk": [
        gone({"supersteps": [{"updates": [{"values": {"text": "his"}, "as_node": "echo"}]}]})
    ],
    "PATCH /threads/{thread_id}/state": [gone({"metadata": {"owner": "bob"}})],
    "GET /threads/{thread_id}/history": [GONE],
    "POST /threads/{thread_id}/history": [gone({})],
    "POST /threads/{thread_id}/commands": [
        gone({"id": 1, "method": method, "params": params}) for method, params in COMMANDS
    ],
    "POST /threads/{thread_id}/stream/events": [gone({"channels": ["values"]})],
    "POST /workflows/runs": [
        makes({"workflow": WORKFLOW, "on_completion": "delete"}),
        gone({"workflow": WORKFLOW, "thread_id": "{thread_id}"}),
    ],
    "POST /workflows": [
        Case(200, body={"workflow": WORKFLOW}, with_keys=Case(403, body={"workflow": WORKFLOW})),
        Case(
            409,
            body={
                "workflow": WORKFLOW,
                "assistant_id": "{assistant_id}",
                "if_exists": "replace",
            },
            with_keys=Case(403, body={"workflow": WORKFLOW}),
        ),
    ],
    "GET /workflows": [Case(200)],  # there may be his
    "GET /workflows/{assistant_id}": [GONE],  # hers is none
    "DELETE /workflows/{assistant_id}": [Case(404, with_keys=Case(403))],
    "GET /schemas/workflow.json": [Case(200)],
    "POST /assistants": [
        Case(200, body={"graph_id": "echo"}, with_keys=Case(403, body={"graph_id": "echo"})),
        Case(
            409,
            body={
                "graph_id": "echo",
                "assistant_id": "{assistant_id}",
                "if_exists": "do_nothing",
            },
            with_keys=Case(403, body={"graph_id": "echo"}),
        ),
    ],
    "GET /assistants/{assistant_id}": [SHARED],
    "PATCH /assistants/{assistant_id}": [ADMINS],
    "POST /assistants/{assistant_id}/versions": [SHARED],
    "POST /assistants/{assistant_id}/latest": [
        Case(404, body={"version": 1}, with_keys=Case(403, body={"version": 1}))
    ],
    "DELETE /assistants/{assistant_id}": [Case(404, with_keys=Case(403))],
    "POST /assistants/search": [
        Case(200, [], {"metadata": {"canary": CANARY}}, with_keys=Case(200)),
    ],
    "POST /assistants/count": [
        Case(200, 0, {"metadata": {"canary": CANARY}}, with_keys=Case(200)),
    ],
    "GET /assistants/{assistant_id}/graph": [SHARED],
    "GET /assistants/{assistant_id}/schemas": [SHARED],
    "GET /assistants/{assistant_id}/subgraphs": [SHARED],
    "GET /assistants/{assistant_id}/subgraphs/{namespace}": [SHARED],
    "POST /runs/crons": [
        makes(SCHEDULE),
        Case(404, body=CRON_WITH_HERS, with_keys=Case(200, body=CRON_WITH_HERS)),
    ],
    "POST /threads/{thread_id}/runs/crons": [
        gone(SCHEDULE),
        gone({**SCHEDULE, "if_not_exists": "create"}),
    ],
    "GET /runs/crons/{cron_id}": [GONE],
    "PATCH /runs/crons/{cron_id}": [gone({"enabled": False})],
    "DELETE /runs/crons/{cron_id}": [GONE],
    "POST /runs/crons/search": [
        gives([], {"thread_id": "{thread_id}"}),
        gives([], {"metadata": {"canary": CANARY}}),
    ],
    "POST /runs/crons/count": [
        gives(0, {"thread_id": "{thread_id}"}),
        gives(0, {"metadata": {"canary": CANARY}}),
    ],
    "PUT /store/items": [makes({**ITEM, "value": {"text": "his"}}, 204)],
    "GET /store/items": [Case(200, None, params={**PLACE, "key": "only-hers"}), Case(params=PLACE)],
    "DELETE /store/items": [makes({"namespace": ["notes"], "key": "only-hers"}, 204)],
    "POST /store/items/search": [makes({}), makes({"namespace_prefix": ["notes"]})],
    "POST /store/namespaces": [
        gives({"namespaces": []}, {"prefix": ["hers"]}),
        gives({"namespaces": []}, {"suffix": ["alone"]}),
    ],
    "GET /metrics": [Case(403)],
    "GET /agents": [gives([])],  # the server's, for everybody
    "GET /agents/{pool}": [Case(404)],
    "POST /agents/{pool}/drain": [Case(403)],
    "POST /agents/{pool}/restart": [Case(403)],
    "POST /messages": [makes({"to": "notes", "content": "his"}, 202)],
    "GET /messages": [Case(200)],  # the server's; what is counted is his, see test_messages.py
    "GET /messages/{mailbox}": [Case(200), Case(200, [], params={"status": "dead"})],
    "GET /messages/{mailbox}/dead-letters": [gives([])],
    "POST /messages/{mailbox}/dead-letters/requeue": [
        gives({"requeued": 0}, {}),
        gives({"requeued": 0}, {"offsets": [1]}),
    ],
    "POST /messages/{mailbox}/replay": [gives({"requeued": 0}, {"after": 0})],
    "GET /coordinator/decisions": [gives([])],  # of hers there is one, see test_decisions.py
    "GET /coordinator/experience": [Case(403, params={"workflow": "hers"})],
    "GET /coordinator/experience/entries": [Case(403)],
    "GET /webhooks/deliveries": [gives([])],
    "GET /ops/status": [Case(403)],
    "GET /ops/stats": [Case(403)],
    "GET /ops/activity": [Case(403)],
    "GET /ops/stream": [Case(403)],
    "GET /ok": [Case(200)],
    "GET /livez": [Case(200)],
    "GET /readyz": [Case(200), Case(200, params={"verbose": ""})],
    "GET /startupz": [Case(200)],
    "GET /info": [Case(200)],
}


@dataclass(frozen=True)
class World:
    """A service with things of alice in it; bob comes later."""

    alice: httpx.AsyncClient
    bob: httpx.AsyncClient
    nobody: httpx.AsyncClient
    ids: Mapping[str, str]

    async def look(self) -> list[Any]:
        """Return all that alice sees."""
        ids = self.ids
        thread, held = f"/threads/{ids['thread_id']}", f"/threads/{ids['held']}"
        mailboxes = self.alice.get("/messages")
        looks = [
            self.alice.get(thread),
            self.alice.get(held),
            self.alice.get(f"{thread}/state"),
            self.alice.get(f"{thread}/history"),
            self.alice.get(f"{thread}/runs"),
            self.alice.get("/runs"),
            self.alice.get(f"{held}/runs/{ids['live']}"),
            self.alice.get(f"/threads/{ids['alone']}/runs/{ids['loose']}"),
            self.alice.get(f"/assistants/{ids['assistant_id']}"),
            self.alice.get(f"/runs/crons/{ids['cron_id']}"),
            self.alice.post("/threads/count", json={}),
            self.alice.post("/runs/crons/count", json={}),
            self.alice.post("/store/items/search", json={}),
            self.alice.get("/dead-letters"),
            mailboxes,
            self.alice.get("/messages/notes"),
        ]
        answers = [await look for look in looks]
        assert [answer.status_code for answer in answers] == [200] * len(answers), answers
        documents = [answer.json() for answer in answers]
        for mailbox in documents[looks.index(mailboxes)]:
            # What is being delivered, and why it is not: that is tried again and again meanwhile.
            del mailbox["in_flight"], mailbox["trouble"]
        return documents


@asynccontextmanager
async def open_world(folder: Path, provider: str) -> AsyncGenerator[World]:
    manifest: dict[str, Any] = {"masterloop": {"network": {"mailboxes": {"notes": {}}}}}
    if provider == "handlers":
        manifest["auth"] = {"path": "tests.api.guards:owners"}
        who = [{"authorization": f"Bearer {name}"} for name in ("alice", "bob", "alice")]
    else:
        who = [_key(folder, *one) for one in (("alice", "run"), ("bob", "run"), ("root", "admin"))]
    async with open_play(folder, "echo", "holder", manifest=manifest) as service:
        alice, bob, maker = (_client(service, headers) for headers in who)
        ids = await _made_by(alice, maker, f"{provider}-{folder.name}")
        with closing(sqlite3.connect(folder / "data" / DATABASE)) as database, database:
            database.execute(
                "UPDATE runs SET dead_letter = 'poison' WHERE run_id = ?", (ids["run_id"],)
            )
            database.execute(
                "UPDATE messages SET status = 'dead', ended_at = sent_at WHERE message_id = 'dead'"
            )
        yield World(alice, bob, _client(service, {}), ids)
        for gate in ("held", "loose"):
            gates[f"{provider}-{folder.name}-{gate}"].opened.set()


def _key(folder: Path, owner: str, scope: KeyScope) -> dict[str, str]:
    return {"x-api-key": KeyFolder(folder / "data").create(owner, scope)[1]}


def _client(service: Service, headers: Mapping[str, str]) -> httpx.AsyncClient:
    client = client_of(service.app)
    client.headers.update(headers)
    return client


async def _made_by(alice: httpx.AsyncClient, maker: httpx.AsyncClient, gate: str) -> dict[str, str]:
    """Make one of everything, all of it with the canary, and return the ids."""
    marked = {"metadata": {"canary": CANARY}}
    thread = (await alice.post("/threads", json=marked)).json()["thread_id"]
    run = {"assistant_id": "echo", "input": {"text": CANARY}, **marked}
    webhook = {**run, "webhook": "https://hooks.example.test/" + CANARY}
    await alice.post(f"/threads/{thread}/runs/wait", json=webhook)
    (done,) = (await alice.get(f"/threads/{thread}/runs")).json()
    state = (await alice.get(f"/threads/{thread}/state")).json()
    held = (await alice.post("/threads", json=marked)).json()["thread_id"]
    waits = {"assistant_id": "holder", **marked}
    live = await alice.post(
        f"/threads/{held}/runs", json={**waits, "input": {"text": f"{gate}-held"}}
    )
    loose = await alice.post("/runs", json={**waits, "input": {"text": f"{gate}-loose"}})
    for name in ("held", "loose"):
        await gates[f"{gate}-{name}"].reached.wait()
    assistant = await maker.post("/assistants", json={"graph_id": "echo", "name": CANARY, **marked})
    cron = await alice.post(
        f"/threads/{thread}/runs/crons",
        json={**SCHEDULE, "input": {"text": CANARY}, **marked},
    )
    for name in ("dead", "waiting"):
        message = {"to": "notes", "content": CANARY, "id": name}
        assert (await alice.post("/messages", json=message)).status_code == 202
    for item in (ITEM, {**ITEM, "key": "only-hers"}, {**ITEM, "namespace": ["hers", "alone"]}):
        assert (await alice.put("/store/items", json=item)).status_code == 204
    return {
        "thread_id": thread,
        "run_id": done["run_id"],
        "checkpoint_id": state["checkpoint"]["checkpoint_id"],
        "held": held,
        "live": live.json()["run_id"],
        "loose": loose.json()["run_id"],
        "alone": loose.json()["thread_id"],
        "assistant_id": assistant.json()["assistant_id"],
        "cron_id": cron.json()["cron_id"],
        "namespace": "x",
        "mailbox": "notes",
    }


def _filled(value: Any, ids: Mapping[str, str]) -> Any:
    """Put ids in the place of their names."""
    match value:
        case str():
            for name, one in ids.items():
                value = value.replace(f"{{{name}}}", one)
            return value
        case dict():
            return {key: _filled(one, ids) for key, one in value.items()}
        case list():
            return [_filled(one, ids) for one in value]
        case _:
            return value


def test_every_operation_has_its_case() -> None:
    declared = {f"{one.method} {one.path}" for one in ENDPOINTS}
    assert declared - CASES.keys() == set()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("provider", ["handlers", "keys"])
async def test_nothing_of_the_first_is_seen_changed_or_counted(
    tmp_path: Path, provider: str
) -> None:
    wrong: list[str] = []
    async with open_world(tmp_path, provider) as world:
        before = await world.look()
        live = {**world.ids, "thread_id": world.ids["held"], "run_id": world.ids["live"]}
        loose = {**world.ids, "thread_id": world.ids["alone"], "run_id": world.ids["loose"]}
        for one in ENDPOINTS:
            name = f"{one.method} {one.path}"
            for case in CASES[name]:
                for ids in (world.ids, live, loose):
                    wrong += await _tried(world, one.method, one.path, case, ids, provider)
            now = await world.look()
            if now != before:
                changed = [pair for pair in zip(before, now, strict=True) if pair[0] != pair[1]]
                wrong.append(f"{name} changed what is hers: {changed}")
                before = now
    assert wrong == []


async def _tried(  # noqa: PLR0917 - what is tried, and where
    world: World, method: str, path: str, case: Case, ids: Mapping[str, str], provider: str
) -> list[str]:
    if provider == "keys" and case.with_keys is not None:
        case = case.with_keys
    name, wrong = f"{method} {path} {case.body or ''}", list[str]()
    asking = world.bob.request(
        method,
        _filled(path, ids),
        json=_filled(case.body, ids) if case.body is not None else None,
        params=_filled(case.params, ids),
    )
    try:
        answer = await asyncio.wait_for(asking, _PATIENCE)
    except TimeoutError:
        return [f"{name} waits, for something of hers"]
    if answer.status_code != case.status and case.status is not None:
        wrong.append(f"{name}: {answer.status_code}, not {case.status}: {answer.text[:300]}")
    if case.answer is not ... and answer.json() != case.answer:
        wrong.append(f"{name}: {answer.text[:300]}")
    shared = provider == "keys" and "/assistants" in path
    if CANARY in answer.text and not shared:
        wrong.append(f"{name} shows what is hers: {answer.text[:300]}")
    return wrong


@pytest.mark.parametrize("provider", ["handlers", "keys"])
async def test_nobody_gets_anything(tmp_path: Path, provider: str) -> None:
    async with open_world(tmp_path, provider) as world:
        for one in ENDPOINTS:
            path = _filled(one.path, world.ids)
            answer = await world.nobody.request(one.method, path)
            refused = {200} if one.access.public else {401, 429}
            assert answer.status_code in refused, (one.method, path)
            assert CANARY not in answer.text
