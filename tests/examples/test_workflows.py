"""The worked workflows of `examples`, on real files, in a service that reads them all."""

import json
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from operations.settings import Settings
from orchestration.graphs.manifest import apply_environment, load_manifest
from orchestration.service import open_service
from tests.api.client import client_of

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"


@asynccontextmanager
async def service(folder: Path) -> AsyncGenerator[httpx.AsyncClient]:
    """Open a service of the examples, with its data in ``folder``."""
    manifest = load_manifest(EXAMPLES / "langgraph.json")
    apply_environment(manifest)
    settings = Settings(data_dir=folder)
    async with open_service(manifest, settings) as opened, client_of(opened.app) as client:
        client.timeout = httpx.Timeout(60)
        yield client


@pytest.fixture(autouse=True)
def _python(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = str(Path(sys.executable).parent)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(ROOT)


async def ran(client: httpx.AsyncClient, name: str, **given: Any) -> dict[str, Any]:
    body = {"assistant_id": name, "input": given}
    values: dict[str, Any] = (await client.post("/runs/wait", json=body)).json()
    assert "__error__" not in values, values
    return values


@pytest.mark.timeout(60)
async def test_documents_are_digested_and_published_once_a_human_has_approved(
    tmp_path: Path,
) -> None:
    paths = ["docs/run.md", "docs/cancel.md", "docs/workflows.md"]
    target = tmp_path / "report.txt"
    spec = json.loads((EXAMPLES / "workflows/report.json").read_text())
    async with service(tmp_path / "data") as client:
        body = {"workflow": spec, "input": {"paths": paths, "to": str(target)}}
        run = (await client.post("/workflows/runs", json=body)).json()
        home = f"/threads/{run['thread_id']}/runs"
        waiting = (await client.get(f"{home}/{run['run_id']}/join")).json()
        (asked,) = waiting["__interrupt__"]
        assert not target.exists()
        (publishing,) = asked["value"]["does"]
        assert asked["value"]["question"] == f"Publish the report on 3 documents to {target}?"
        answer = {"decision": "approve", "hash": asked["value"]["hash"]}
        resume = {"assistant_id": run["assistant_id"], "command": {"resume": answer}}
        values = (await client.post(f"{home}/wait", json=resume)).json()
    written = target.read_text()
    assert written == publishing["input"]["text"]
    assert written.endswith("words in docs/run.md, docs/cancel.md, docs/workflows.md\n")
    words = [one["digest"]["totals"]["words"] for one in values["steps"]["digests"]["output"]]
    assert min(words) > 100
    assert written.startswith(" + ".join(map(str, words)))


@pytest.mark.timeout(60)
async def test_texts_are_counted_although_one_agent_is_slow_and_one_is_broken(
    tmp_path: Path,
) -> None:
    texts = [path.read_text() for path in sorted((ROOT / "docs").glob("*.md"))[:12]]
    async with service(tmp_path) as client:
        values = await ran(client, "shelf", texts=texts)
        decisions = (await client.get("/coordinator/decisions", params={"limit": 100})).json()
    count = values["steps"]["count"]
    assert (count["status"], len(count["output"])) == ("done", 12)
    assert values["steps"]["sum"]["output"]["total"] == sum(o["words"] for o in count["output"])
    chosen = [one["chosen"]["pool"] for one in reversed(decisions) if one["step"] == "count"]
    assert set(chosen) <= {"quick", "slow", "broken"}
    assert chosen[-6:].count("quick") > chosen[-6:].count("broken"), chosen
    assert all(one["why"] for one in decisions)


@pytest.mark.timeout(60)
async def test_a_word_is_looked_up_by_who_is_there_and_then_known(tmp_path: Path) -> None:
    async with service(tmp_path) as client:
        first = await ran(client, "meaning", word="Drain")
        again = await ran(client, "meaning", word="drain")
    assert first["steps"]["say"]["output"]["sentence"].startswith("Drain: to finish or hand back")
    assert first["steps"]["look_up"]["by"] == "agent glossary"
    assert first["steps"]["look_up"]["attempts"] == 3
    assert (again["steps"]["look_up"]["by"], again["steps"]["look_up"]["attempts"]) == ("cache", 0)
