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
from tests.api.second_principal import CANARY, CASES, ITEM, SCHEDULE, Case

_PATIENCE = 30.0  # seconds


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
