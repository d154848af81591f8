"""Agents in a service: nodes lease them, the API shows them, and the documents tell the truth."""

import asyncio
import os
import re
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from operations.errors import ConfigurationError
from operations.keys import KeyFolder
from operations.settings import Settings
from orchestration.graphs.manifest import apply_environment, load_manifest
from orchestration.service import open_service
from tests.agents.kinds import PLAYERS
from tests.api.client import PROBLEM, client_of, open_client, parts_of

ROOT = Path(__file__).parents[2]
WORKER = {"kind": "process", "argv": [sys.executable, str(PLAYERS / "worker.py")]}
GRAPHS = {
    "asker": "tests.agents.players.asker:asker",
    "play": "tests.agents.players.graph:play",
}


def manifest(**pools: Any) -> dict[str, Any]:
    return {"graphs": GRAPHS, "masterloop": {"agents": pools}}


async def ask(client: httpx.AsyncClient, *given: Any, **body: Any) -> Any:
    """Have the graph `asker` give each task to an agent; return what came of it."""
    run = {"assistant_id": "asker", "input": {"tasks": list(given)}, **body}
    response = await client.post("/runs/wait", json=run, timeout=20)
    assert response.status_code == 200, response.text
    return response.json()


async def pool(client: httpx.AsyncClient, name: str = "workers") -> dict[str, Any]:
    found: dict[str, Any] = (await client.get(f"/agents/{name}")).json()
    return found


async def until_state(client: httpx.AsyncClient, wanted: str, name: str = "workers") -> None:
    while (await pool(client, name))["state"] != wanted:  # noqa: ASYNC110 - over HTTP
        await asyncio.sleep(0.01)


async def test_nodes_lease_agents_without_importing_anything(tmp_path: Path) -> None:
    async with open_client(tmp_path, manifest=manifest(workers=WORKER | {"seats": 2})) as client:
        values = await ask(client, *({"do": "echo", "text": f"{n}"} for n in range(6)))
        shown = await pool(client)
    assert values["answers"] == ["0", "1", "2", "3", "4", "5"]
    assert sum(agent["tasks"] for agent in shown["agents"]) == 6
    assert (shown["in_flight"], shown["waiting"]) == (0, 0)


async def test_events_of_an_agent_come_with_the_run(tmp_path: Path) -> None:
    async with open_client(tmp_path, manifest=manifest(workers=WORKER)) as client:
        body = {
            "assistant_id": "asker",
            "input": {"tasks": [{"do": "events", "count": 3}]},
            "stream_mode": ["custom"],
        }
        response = await client.post("/runs/stream", json=body)
    events = [part.data for part in parts_of(response.text) if part.event == "custom"]
    assert events == [{"step": 0}, {"step": 1}, {"step": 2}]


async def test_an_error_of_an_agent_is_the_error_of_the_run(tmp_path: Path) -> None:
    worker = WORKER | {"restart": {"first": 60}}  # so that what is shown is not over before
    async with open_client(tmp_path, manifest=manifest(workers=worker)) as client:
        values = await ask(client, {"do": "die"})
        assert values["__error__"]["error"] == "AgentLost"
        assert "it ended with exit code 7" in values["__error__"]["message"]
        assert "these are my last words" in values["__error__"]["message"]
        shown = await pool(client)
    assert shown["state"] == "degraded"
    assert "last words" not in str(shown), "what an agent writes is for its caller and for the log"
    assert shown["agents"][0]["backoff_until"] > "2026"
    assert shown["agents"][0]["restarts"] == 1


async def test_a_graph_can_be_an_agent_of_another(tmp_path: Path) -> None:
    play = {"kind": "graph", "graph": "play", "capabilities": ["play"], "seats": 2}
    async with open_client(tmp_path, manifest=manifest(players=play)) as client:
        values = await ask(client, {"do": "echo", "text": "a"}, {"do": "ask"})
    assert values["__error__"]["message"].endswith("waits for a human, whom an agent does not have")


async def test_a_cancelled_run_gives_its_agent_back(tmp_path: Path) -> None:
    async with open_client(tmp_path, manifest=manifest(workers=WORKER)) as client:
        thread = (await client.post("/threads", json={})).json()["thread_id"]
        body = {"assistant_id": "asker", "input": {"tasks": [{"do": "hang"}]}}
        run = (await client.post(f"/threads/{thread}/runs", json=body)).json()["run_id"]
        while (await pool(client))["in_flight"] == 0:  # noqa: ASYNC110 - over HTTP
            await asyncio.sleep(0.01)
        await client.post(f"/threads/{thread}/runs/{run}/cancel", params={"wait": True})
        assert (await ask(client, {"do": "echo", "text": "a"}))["answers"] == ["a"]
        assert (await pool(client))["agents"][0]["restarts"] == 0


async def test_a_client_cannot_put_something_in_the_place_of_the_agents(tmp_path: Path) -> None:
    async with open_client(tmp_path, manifest=manifest(workers=WORKER)) as client:
        config = {"configurable": {"masterloop": "mine"}}
        values = await ask(client, {"do": "echo", "text": "a"}, config=config)
    assert values["answers"] == ["a"]


async def test_the_checkpoints_of_a_run_that_leases_know_nothing_of_it(tmp_path: Path) -> None:
    async with open_client(tmp_path, manifest=manifest(workers=WORKER)) as client:
        thread = (await client.post("/threads", json={})).json()["thread_id"]
        body = {
            "assistant_id": "asker",
            "input": {"tasks": [{"do": "echo"}]},
            "stream_mode": ["debug", "checkpoints", "events"],
        }
        stream = (await client.post(f"/threads/{thread}/runs/stream", json=body)).text
        history = (await client.get(f"/threads/{thread}/history")).text
    assert "AgentClient" not in stream + history
    assert '"masterloop"' not in stream + history


async def test_a_pool_is_drained_and_restarted(tmp_path: Path) -> None:
    async with open_client(tmp_path, manifest=manifest(workers=WORKER)) as client:
        await until_state(client, "healthy")
        drained = (await client.post("/agents/workers/drain")).json()
        assert drained["state"] == "drained"
        refused = await ask(client, {"do": "echo"})
        assert refused["__error__"]["error"] == "PoolClosed"
        await client.post("/agents/workers/restart")
        await until_state(client, "healthy")
        assert (await ask(client, {"do": "echo", "text": "a"}))["answers"] == ["a"]
        assert [one["pool"] for one in (await client.get("/agents")).json()] == ["workers"]


async def test_where_callers_are_known_only_admins_manage_pools(tmp_path: Path) -> None:
    keys = KeyFolder(tmp_path / "data")
    (_, running), (_, managing) = keys.create("bob", "run"), keys.create("root", "admin")
    async with open_client(tmp_path, manifest=manifest(workers=WORKER)) as client:
        bob, root = {"x-api-key": running}, {"x-api-key": managing}
        assert (await client.get("/agents", headers=bob)).status_code == 200
        refused = await client.post("/agents/workers/drain", headers=bob)
        assert (refused.status_code, "'admin'" in refused.text) == (403, True)
        assert (await client.post("/agents/workers/drain", headers=root)).status_code == 200


@pytest.mark.parametrize("path", ["/agents/wrokers", "/agents/wrokers/drain"])
async def test_a_pool_that_is_not_there_is_404_and_names_the_nearest(
    path: str, tmp_path: Path
) -> None:
    async with open_client(tmp_path, manifest=manifest(workers=WORKER)) as client:
        method = "POST" if path.endswith("drain") else "GET"
        response = await client.request(method, path)
    assert (response.status_code, response.headers["content-type"]) == (404, PROBLEM)
    assert "Did you mean workers?" in response.json()["detail"]


async def test_without_pools_there_is_an_empty_list_and_no_client(tmp_path: Path) -> None:
    async with open_client(tmp_path, manifest={"graphs": GRAPHS}) as client:
        assert (await client.get("/agents")).json() == []
        values = await ask(client, {"do": "echo"})
    assert values["__error__"]["error"] == "KeyError"


@pytest.mark.parametrize(
    ("pools", "complaint"),
    [
        ({"a": {"kind": "graph", "graph": "plya"}}, "agents.a.graph: there is no such graph"),
        (
            {"a": {"kind": "proces", "argv": ["x"]}},
            "agents.a.kind: found \"proces\". It has to be one of 'graph', 'process'",
        ),
        ({"a": {"argv": ["x"]}}, "agents.a.kind: the key is missing. Add it."),
        ({"a": 5}, "agents.a: found 5. It has to be an object"),
        ({"a": {"kind": "process", "argv": []}}, "agents.a.argv: there is no command"),
        ({"a": {"kind": "process", "argv": ["x"], "seat": 2}}, "Did you mean seats?"),
        ({"a": {"kind": "mcp"}}, "agents.a: it needs either server or url"),
        (
            {"a": {"kind": "remote", "url": "http://host:80a", "assistant": "x"}},
            "agents.a.url: this is no URL of a server",
        ),
        ({"a": {"kind": "mcp", "url": "host/mcp"}}, "agents.a.url: this is no URL of a server"),
        (
            {"a": {"kind": "mcp", "url": "http://host", "headers": {"a b": "c"}}},
            "agents.a.headers.a b: this header cannot be set",
        ),
        ({"a b": WORKER}, "this cannot be the name of a pool"),
        ({"a": WORKER | {"seats": {"min": 3, "max": 2}}}, "min must not be above max"),
        ({"a": WORKER | {"env": {"KEY": "${{ env.ABSENT_X }}"}}}, "ABSENT_X is not set"),
    ],
)
async def test_a_mistake_in_the_configuration_is_told_before_anything_starts(
    pools: dict[str, Any], complaint: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        async with open_client(tmp_path, manifest=manifest(**pools)):
            pass
    assert complaint in str(caught.value)


async def test_the_example_in_the_documents_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs/agents.md").read_text()
    files = re.findall(r"^`(\w+\.\w+)`[^\n]*\n\n```\w+\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert [name for name, _ in files] == ["langgraph.json", "briefing.py", "keywords.py"]
    for name, text in files:
        (tmp_path / name).write_text(text)
    folder = str(Path(sys.executable).parent)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    loaded = load_manifest(tmp_path / "langgraph.json")
    apply_environment(loaded)
    given = {
        "texts": ["The queue of the queue", "Agents and agents and pools"],
        "time": "09:00",
        "zone": "Asia/Kolkata",
        "zones": ["Asia/Tokyo", "UTC"],
    }
    settings = Settings(data_dir=tmp_path / "data")
    async with open_service(loaded, settings) as service, client_of(service.app) as client:
        body = {"assistant_id": "briefing", "input": given}
        values = (await client.post("/runs/wait", json=body, timeout=20)).json()
        pools = (await client.get("/agents")).json()
    assert values["keywords"] == [["queue"], ["agents", "pools"]]
    assert values["times"] == {"Asia/Tokyo": "12:30", "UTC": "03:30"}
    assert {one["pool"]: (one["kind"], one["seats"]) for one in pools} == {
        "readers": ("process", 2),
        "clock": ("mcp", 1),
    }
