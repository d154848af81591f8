"""The state of a thread whose tasks wrote what cannot be put together: as it was before them."""

from pathlib import Path
from typing import Any

import pytest

from tests.api.client import new_run, new_thread, open_client


@pytest.mark.parametrize(
    ("graph", "error", "values", "following"),
    [
        ("contradicting", "InvalidUpdateError", {"text": "x", "log": []}, ["left", "right"]),
        ("refusing", "LookupError", {"text": "x", "log": []}, ["claim"]),
    ],
)
async def test_a_thread_shows_its_state_after_such_a_run(
    tmp_path: Path, graph: str, error: str, values: dict[str, Any], following: list[str]
) -> None:
    async with open_client(tmp_path, graph) as client:
        thread_id = await new_thread(client)
        run = await new_run(client, thread_id, graph, "x")
        failed = (await client.get(f"{run}/join")).json()["__error__"]["error"]
        thread = (await client.get(f"/threads/{thread_id}")).json()
        state = await client.get(f"/threads/{thread_id}/state")
    assert (failed, thread["status"]) == (error, "error")
    assert thread["values"] == values
    assert (state.status_code, state.json()["values"]) == (200, values)
    assert state.json()["next"] == following


async def test_so_does_a_subgraph(tmp_path: Path) -> None:
    async with open_client(tmp_path, "contradicting_within") as client:
        thread_id = await new_thread(client)
        await client.get(await new_run(client, thread_id, "contradicting_within", "x") + "/join")
        path = f"/threads/{thread_id}/state"
        state = await client.get(path, params={"subgraphs": True})
    assert state.status_code == 200
    [task] = state.json()["tasks"]
    assert task["state"]["values"] == {"text": "x", "log": []}
