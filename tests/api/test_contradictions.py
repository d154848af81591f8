"""The state of a thread whose tasks wrote what cannot be put together: as it was before them."""

from pathlib import Path

from tests.api.client import new_run, new_thread, open_client


async def test_a_thread_shows_its_state_after_such_a_run(tmp_path: Path) -> None:
    async with open_client(tmp_path, "contradicting") as client:
        thread_id = await new_thread(client)
        run = await new_run(client, thread_id, "contradicting", "x")
        failed = (await client.get(f"{run}/join")).json()["__error__"]["error"]
        thread = (await client.get(f"/threads/{thread_id}")).json()
        state = await client.get(f"/threads/{thread_id}/state")
    assert (failed, thread["status"]) == ("InvalidUpdateError", "error")
    assert thread["values"] == {"text": "x", "log": []}
    assert (state.status_code, state.json()["values"]) == (200, thread["values"])
    assert state.json()["next"] == ["left", "right"]


async def test_so_does_one_whose_reducer_failed(tmp_path: Path) -> None:
    async with open_client(tmp_path, "refusing") as client:
        thread_id = await new_thread(client)
        run = await new_run(client, thread_id, "refusing", "x")
        failed = (await client.get(f"{run}/join")).json()["__error__"]["error"]
        thread = (await client.get(f"/threads/{thread_id}")).json()
        state = await client.get(f"/threads/{thread_id}/state")
    assert (failed, thread["values"]["text"]) == ("LookupError", "x")
    assert (state.status_code, state.json()["values"]) == (200, thread["values"])


async def test_so_does_a_subgraph(tmp_path: Path) -> None:
    async with open_client(tmp_path, "contradicting_within") as client:
        thread_id = await new_thread(client)
        await client.get(await new_run(client, thread_id, "contradicting_within", "x") + "/join")
        path = f"/threads/{thread_id}/state"
        state = await client.get(path, params={"subgraphs": True})
    assert state.status_code == 200
    [task] = state.json()["tasks"]
    assert task["state"]["values"] == {"text": "x", "log": []}
