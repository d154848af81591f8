"""Runs over HTTP that are cancelled, rolled back, deleted, out of time, or given up."""

from pathlib import Path
from typing import Any

from tests.api import plays
from tests.api.client import new_run, new_thread, open_client


async def test_cancelling_a_working_run_lets_it_clean_up(tmp_path: Path) -> None:
    async with open_client(tmp_path, "holder") as client:
        thread_id = await new_thread(client)
        path = await new_run(client, thread_id, "holder", "cancelled")
        await plays.gates["cancelled"].reached.wait()
        cancelled = await client.post(f"{path}/cancel", params={"wait": "true"})
        run = (await client.get(path)).json()
        thread = (await client.get(f"/threads/{thread_id}")).json()
        again = await client.post(f"{path}/cancel")
    assert (cancelled.status_code, plays.cleaned.pop()) == (204, "cancelled")
    assert run["status"] == thread["status"] == "interrupted"
    assert thread["values"]["log"] == ["cancelled"]
    assert (again.status_code, "interrupted" in again.json()["detail"]) == (404, True)


async def test_cancelling_a_waiting_run_ends_it_before_the_answer(tmp_path: Path) -> None:
    async with open_client(tmp_path, "holder") as client:
        thread_id = await new_thread(client)
        path = await new_run(client, thread_id, "holder", "waiting", after_seconds=60)
        cancelled = await client.post(f"{path}/cancel")
        run = (await client.get(path)).json()
        joined = (await client.get(f"{path}/join")).json()
    assert (cancelled.status_code, run["status"], joined) == (202, "interrupted", None)


async def test_rolling_back_leaves_no_trace_of_the_run(tmp_path: Path) -> None:
    async with open_client(tmp_path, "holder", "echo") as client:
        thread_id = await new_thread(client)
        await client.get(await new_run(client, thread_id, "echo", "before") + "/join")
        path = await new_run(client, thread_id, "holder", "undone")
        await plays.gates["undone"].reached.wait()
        await client.post(f"{path}/cancel", params={"wait": "true", "action": "rollback"})
        state = (await client.get(f"/threads/{thread_id}/state")).json()
        thread = (await client.get(f"/threads/{thread_id}")).json()
        gone = await client.get(path)
    assert state["values"] == thread["values"] == {"text": "before", "log": ["before"]}
    assert (thread["status"], gone.status_code) == ("idle", 404)


async def test_many_are_cancelled_by_their_ids_their_thread_or_their_status(
    tmp_path: Path,
) -> None:
    async with open_client(tmp_path, "holder", max_concurrent_runs=1) as client:
        first, second = await new_thread(client), await new_thread(client)
        working = await new_run(client, first, "holder", "many")
        await plays.gates["many"].reached.wait()
        waiting = [await new_run(client, second, "holder", "many") for _ in range(3)]

        async def cancel(**body: Any) -> int:
            given = {"wait": "true"}
            return (await client.post("/runs/cancel", json=body, params=given)).status_code

        async def statuses() -> list[str]:
            runs = [(await client.get(path)).json() for path in (working, *waiting)]
            return [run["status"] for run in runs]

        assert await cancel(run_ids=[waiting[0].rpartition("/")[2]]) == 204
        assert await statuses() == ["running", "interrupted", "pending", "pending"]
        assert await cancel(thread_id=second, status="running") == 404
        assert await cancel(status="pending", thread_id=second) == 204
        assert await statuses() == ["running", "interrupted", "interrupted", "interrupted"]
        assert await cancel(status="all") == 204
        assert await statuses() == ["interrupted"] * 4
        assert await cancel(status="all") == 404
        assert await cancel(run_ids=[]) == 422
        assert await cancel(run_ids=["x"] * 1000) == 404
        assert await cancel(run_ids=["x"] * 1001) == 422


async def test_deleting_a_run_takes_its_checkpoints_with_it(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo", "holder") as client:
        thread_id = await new_thread(client)
        paths = [await new_run(client, thread_id, "echo", text) for text in ("one", "two")]
        await client.get(f"{paths[1]}/join")
        deleted = await client.delete(paths[1])
        thread = (await client.get(f"/threads/{thread_id}")).json()
        state = (await client.get(f"/threads/{thread_id}/state")).json()
        working = await new_run(client, thread_id, "holder", "doomed")
        await plays.gates["doomed"].reached.wait()
        stopped = await client.delete(working)
        gone = [(await client.get(path)).status_code for path in (paths[1], working)]
        again = await client.delete(paths[1])
    assert (deleted.status_code, stopped.status_code, gone) == (204, 204, [404, 404])
    assert thread["values"] == state["values"] == {"text": "one", "log": ["one"]}
    assert again.status_code == 404


async def test_a_run_is_deleted_whatever_works_on_its_thread(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo", "holder") as client:
        thread_id = await new_thread(client)
        path = await new_run(client, thread_id, "echo", "before")
        await client.get(f"{path}/join")
        await new_run(client, thread_id, "holder", "beside a delete")
        await plays.gates["beside a delete"].reached.wait()
        deleted = await client.delete(path)
        gone = await client.get(path)
    assert (deleted.status_code, gone.status_code) == (204, 404)


async def test_a_run_that_takes_too_long_times_out(tmp_path: Path) -> None:
    async with open_client(tmp_path, "holder") as client:
        thread_id = await new_thread(client)
        path = await new_run(client, thread_id, "holder", "slow", timeout=0.05)
        answered = (await client.get(f"{path}/join")).json()
        run = (await client.get(path)).json()
        thread = (await client.get(f"/threads/{thread_id}")).json()
    message = "the run took longer than 0.05 seconds"
    assert answered == {"__error__": {"error": "TimeoutError", "message": message}}
    assert (run["status"], thread["status"]) == ("timeout", "error")


async def test_an_assistant_has_its_own_timeout(tmp_path: Path) -> None:
    manifest = {"masterloop": {"assistants": {"holder": {"timeout": 0.05}}}}
    async with open_client(tmp_path, "holder", manifest=manifest) as client:
        body = {"assistant_id": "holder", "input": {"text": "too slow"}}
        answered = (await client.post("/runs/wait", json=body)).json()
    assert answered["__error__"]["error"] == "TimeoutError"


async def test_dead_letters_are_listed(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo") as client:
        listed = await client.get("/dead-letters", params={"limit": 5})
    assert listed.json() == []


async def test_a_run_whose_graph_cannot_be_made_can_be_deleted(tmp_path: Path) -> None:
    async with open_client(tmp_path, "broken") as client:
        path = await new_run(client, await new_thread(client), "broken")
        await client.get(f"{path}/join")
        deleted = await client.delete(path)
        gone = await client.get(path)
    assert (deleted.status_code, gone.status_code) == (204, 404)
