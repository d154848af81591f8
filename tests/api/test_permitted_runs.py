"""Whatever makes a run asks the project's handler for it as a request for a run does."""

from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

from orchestration.store.assistants import default_assistant
from tests.api.client import new_run, new_thread, open_client, open_socket
from tests.api.guards import KEPT
from tests.api.test_commands import questions, run, send
from tests.api.test_crons import make_due, new_cron, until
from tests.api.test_thread_log import to_the_end

PLANNING = {"auth": {"path": "tests.api.guards:planning"}}
NOTING = {"auth": {"path": "tests.api.guards:noting"}}
MINE = {"configurable": {"plan": "mine"}}


async def plans(client: httpx.AsyncClient, thread: str) -> list[str]:
    """Return the plan of each run of a thread."""
    runs = (await client.get(f"/threads/{thread}/runs")).json()
    return sorted(one["kwargs"]["config"]["configurable"]["plan"] for one in runs)


async def test_what_a_handler_changes_in_a_run_counts_for_commands(tmp_path: Path) -> None:
    thread = str(uuid4())
    async with open_socket(tmp_path, "asking", manifest=PLANNING) as (_, client):
        await run(client, thread, "asking", {"text": "x"}, config=MINE)
        (question,) = (await questions(client, thread)).values()
        answer = {"interrupt_id": question, "response": "yes", "config": MINE}
        answered = await send(client, thread, "input.respond", **answer)
        await to_the_end(client, thread)
        listed = await send(client, thread, "state.listCheckpoints", limit=1)
        [checkpoint] = listed["result"]["checkpoints"]
        fork = {"checkpoint_id": checkpoint["id"], "config": MINE}
        forked = await send(client, thread, "state.fork", **fork)
        await to_the_end(client, thread)
        got = await plans(client, thread)
    assert (answered["status"], forked["status"], got) == (200, 200, ["gold"] * 3)


async def test_an_assistant_that_is_denied_by_its_id_is_denied_by_its_name(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo", "failing", manifest=PLANNING) as client:
        asked = [
            await client.post(path, json={"assistant_id": one, "input": {}})
            for one in ("failing", default_assistant("failing"), "echo")
            for path in ("/runs/wait", f"/threads/{await new_thread(client)}/runs")
        ]
        batch = await client.post("/runs/batch", json=[{"assistant_id": "failing", "input": {}}])
    assert [one.status_code for one in asked] == [403, 403, 403, 403, 200, 200]
    assert batch.status_code == 403


async def test_no_command_runs_an_assistant_that_a_handler_denies(tmp_path: Path) -> None:
    thread = str(uuid4())
    async with open_socket(tmp_path, "asking", "failing", manifest=PLANNING) as (_, client):
        await run(client, thread, "asking", {"text": "x"})
        (question,) = (await questions(client, thread)).values()
        listed = await send(client, thread, "state.listCheckpoints", limit=1)
        [checkpoint] = listed["result"]["checkpoints"]
        metadata = {"assistant_id": default_assistant("failing")}
        await client.patch(f"/threads/{thread}", json={"metadata": metadata})
        commands: dict[str, dict[str, Any]] = {
            "run.start": {"assistant_id": "failing", "input": {}},
            "input.respond": {"interrupt_id": question, "response": "yes"},
            "state.fork": {"checkpoint_id": checkpoint["id"]},
        }
        refused = [await send(client, thread, name, **given) for name, given in commands.items()]
        left = await plans(client, thread)
    assert [(one["status"], one["error"]) for one in refused] == [(403, "permission_denied")] * 3
    assert left == ["gold"]


async def test_a_cron_is_made_and_changed_as_a_handler_leaves_its_runs(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo", manifest=PLANNING) as client:
        thread = await new_thread(client)
        cron = await new_cron(client, thread, input={"text": "x"}, config=MINE)
        changed = await client.patch(f"/runs/crons/{cron['cron_id']}", json={"config": MINE})
        await make_due(tmp_path, client, cron)

        async def ran() -> Any:
            return (await client.get(f"/threads/{thread}/runs")).json()

        await until(ran)
        kept = [one["payload"]["config"]["configurable"]["plan"] for one in (cron, changed.json())]
        assert (kept, await plans(client, thread)) == (["gold", "gold"], ["gold"])


async def test_a_cron_of_an_assistant_that_a_handler_denies_is_refused(tmp_path: Path) -> None:
    async with open_client(tmp_path, "failing", manifest=PLANNING) as client:
        cron = {"assistant_id": "failing", "schedule": "0 0 1 1 *"}
        assert (await client.post("/runs/crons", json=cron)).status_code == 403


async def test_a_handler_is_asked_for_each_thread_that_goes_with_an_assistant(
    tmp_path: Path,
) -> None:
    async with open_client(tmp_path, "echo", manifest=NOTING) as client:
        made = (await client.post("/assistants", json={"graph_id": "echo"})).json()
        path = f"/assistants/{made['assistant_id']}"
        threads = [await new_thread(client), await new_thread(client, thread_id=str(KEPT))]
        for thread in threads:
            await client.get(f"{await new_run(client, thread, made['assistant_id'])}/join")
        refused = await client.delete(path, params={"delete_threads": True})
        kept = [(await client.get(f"/threads/{thread}")).status_code for thread in threads]
        await client.get(f"{await new_run(client, str(KEPT), 'echo')}/join")
        gone = await client.delete(path, params={"delete_threads": True})
        left = [(await client.get(f"/threads/{thread}")).status_code for thread in threads]
    assert (refused.status_code, kept) == (403, [200, 200])
    assert (gone.status_code, left) == (204, [404, 200])
