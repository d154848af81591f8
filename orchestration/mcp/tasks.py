"""The extension for tasks, on the newest wire: a call that takes long, to be asked for later.

The id of a task is that of its run. What goes on with the run, answers given, belongs to the task:
it is the last run of the thread. So a task is as durable as runs are.
"""

import sqlite3
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import orjson
from mcp.shared.exceptions import MCPError
from mcp_types import HEADER_MISMATCH, INTERNAL_ERROR, RequestParams

from operations.errors import StorageUnavailable
from orchestration.api.access import Action
from orchestration.api.endpoint import Call
from orchestration.api.own_runs import run_row, unfinished
from orchestration.api.problems import Problem, problem
from orchestration.loop.errors import Draining
from orchestration.loop.run import Failure, Run
from orchestration.mcp import results
from orchestration.mcp.answers import PartialAnswers
from orchestration.mcp.aside import Aside
from orchestration.mcp.catalogue import Catalogue
from orchestration.mcp.client import client_of, lacks_tasks
from orchestration.mcp.questions import Question
from orchestration.mcp.results import Result
from orchestration.mcp.running import Overtaken, Runs
from orchestration.mcp.views import given_up, latest, shown_questions, values_of
from orchestration.mcp.visit import Context, visit_of

_POLL = 500  # milliseconds that a client is asked to wait before it asks again
_NAME = "mcp-name"
_ENDED = {"interrupted": "cancelled", "timeout": "failed", "error": "completed"}


class TaskParams(RequestParams):
    """Which task."""

    task_id: str


class UpdateParams(TaskParams):
    """Which task, and what the user said to its questions, by their ids."""

    input_responses: dict[str, dict[str, Any]]


def created(run: Run) -> Result:
    """Return the answer to a call that has become a task."""
    return {"resultType": "task", **_task(run.run_id, "working", run.created_at, run.created_at)}


class Tasks:
    """Answers ``tasks/get``, ``tasks/update`` and ``tasks/cancel``."""

    def __init__(self, runs: Runs, catalogue: Catalogue, aside: Aside) -> None:
        self._runs = runs
        self._catalogue = catalogue
        self._aside = aside
        self._answers = PartialAnswers()

    async def get(self, ctx: Context, params: TaskParams) -> Result:
        """Return how a task gets on, what it asks, or what came of it.

        For a client that cannot ask its user it has come to its end where it asks.
        """
        call, first = await self._task(ctx, params, "read")
        row = await latest(call, first)
        status, questions = self._status(call, row)
        left_asking = status == "input_required" and not client_of(ctx).retries
        status = "completed" if left_asking else status
        task = _task(first["run_id"], status, first["created_at"], row["updated_at"])
        if status == "input_required":
            task["inputRequests"] = {one.key: one.request for one in questions}
        elif left_asking:
            task["result"] = results.waiting(row["run_id"], row["thread_id"], questions)
        elif status == "completed":
            task["result"] = await self._result(call, row)
        elif status == "failed":
            failure = Failure(**orjson.loads(row["error"]))
            task["error"] = {
                "code": INTERNAL_ERROR,
                "message": f"{failure.error}: {failure.message}",
            }
        return {"resultType": "complete", **task}

    async def update(self, ctx: Context, params: UpdateParams) -> Result:
        """Take answers; once there is one to every question, the task goes on.

        A question that the user does not want to answer ends the task.
        """
        call, first = await self._task(ctx, params, "update")
        row = await latest(call, first)
        status, questions = self._status(call, row)
        if status != "input_required":
            return {}
        answers = self._answers.to(row["run_id"])
        for one in questions:
            answer = one.answer(params.input_responses.get(one.key, {}))
            if answer is not None and answer.declined:
                await self._runs.abandon(visit_of(ctx).call, row["thread_id"])
                return {}
            if answer is not None:
                answers[one.key] = answer.value
        if any(one.key not in answers for one in questions):
            self._answers.keep(row["run_id"], answers)
            return {}
        await self._resume(visit_of(ctx).call, row, answers)
        self._answers.forget(row["run_id"])
        return {}

    async def cancel(self, ctx: Context, params: TaskParams) -> Result:
        """Cancel what a task does; one that has ended stays as it is."""
        call, first = await self._task(ctx, params, "update")
        row = await latest(call, first)
        try:
            run = await self._runs.cancel(call, row)
        except (Draining, StorageUnavailable) as error:
            raise MCPError(INTERNAL_ERROR, problem(error).detail) from error
        if run is None and self._status(call, row)[0] == "input_required":
            await self._runs.abandon(visit_of(ctx).call, row["thread_id"])
        return {}

    async def _task(
        self, ctx: Context, params: TaskParams, action: Action
    ) -> tuple[Call, sqlite3.Row]:
        """Return the call as it was granted, and the first run of a task of the caller's.

        Raises:
            MCPError: the client does not know tasks, names two, or there is none of that id.
        """
        if not client_of(ctx).tasks:
            raise lacks_tasks()
        call = visit_of(ctx).call
        named = call.header(_NAME.encode())
        if named is not None and named.strip() != params.task_id:
            raise MCPError(HEADER_MISMATCH, "Mcp-Name header does not match params.taskId")
        try:
            run_id = UUID(params.task_id)
            granted = await call.may("threads", action, {"run_id": run_id})
            return granted, run_row(granted, str(run_id))
        except (ValueError, Problem) as error:
            raise results.no_such("task", params.task_id) from error

    def _status(self, call: Call, row: sqlite3.Row) -> tuple[str, list[Question]]:
        """Return the status of a task, and the questions that it still asks."""
        if unfinished(row):
            return "working", []
        if row["status"] != "success":  # an error of the graph is a result, for a model to read
            poisoned = row["dead_letter"] is not None
            return "failed" if poisoned else _ENDED[row["status"]], []
        if given_up(call.backend, row["thread_id"]):
            return "cancelled", []
        questions = shown_questions(call, row)
        if not questions:
            return "completed", []
        answered = self._answers.to(row["run_id"])
        return "input_required", [one for one in questions if one.key not in answered]

    async def _result(self, call: Call, row: sqlite3.Row) -> Result:
        ids = row["run_id"], row["thread_id"]
        if row["status"] == "error":
            return results.failed(*ids, Failure(**orjson.loads(row["error"])))
        tool = await self._catalogue.of(call, row["assistant_id"])
        values = values_of(call, row)
        if tool is None:
            return results.bare(*ids, values)
        return await self._aside.of(values, results.finished, tool, *ids, values)

    async def _resume(self, call: Call, row: sqlite3.Row, answers: Mapping[str, Any]) -> None:
        try:
            begun = await self._runs.resume(
                call, row["assistant_id"], row["thread_id"], answers, seen=False
            )
            await self._runs.announce(begun.run)
        except Overtaken:
            return  # the same answers came before, and the task goes on
        except Exception as error:
            raise MCPError(INTERNAL_ERROR, problem(error).detail) from error


def _task(run_id: str, status: str, created_at: str, updated_at: str) -> Result:
    return {
        "taskId": run_id,
        "status": status,
        "createdAt": created_at,
        "lastUpdatedAt": updated_at,
        "ttlMs": None,
        "pollIntervalMs": _POLL,
    }
