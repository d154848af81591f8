"""Threads made with the supersteps that they have gone through elsewhere."""

from pathlib import Path
from typing import Any

import pytest

from operations.errors import StorageFull
from orchestration.store.threads import ThreadStore
from tests.api.client import NOBODY, PROBLEM, new_thread, open_client


async def test_a_thread_can_be_made_with_the_supersteps_that_it_has_gone_through(
    tmp_path: Path,
) -> None:
    steps = [
        {"updates": [{"values": {"text": "one"}, "as_node": "__input__"}]},
        {"updates": [{"values": {"text": "one"}, "as_node": "__start__"}]},
        {"updates": [{"values": {"log": ["said"]}, "as_node": "before"}]},
        {"updates": [{"command": {"update": {"log": ["told"]}}, "as_node": "hold"}]},
    ]
    async with open_client(tmp_path, "holder") as client:
        body = {"metadata": {"graph_id": "holder"}, "supersteps": steps}
        made = (await client.post("/threads", json=body)).json()
        path = f"/threads/{made['thread_id']}"
        state = (await client.get(f"{path}/state")).json()
        history = (await client.get(f"{path}/history")).json()
        ran = await client.post(f"{path}/runs/wait", json={"assistant_id": "holder"})
        again = await client.post(f"{path}/state/bulk", json={"supersteps": steps[2:3]})
        bulk = (await client.get(f"{path}/state")).json()
    assert (state["values"], state["next"]) == ({"text": "one", "log": ["said", "told"]}, ["after"])
    assert (made["values"], made["status"]) == (state["values"], "interrupted")
    assert len(history) == 4
    assert ran.json()["log"] == ["said", "told", "one"]
    assert bulk["values"]["log"] == ["said", "told", "one", "said"]
    assert again.json()["checkpoint"]["checkpoint_id"] == bulk["checkpoint_id"]


@pytest.mark.parametrize(
    ("metadata", "supersteps", "status"),
    [
        ({}, [{"updates": [{"values": {}, "as_node": "echo"}]}], 409),
        ({"graph_id": "echo"}, [{"updates": [{"values": {}, "as_node": "nobody"}]}], 409),
        ({"graph_id": "echo"}, [{"updates": []}], 422),
        ({"graph_id": "echo"}, [], 422),
        ({"graph_id": "echo"}, [{"updates": [{"value": {}}]}], 422),
    ],
)
async def test_a_thread_whose_supersteps_cannot_be_is_not_made(
    tmp_path: Path, metadata: dict[str, Any], supersteps: list[Any], status: int
) -> None:
    async with open_client(tmp_path, "echo") as client:
        body = {"thread_id": NOBODY, "metadata": metadata, "supersteps": supersteps}
        made = await client.post("/threads", json=body)
        found = await client.get(f"/threads/{NOBODY}")
    assert (made.status_code, made.headers["content-type"]) == (status, PROBLEM)
    assert found.status_code == 404


async def test_a_thread_that_could_not_be_taken_through_its_supersteps_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: object) -> None:
        raise StorageFull("no room")

    steps = [{"updates": [{"values": {"text": "one"}, "as_node": "__input__"}]}]
    body = {"thread_id": NOBODY, "metadata": {"graph_id": "echo"}, "supersteps": steps}
    async with open_client(tmp_path, "echo") as client:
        with monkeypatch.context() as patch:
            patch.setattr(ThreadStore, "show", full)
            refused = await client.post("/threads", json=body)
        found = await client.get(f"/threads/{NOBODY}")
        made = await client.post("/threads", json=body)
    assert (refused.status_code, found.status_code, made.status_code) == (507, 404, 200)


async def test_supersteps_before_one_that_is_refused_stand_and_are_shown(tmp_path: Path) -> None:
    steps = [
        {"updates": [{"values": {"log": ["one"]}, "as_node": "echo"}]},
        {"updates": [{"values": {}, "as_node": "nobody"}]},
    ]
    async with open_client(tmp_path, "echo") as client:
        path = f"/threads/{await new_thread(client, metadata={'graph_id': 'echo'})}"
        refused = await client.post(f"{path}/state/bulk", json={"supersteps": steps})
        state = (await client.get(f"{path}/state")).json()
        thread = (await client.get(path)).json()
    assert refused.status_code == 409
    assert thread["values"] == state["values"] == {"log": ["one"]}
