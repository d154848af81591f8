"""What was decided for workflows, as people may see it."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from coordinator.advice import Advisor, Arm, Features, Question, Result
from operations.keys import KeyFolder
from orchestration.coordination import Coordination
from tests.api.client import client_of, new_run, new_thread, open_play
from tests.api.plays import gates

ARMS = [Arm(mode="parallel"), Arm(mode="sequential")]
FEATURES = Features(steps=4, width=2, priority=5, load=0.25)


@dataclass(frozen=True)
class World:
    advisor: Advisor
    clients: dict[str, httpx.AsyncClient]

    def decide(
        self, workflow: str, run_id: str | None, step: str | None = None, took: float | None = 1.0
    ) -> str:
        """Have one decision made, and its result told; return its id."""
        decision = self.advisor.choose(Question(workflow, run_id, step, ARMS, FEATURES))
        if took is not None:
            self.advisor.learn(decision.decision_id, Result(took, success=True, cost=0.5))
        return decision.decision_id


@asynccontextmanager
async def opened(
    folder: Path, monkeypatch: pytest.MonkeyPatch, **keys: str
) -> AsyncGenerator[World]:
    """Open a service and a client for each key's owner; without keys, for anybody."""
    made: list[Coordination] = []

    class Watched(Coordination):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            made.append(self)

    monkeypatch.setattr("orchestration.core.Coordination", Watched)
    files = KeyFolder(folder / "data")
    headers = {owner: files.create(owner, scope)[1] for owner, scope in keys.items()}  # type: ignore[arg-type]
    async with open_play(folder, "holder") as service:
        clients = {"anybody": client_of(service.app)}
        for owner, key in headers.items():
            clients[owner] = client_of(service.app)
            clients[owner].headers["x-api-key"] = key
        yield World(made[0].advisor, clients)


async def seen(client: httpx.AsyncClient, **params: Any) -> list[dict[str, Any]]:
    answer = await client.get("/coordinator/decisions", params=params)
    assert answer.status_code == 200, answer.text
    decisions: list[dict[str, Any]] = answer.json()
    return decisions


async def test_a_decision_says_what_was_chosen_from_what_and_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path, monkeypatch) as world:
        decision_id = world.decide("etl", None, "fetch")
        (decision,) = await seen(world.clients["anybody"])
    assert decision["decision_id"] == decision_id
    assert (decision["workflow"], decision["step"], decision["run_id"]) == ("etl", "fetch", None)
    assert decision["features"] == {"steps": 4, "width": 2, "priority": 5, "load": 0.25}
    assert decision["chosen"] in [option["arm"] for option in decision["options"]]
    assert [option["results"] for option in decision["options"]] == [0, 0]
    assert "not tried yet" in decision["why"]
    result = decision["result"]
    assert (result["duration"], result["success"], result["cost"]) == (1.0, True, 0.5)
    assert 0 < result["reward"] < 1


async def test_decisions_are_found_by_workflow_run_and_step_newest_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path, monkeypatch) as world:
        client = world.clients["anybody"]
        first = world.decide("etl", "r1")
        second = world.decide("etl", "r2", "fetch", took=None)
        third = world.decide("other", "r2")

        async def ids(**params: Any) -> list[str]:
            return [one["decision_id"] for one in await seen(client, **params)]

        assert await ids() == [third, second, first]
        assert await ids(limit=1) == [third]
        assert await ids(workflow="etl") == [second, first]
        assert await ids(run_id="r2") == [third, second]
        assert await ids(run_id="r2", step="fetch") == [second]
        assert (await seen(client, step="fetch"))[0]["result"] is None


async def test_decisions_for_a_run_are_seen_by_whoever_sees_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path, monkeypatch, alice="run", bob="run", root="admin") as world:
        alice, bob, root = (world.clients[name] for name in ("alice", "bob", "root"))
        gate = f"decisions-{tmp_path.name}"
        run = await new_run(alice, await new_thread(alice), "holder", gate)
        await gates[gate].reached.wait()
        hers = world.decide("etl", run.rpartition("/")[2])
        world.decide("etl", None)  # of nobody
        gates[gate].opened.set()
        await alice.get(f"{run}/join")
        assert [one["decision_id"] for one in await seen(alice)] == [hers]
        assert await seen(bob) == []
        assert await seen(bob, run_id=run.rpartition("/")[2]) == []
        assert (await world.clients["anybody"].get("/coordinator/decisions")).status_code == 401
        for path in ("experience?workflow=etl", "experience/entries"):
            assert (await bob.get(f"/coordinator/{path}")).status_code == 403
            assert (await root.get(f"/coordinator/{path}")).status_code == 200


async def test_experience_outlives_the_service_and_is_known_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path, monkeypatch) as world:
        decisions = [
            world.decide("etl", None, "fetch", took=seconds) for seconds in (3.0, 1.0, 2.0)
        ]
    async with opened(tmp_path, monkeypatch) as world:
        client = world.clients["anybody"]
        given: dict[str, Any] = {"workflow": "etl", "step": "fetch", "limit": 2}
        experience = (await client.get("/coordinator/experience", params=given)).json()
        entries = (await client.get("/coordinator/experience/entries")).json()
        later = await client.get(
            "/coordinator/experience/entries", params={"after": entries[0]["number"]}
        )
        world.decide("etl", None, "fetch")
        (decision,) = await seen(client)
    assert [one["decision_id"] for one in entries] == decisions
    assert [one["decision_id"] for one in later.json()] == decisions[1:]
    assert [one["decision_id"] for one in experience["best"]] == [decisions[1], decisions[2]]
    assert sum(arm["results"] for arm in experience["arms"]) == 3
    assert sum(arm["results"] * arm["duration"] for arm in experience["arms"]) == pytest.approx(6)
    assert sum(option["results"] for option in decision["options"]) == pytest.approx(3, rel=0.02)
