"""Tools in a service, used by the steps of workflows."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from orchestration.cli import app
from tests.api.client import open_client
from tests.coordinator.stubborn import began, let_go, went_on

TOOLS = {
    "floor": {"kind": "function", "function": "math:floor", "input": "{{ input.number }}"},
    "root": {"kind": "function", "function": "math:sqrt", "needs": ["floor"], "fallback": "none",
             "input": "{{ needs.floor }}", "breaker": {"failures": 2, "rest": 600}},
    "none": {"kind": "lookup", "table": {"yes": "no root"}, "input": "yes"},
    "ceiling": {"kind": "function", "function": "math:ceil", "input": "{{ input.number }}"},
    "whole": {"kind": "choice", "variants": ["floor", "ceiling"]},
    "card": {"kind": "view", "view": "The root is {{ input.root }}.", "needs": ["root"],
             "input": {"root": "{{ needs.root }}"}},
    "stubborn": {"kind": "function", "function": "tests.coordinator.stubborn:stay"},
}  # fmt: skip


@asynccontextmanager
async def service(folder: Path, **settings: Any) -> AsyncGenerator[httpx.AsyncClient]:
    manifest = {"masterloop": {"tools": TOOLS}}
    async with open_client(folder, "echo", manifest=manifest, **settings) as client:
        yield client


async def done(client: httpx.AsyncClient, tool: str, number: float, **step: Any) -> Any:
    """Return what a step that uses a tool gives; and the id of the run."""
    steps = [{"id": "s", "tool": tool, "input": {"number": "{{ input.n }}"}, **step}]
    body = {"workflow": {"name": "w", "steps": steps}, "input": {"n": number}}
    run = (await client.post("/workflows/runs", json=body)).json()
    path = f"/threads/{run['thread_id']}/runs/{run['run_id']}"
    return (await client.get(f"{path}/join")).json()["steps"]["s"], run["run_id"]


async def test_a_step_uses_a_chain_and_its_fallback_as_long_as_its_budget_allows(
    tmp_path: Path,
) -> None:
    async with service(tmp_path) as client:
        step, _ = await done(client, "card", 16.5)
        assert (step["output"], step["tool_calls"]) == ("The root is 4.0.", 3)
        calls = []
        for _ in range(3):
            step, _ = await done(client, "card", -4.0)
            assert step["output"] == "The root is no root."
            calls.append(step["tool_calls"])
        assert calls == [4, 4, 3]  # the third time the root was left alone
        few = await done(client, "card", 9.0, budget={"tool_calls": 1}, on_error="continue")
        assert few[0]["error"]["error"] == "BudgetSpent"


async def test_a_choice_is_told_among_the_decisions_of_its_run(tmp_path: Path) -> None:
    async with service(tmp_path) as client:
        step, run_id = await done(client, "whole", 2.5)
        found = (await client.get("/coordinator/decisions", params={"run_id": run_id})).json()
    (decision,) = [one for one in found if one["step"] == "s.whole"]
    assert decision["workflow"] == "w"
    assert step["output"] == {"floor": 2, "ceiling": 3}[decision["chosen"]["variant"]]
    assert decision["result"]["success"]


async def test_a_step_is_over_in_time_though_its_tool_does_not_stop(tmp_path: Path) -> None:
    async with service(tmp_path, cancel_grace=0.1) as client, asyncio.timeout(10):
        try:
            step, _ = await done(client, "stubborn", 1, timeout=0.1, on_error="continue")
            assert (step["status"], step["error"]["error"]) == ("failed", "StepTimeout")
            parts = (await client.get("/ops/status")).json()["components"]
            assert (parts["threads"]["state"], parts["threads"]["figures"]) == (
                "degraded",
                {"zombie_runs": 0, "zombie_tools": 1, "abandoned_threads": 0},
            )
            assert "masterloop_zombie_tools 1.0" in (await client.get("/metrics")).text
        finally:
            let_go()


@pytest.mark.parametrize(
    ("who", "zombies"), [({"graph": "stubborn"}, 1), ({"agent": "stubborn"}, 0)]
)
async def test_a_step_is_over_in_time_though_its_graph_or_agent_does_not_stop(
    who: dict[str, str], zombies: int, tmp_path: Path
) -> None:
    pools = {"stubborn": {"kind": "graph", "graph": "stubborn"}}
    graphs = {"stubborn": "tests.coordinator.stubborn:graph"}
    manifest = {"graphs": graphs, "masterloop": {"agents": pools}}
    steps = [{"id": "s", **who, "timeout": 0.1, "on_error": "continue"}]
    async with (
        asyncio.timeout(20),
        open_client(tmp_path, manifest=manifest, cancel_grace=0.1) as client,
    ):
        try:
            body = {"workflow": {"name": "w", "steps": steps}}
            run = (await client.post("/workflows/runs", json=body)).json()
            path = f"/threads/{run['thread_id']}/runs/{run['run_id']}"
            step = (await client.get(f"{path}/join")).json()["steps"]["s"]
            assert (step["status"], step["error"]["error"]) == ("failed", "StepTimeout")
            figures = {"zombie_runs": 0, "zombie_tools": zombies, "abandoned_threads": 0}
            threads = (await client.get("/ops/status")).json()["components"]["threads"]
            assert threads["figures"] == figures
        finally:
            let_go()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    await asyncio.gather(*others, return_exceptions=True)
    assert went_on == []


@pytest.mark.parametrize("who", [{"graph": "stubborn"}, {"tool": "stubborn"}])
async def test_a_step_that_does_not_stop_when_its_run_is_cancelled_is_told_once(
    who: dict[str, str], tmp_path: Path
) -> None:
    graphs = {"stubborn": "tests.coordinator.stubborn:graph"}
    manifest = {"graphs": graphs, "masterloop": {"tools": {"stubborn": TOOLS["stubborn"]}}}
    async with (
        asyncio.timeout(20),
        open_client(tmp_path, manifest=manifest, cancel_grace=1.0) as client,
    ):
        try:
            body = {"workflow": {"name": "w", "steps": [{"id": "s", **who}]}}
            run = (await client.post("/workflows/runs", json=body)).json()
            path = f"/threads/{run['thread_id']}/runs/{run['run_id']}"
            await began()
            await client.post(f"{path}/cancel", params={"wait": True})
            told = ""
            while "masterloop_runs_finished_total{" not in told:
                told = (await client.get("/metrics")).text
            assert "masterloop_zombies_left_total 1.0" in told
            assert "masterloop_zombie_tools 1.0" in told
        finally:
            let_go()


async def test_a_tool_that_is_not_there_is_refused(tmp_path: Path) -> None:
    workflow = {"name": "w", "steps": [{"id": "s", "tool": "carb"}]}
    async with service(tmp_path) as client:
        answer = await client.post("/workflows/runs", json={"workflow": workflow, "input": {}})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/workflow/steps/0/tool"
    file = tmp_path / "w.json"
    file.write_text(json.dumps(workflow))
    config = str(tmp_path / "langgraph.json")
    told = CliRunner().invoke(app, ["workflow", "check", str(file), "--config", config])
    assert told.exit_code == 1
    assert "Did you mean card?" in told.output
