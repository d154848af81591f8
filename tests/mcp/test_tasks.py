"""Calls that become tasks, on the newest wire."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from orchestration.loop.run import Run
from orchestration.mcp import answers
from orchestration.store.runs import RunStore
from tests.api.plays import gates
from tests.mcp.client import TASKS, open_tools, rpc, until

ABLE: dict[str, Any] = {"extensions": {TASKS: {}}, "elicitation": {"form": {}}}
AT_ONCE = {"task_after": 0.0}


async def _call(http: httpx.AsyncClient, tool: str, /, **arguments: Any) -> dict[str, Any]:
    return await rpc(http, "tools/call", {"name": tool, "arguments": arguments}, able=ABLE)


async def _get(http: httpx.AsyncClient, task: dict[str, Any]) -> dict[str, Any]:
    return await rpc(http, "tasks/get", {"taskId": task["taskId"]}, able=ABLE)


async def _settled(http: httpx.AsyncClient, task: dict[str, Any]) -> dict[str, Any]:
    """Return a task that works no more."""
    while (found := await _get(http, task))["status"] == "working":
        run_id = {"run_id": task["taskId"]}
        await rpc(http, "tools/call", {"name": "run_wait", "arguments": run_id})
    return found


async def _update(http: httpx.AsyncClient, task: dict[str, Any], **answers: Any) -> dict[str, Any]:
    params = {"taskId": task["taskId"], "inputResponses": answers}
    return await rpc(http, "tasks/update", params, able=ABLE)


@asynccontextmanager
async def _tasks(folder: Path, *graphs: str, **more: Any) -> AsyncGenerator[httpx.AsyncClient]:
    async with open_tools(folder, *graphs, mcp={**AT_ONCE, **more}) as (_, http):
        yield http


async def test_a_task_that_asks_a_client_without_forms_says_how_to_go_on(tmp_path: Path) -> None:
    able: dict[str, Any] = {"extensions": {TASKS: {}}}
    async with _tasks(tmp_path, "confirm_delete") as http:
        task = await _call(http, "confirm_delete", filename="a.txt")
        await _settled(http, task)
        asking = await rpc(http, "tasks/get", {"taskId": task["taskId"]}, able=able)
        given = {"run_id": task["taskId"], "answer": {"confirm": True}}
        await rpc(http, "tools/call", {"name": "run_resume", "arguments": given})
        done = await rpc(http, "tasks/get", {"taskId": task["taskId"]}, able=able)
    assert (asking["status"], "inputRequests" in asking) == ("completed", False)
    assert f'call run_resume with {{"run_id": "{task["taskId"]}"' in str(asking["result"])
    assert done["result"]["structuredContent"] == {"text": "deleted a.txt"}


async def test_a_call_that_takes_long_becomes_a_task(tmp_path: Path) -> None:
    async with _tasks(tmp_path, "hold") as http:
        task = await _call(http, "hold", name="task")
        working = await _get(http, task)
        gates["task"].opened.set()
        done = await _settled(http, task)
    assert (task["resultType"], task["status"], task["ttlMs"]) == ("task", "working", None)
    assert (working["taskId"], working["status"]) == (task["taskId"], "working")
    assert done["status"] == "completed"
    assert done["result"]["structuredContent"] == {"text": "held"}


async def test_a_task_whose_client_went_before_it_was_told_of_it_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, went = asyncio.Event(), asyncio.Event()
    announce = RunStore.announce

    async def slowly(runs: RunStore, run: Run) -> None:
        begun.set()
        await went.wait()
        await announce(runs, run)

    monkeypatch.setattr(RunStore, "announce", slowly)
    async with open_tools(tmp_path, "hold", mcp=AT_ONCE) as (service, http):
        calling = asyncio.create_task(_call(http, "hold", name="unheard"))
        await begun.wait()
        run = service.loop.all_live()[0]
        calling.cancel()
        await until(lambda: run.status == "interrupted")
        went.set()


async def test_a_task_outlives_the_service(tmp_path: Path) -> None:
    async with _tasks(tmp_path, "hold") as http:
        task = await _call(http, "hold", name="survivor")
        await gates["survivor"].reached.wait()
    gates["survivor"].opened.set()
    async with _tasks(tmp_path, "hold") as http:
        done = await _settled(http, task)
    assert done["result"]["structuredContent"] == {"text": "held"}


async def test_a_call_becomes_no_task_for_who_does_not_know_them_or_where_it_must_not(
    tmp_path: Path,
) -> None:
    tasks = {"greet": "forbidden", "failing_job": "required"}
    async with _tasks(tmp_path, "greet", "failing_job", tasks=tasks) as http:
        plain = await _call(http, "greet", name="Ada")
        refused = await rpc(http, "tools/call", {"name": "failing_job", "arguments": {}})
        unknown = await rpc(http, "tasks/get", {"taskId": "x"})
    assert plain["resultType"] == "complete"
    assert (refused["code"], unknown["code"]) == (-32021, -32021)
    assert refused["data"] == {"requiredCapabilities": {"extensions": {TASKS: {}}}}


async def test_a_task_fails_when_its_graph_is_not_to_blame(tmp_path: Path) -> None:
    limits = {
        "assistants": {"protocol_error_job": {"timeout": 0.1}},
        "mcp": AT_ONCE,
    }
    graphs = ("failing_job", "protocol_error_job")
    async with open_tools(tmp_path, *graphs, manifest={"masterloop": limits}) as (_, http):
        failing = await _settled(http, await _call(http, "failing_job"))
        hanging = await _settled(http, await _call(http, "protocol_error_job"))
    assert (failing["status"], failing["result"]["isError"]) == ("completed", True)
    assert hanging["status"] == "failed"
    assert "Timeout" in hanging["error"]["message"]


async def test_a_cancelled_task_is_cancelled_and_may_be_cancelled_again(tmp_path: Path) -> None:
    async with _tasks(tmp_path, "hold") as http:
        task = await _call(http, "hold", name="task to cancel")
        params = {"taskId": task["taskId"]}
        first = await rpc(http, "tasks/cancel", params, able=ABLE)
        found = await _settled(http, task)
        again = await rpc(http, "tasks/cancel", params, able=ABLE)
    assert found["status"] == "cancelled"
    assert first["resultType"] == again["resultType"] == "complete"


async def test_a_handler_for_runs_is_asked_for_the_run_that_answers_make(tmp_path: Path) -> None:
    handlers = {"auth": {"path": "tests.api.guards:planning"}}
    async with open_tools(tmp_path, "multi_input", mcp=AT_ONCE, manifest=handlers) as (_, http):
        task = await _call(http, "multi_input")
        asking = await _settled(http, task)
        answer = {"action": "accept", "content": {"name": "x"}}
        await _update(http, task, **dict.fromkeys(asking["inputRequests"], answer))
        done = await _settled(http, task)
    assert (asking["status"], done["status"]) == ("input_required", "completed")


async def test_a_task_that_asks_goes_on_once_it_has_every_answer(tmp_path: Path) -> None:
    async with _tasks(tmp_path, "multi_input") as http:
        task = await _call(http, "multi_input")
        asking = await _settled(http, task)
        first, second = asking["inputRequests"]
        await _update(http, task, **{first: {"action": "accept", "content": {"name": "x"}}})
        half = await _get(http, task)
        wrong = await _update(http, task, **{second: "x"})
        await _update(http, task, **{second: {"action": "accept", "content": {"nome": "x"}}})
        still = await _get(http, task)
        await _update(http, task, **{second: {"action": "accept", "content": {"name": "x"}}})
        done = await _settled(http, task)
        await _update(http, task, **{second: {"action": "accept", "content": {"name": "y"}}})
    assert asking["status"] == "input_required"
    assert wrong["code"] == -32602
    assert list(half["inputRequests"]) == list(still["inputRequests"]) == [second]
    assert done["result"]["structuredContent"] == {"text": "a is x;b is x;"}


async def test_a_task_keeps_its_answers_where_the_run_that_goes_on_is_refused(
    tmp_path: Path,
) -> None:
    answer = {"action": "accept", "content": {"name": "x"}}
    room: dict[str, Any] = {"max_concurrent_runs": 1, "queue_capacity": 1}
    async with open_tools(tmp_path, "multi_input", "hold", mcp=AT_ONCE, **room) as (_, http):
        task = await _call(http, "multi_input")
        first, second = (await _settled(http, task))["inputRequests"]
        await _update(http, task, **{first: answer})
        others = [await _call(http, "hold", name="full queue") for _ in range(2)]
        refused = await _update(http, task, **{second: answer})
        still = await _get(http, task)
        gates["full queue"].opened.set()
        for other in others:
            await _settled(http, other)
        await _update(http, task, **{second: answer})
        done = await _settled(http, task)
    assert "queue is full" in refused["message"]
    assert list(still["inputRequests"]) == [second]
    assert done["result"]["structuredContent"] == {"text": "a is x;b is x;"}


async def test_a_task_takes_all_answers_at_once_where_some_are_too_long_to_wait(
    tmp_path: Path,
) -> None:
    long: dict[str, Any] = {"action": "accept", "content": {"name": "x" * answers.LONGEST}}
    async with _tasks(tmp_path, "multi_input") as http:
        task = await _call(http, "multi_input")
        first, second = (await _settled(http, task))["inputRequests"]
        refused = await _update(http, task, **{first: long})
        still = await _get(http, task)
        await _update(http, task, **{first: long, second: long})
        done = await _settled(http, task)
    assert refused["code"] == -32602
    assert "answer all questions at once" in refused["message"]
    assert list(still["inputRequests"]) == [first, second]
    assert len(done["result"]["structuredContent"]["text"]) > 2 * answers.LONGEST


@pytest.mark.parametrize(
    "odd", [{"content": {"answer": "yes"}}, {"action": "ACCEPT"}, {"action": []}, {"roots": []}]
)
async def test_a_task_asks_still_after_what_is_no_answer(
    tmp_path: Path, odd: dict[str, Any]
) -> None:
    async with _tasks(tmp_path, "ask_text") as http:
        task = await _call(http, "ask_text")
        (key,) = (await _settled(http, task))["inputRequests"]
        await _update(http, task, **{key: odd})
        still = await _get(http, task)
        await _update(http, task, **{key: {"action": "accept", "content": {"answer": "yes"}}})
        done = await _settled(http, task)
    assert list(still.get("inputRequests", ())) == [key]
    assert done["result"]["structuredContent"] == {"text": "You said yes"}


@pytest.mark.parametrize("how", ["declined", "cancelled"])
async def test_a_task_that_asks_in_vain_is_cancelled(tmp_path: Path, how: str) -> None:
    async with _tasks(tmp_path, "confirm_delete") as http:
        task = await _call(http, "confirm_delete", filename="f")
        asking = await _settled(http, task)
        if how == "declined":
            key = next(iter(asking["inputRequests"]))
            await _update(http, task, **{key: {"action": "decline"}})
        else:
            await rpc(http, "tasks/cancel", {"taskId": task["taskId"]}, able=ABLE)
        found = await _get(http, task)
    assert asking["status"] == "input_required"
    assert found["status"] == "cancelled"


async def test_a_task_that_is_not_there_is_unknown(tmp_path: Path) -> None:
    nobody = "00000000-0000-4000-8000-000000000000"
    async with _tasks(tmp_path, "greet") as http:
        errors = [
            await rpc(http, "tasks/get", {"taskId": task_id}, able=ABLE)
            for task_id in (nobody, "nonsense")
        ]
        params = {"taskId": nobody}
        other = await rpc(http, "tasks/get", params, able=ABLE, headers={"mcp-name": "other"})
    assert [error["message"] for error in errors] == [
        f"Unknown task: {nobody}",
        "Unknown task: nonsense",
    ]
    assert other["code"] == -32020


async def test_the_result_of_a_task_stays_when_its_assistant_is_deleted(tmp_path: Path) -> None:
    async with open_tools(tmp_path, "greet", "hold", mcp=AT_ONCE) as (service, http):
        body = {"graph_id": "hold", "name": "For a while"}
        assistant = (await http.post("/assistants", json=body)).json()["assistant_id"]
        task = await _call(http, f"For_a_while_{assistant[-8:]}", name="orphan")
        gates["orphan"].opened.set()
        await until(lambda: service.loop.live(task["taskId"]) is None)
        assert (await http.delete(f"/assistants/{assistant}")).is_success
        done = await _get(http, task)
    assert done["status"] == "completed"
    assert '"text":"held"' in done["result"]["content"][0]["text"]


async def test_a_task_that_a_stop_has_put_back_is_not_said_to_be_cancelled(tmp_path: Path) -> None:
    async with open_tools(tmp_path, "hold", mcp=AT_ONCE, drain_grace=0.01) as (service, http):
        task = await _call(http, "hold", name="task put back")
        await gates["task put back"].reached.wait()
        await service.loop.drain()
        refused = await rpc(http, "tasks/cancel", {"taskId": task["taskId"]}, able=ABLE)
        found = await _get(http, task)
    assert refused["message"] == "the service is stopping; try again in a few seconds"
    assert found["status"] == "working"
