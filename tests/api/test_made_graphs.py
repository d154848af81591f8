"""The state of threads whose graph a function makes from the config of each run."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.client import new_thread, open_client

GRAPH = "asking_by_kind"
RUN: dict[str, Any] = {"assistant_id": GRAPH, "config": {"configurable": {"kind": "a"}}}


async def asked(client: httpx.AsyncClient, run: dict[str, Any] = RUN) -> str:
    """Return the path of a thread on which a run has asked something."""
    path = f"/threads/{await new_thread(client)}"
    await client.post(f"{path}/runs/wait", json={**run, "input": {"text": "which?"}})
    return path


@pytest.mark.parametrize("part", ["config", "context", "assistant"])
async def test_a_question_is_in_the_state_whatever_made_the_graph_that_asks(
    tmp_path: Path, part: str
) -> None:
    run = RUN if part == "config" else {"assistant_id": GRAPH, "context": {"kind": "a"}}
    async with open_client(tmp_path, GRAPH) as client:
        if part == "assistant":
            asks = {"graph_id": GRAPH, "config": RUN["config"]}
            made = await client.post("/assistants", json=asks)
            run = {"assistant_id": made.json()["assistant_id"]}
        path = await asked(client, run)
        state = (await client.get(f"{path}/state")).json()
        [latest, *_] = (await client.get(f"{path}/history")).json()
    assert (state["next"], state["tasks"][0]["name"]) == (["ask_a"], "ask_a")
    assert state["interrupts"][0]["value"] == {"question": "which?"}
    assert latest == state


async def test_an_answer_is_taken_after_the_state_was_changed(tmp_path: Path) -> None:
    async with open_client(tmp_path, GRAPH) as client:
        path = await asked(client)
        changes = {"values": {"text": "changed"}, "as_node": "read_a"}
        await client.post(f"{path}/state", json=changes)
        shown = (await client.get(path)).json()["status"]
        answer = {**RUN, "command": {"resume": "yes"}}
        values = (await client.post(f"{path}/runs/wait", json=answer)).json()
    assert (shown, values) == ("interrupted", {"text": "changed", "log": ["which?", "yes"]})


async def test_a_run_that_has_not_begun_changes_no_graph(tmp_path: Path) -> None:
    async with open_client(tmp_path, GRAPH) as client:
        path = await asked(client)
        later = {**RUN, "config": {"configurable": {"kind": "b"}}, "after_seconds": 3_600}
        await client.post(f"{path}/runs", json={**later, "input": {}})
        state = (await client.get(f"{path}/state")).json()
    assert state["next"] == ["ask_a"]


async def test_a_state_is_read_for_who_reads_it_and_not_for_who_ran(tmp_path: Path) -> None:
    auth = {"auth": {"path": "tests.api.guards:objects", "disable_studio_auth": True}}
    body = {"assistant_id": "for_somebody", "input": {"text": "x"}}  # a graph for Alice alone
    async with open_client(tmp_path, "for_somebody", manifest=auth) as client:
        path = f"/threads/{await new_thread(client)}"
        ran = await client.post(f"{path}/runs/wait", params={"as": "alice"}, json=body)
        read = [await client.get(f"{path}/state", params={"as": who}) for who in ("alice", "bob")]
    assert ran.json()["log"] == ["x"]
    assert [response.status_code for response in read] == [200, 424]
