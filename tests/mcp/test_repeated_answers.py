"""Answers that come once more, from who has heard nothing of what came of them."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.plays import gates
from tests.mcp.client import TASKS, open_tools, rpc, until

ELICITS: dict[str, Any] = {"elicitation": {"form": {}}}


def _asked(name: str, graph: str = "ask_twice") -> dict[str, Any]:
    return {"name": graph, "arguments": {"name": name}}


async def _call(http: httpx.AsyncClient, params: Mapping[str, Any]) -> dict[str, Any]:
    return await rpc(http, "tools/call", params, able=ELICITS)


def _answered(asked: Mapping[str, Any], result: Mapping[str, Any], answer: str) -> dict[str, Any]:
    """Return the call ``asked`` with an answer to what its result asks."""
    given = {"action": "accept", "content": {"answer": answer}}
    answers = dict.fromkeys(result["inputRequests"], given)
    return {**asked, "inputResponses": answers, "requestState": result["requestState"]}


def _questions(result: Mapping[str, Any]) -> list[str]:
    return [one["params"]["message"] for one in result["inputRequests"].values()]


async def test_an_answer_that_comes_once_more_answers_no_later_question(tmp_path: Path) -> None:
    asked = _asked("once more")
    gates["once more"].opened.set()
    async with open_tools(tmp_path, "ask_twice") as (_, http):
        first = _answered(asked, await _call(http, asked), "yes")
        second, again = await _call(http, first), await _call(http, first)
        last = _answered(asked, again, "no")
        done = [await _call(http, one) for one in (last, last, first)]
    assert _questions(second) == _questions(again) == ["Wipe the disk?"]
    assert [one["structuredContent"] for one in done] == [{"text": "draft: yes, disk: no"}] * 3


async def test_of_answers_that_come_twice_at_once_the_run_goes_on_with_one(tmp_path: Path) -> None:
    asked = _asked("twice at once")
    async with open_tools(tmp_path, "ask_twice") as (service, http):
        first = _answered(asked, await _call(http, asked), "yes")
        calls = [asyncio.create_task(_call(http, first)) for _ in range(3)]
        await gates["twice at once"].reached.wait()
        late = asyncio.create_task(_call(http, first))
        gates["twice at once"].opened.set()
        found = await asyncio.gather(*calls, late)
        runs = (await http.get("/runs")).json()
        assert not service.loop.all_live()
    assert [_questions(one) for one in found] == [["Wipe the disk?"]] * 4
    assert [run["status"] for run in runs] == ["success"] * 2


async def test_who_went_before_the_next_question_gives_the_answer_again(tmp_path: Path) -> None:
    asked = _asked("went")
    async with open_tools(tmp_path, "ask_twice") as (service, http):
        first = _answered(asked, await _call(http, asked), "yes")
        calling = asyncio.create_task(_call(http, first))
        await gates["went"].reached.wait()
        run = service.loop.all_live()[0]
        calling.cancel()
        await until(lambda: run.status == "interrupted")
        gates["went"].opened.set()
        again = await _call(http, first)
    assert _questions(again) == ["Wipe the disk?"]


async def test_a_node_that_failed_with_an_answer_is_not_given_it_again(tmp_path: Path) -> None:
    asked = _asked("fails between", "fail_between")
    async with open_tools(tmp_path, "fail_between") as (_, http):
        first = _answered(asked, await _call(http, asked), "yes")
        failed = [await _call(http, first) for _ in range(2)]
    assert [one["content"][0]["text"] for one in failed] == ["ValueError: failed on purpose"] * 2


async def test_a_call_that_comes_once_more_becomes_the_task_that_the_first_became(
    tmp_path: Path,
) -> None:
    able = {"extensions": {TASKS: {}}, **ELICITS}
    asked = _asked("one task")
    async with open_tools(tmp_path, "ask_twice", mcp={"task_after": 0.0}) as (_, http):
        first = _answered(asked, await _call(http, asked), "yes")
        tasks = [await rpc(http, "tools/call", first, able=able) for _ in range(2)]
        gates["one task"].opened.set()
    assert tasks[0]["resultType"] == "task"
    assert tasks[1]["taskId"] == tasks[0]["taskId"]


@pytest.mark.parametrize("times", [1, 3])
async def test_a_task_takes_an_answer_once_however_often_it_comes(
    tmp_path: Path, times: int
) -> None:
    able = {"extensions": {TASKS: {}}, **ELICITS}
    name = f"task {times}"
    gates[name].opened.set()

    async def settled() -> dict[str, Any]:
        while (found := await rpc(http, "tasks/get", task, able=able))["status"] == "working":
            pass
        return found

    async with open_tools(tmp_path, "ask_twice", mcp={"task_after": 0.0}) as (_, http):
        task = {"taskId": (await rpc(http, "tools/call", _asked(name), able=able))["taskId"]}
        given = {"action": "accept", "content": {"answer": "yes"}}
        answers = dict.fromkeys((await settled())["inputRequests"], given)
        update = {**task, "inputResponses": answers}
        taken = await asyncio.gather(
            *(rpc(http, "tasks/update", update, able=able) for _ in range(times))
        )
        found = await settled()
    assert all(one["resultType"] == "complete" for one in taken)
    assert _questions(found) == ["Wipe the disk?"]
