"""``tools/call`` of an assistant: a run, its questions, and what came of it."""

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any
from uuid import UUID

import anyio
import orjson
from mcp.shared.exceptions import MCPError
from mcp_types import CallToolRequestParams
from pydantic import ValidationError

from operations.errors import StorageUnavailable
from orchestration.api.endpoint import Call
from orchestration.api.own_runs import run_row
from orchestration.api.problems import Problem
from orchestration.loop.errors import LoopError
from orchestration.loop.run import Failure, Outcome, Run, RunStatus
from orchestration.mcp import results
from orchestration.mcp.aside import Aside
from orchestration.mcp.catalogue import AssistantTool
from orchestration.mcp.client import Client, client_of, lacks_tasks
from orchestration.mcp.farewell import Farewell
from orchestration.mcp.questions import Answer, Question, questions_in
from orchestration.mcp.results import Result
from orchestration.mcp.running import Begun, Overtaken, Runs
from orchestration.mcp.tasks import created
from orchestration.mcp.views import given_up, latest, pending_questions, values_of
from orchestration.mcp.visit import Context, visit_of
from orchestration.store.bounded import SearchTooWide

REFUSALS = (LoopError, StorageUnavailable, Problem, SearchTooWide)

_ROUNDS = 100  # of questions within one call
_TRIES = 3  # answers to one question that do not fit


class AssistantCalls:
    """Answers calls of assistants. A call that takes long becomes a task, for clients that can."""

    def __init__(self, runs: Runs, task_after: float, farewell: Farewell, aside: Aside) -> None:
        self._runs = runs
        self._aside = aside
        self._task_after = task_after
        self._farewell = farewell

    async def answer(
        self, ctx: Context, tool: AssistantTool, params: CallToolRequestParams
    ) -> Result:
        """Return what came of a call, what to ask the user first, or the task that it became.

        Raises:
            MCPError: the client cannot do what the tool needs, or shows a state that is not its.
        """
        call, client = visit_of(ctx).call, client_of(ctx)
        if tool.support == "required" and not client.tasks:
            raise lacks_tasks()
        found: Begun | Result
        try:
            if params.request_state is None:
                arguments = params.arguments or {}
                mistakes = await self._aside.of(arguments, tool.input.mistakes, arguments)
                if mistakes:
                    return results.invalid(tool, mistakes)
                given = tool.input.of(arguments)
                found = await self._runs.start(call, tool.assistant, given, seen=client.progress)
            else:
                found = await self._again(ctx, client, tool, params)
        except REFUSALS as error:
            return results.refused(error)
        return await self._follow(ctx, client, tool, found) if isinstance(found, Begun) else found

    async def _again(
        self, ctx: Context, client: Client, tool: AssistantTool, params: CallToolRequestParams
    ) -> Begun | Result:
        """Go on with the run that asked, by the answers that the client brings.

        They may come once more, from who has heard nothing of what came of them; by then the thread
        may ask something else, which they do not answer.
        """
        call = visit_of(ctx).call
        state = orjson.loads(params.request_state or "")
        thread_id = state["thread_id"]
        reading = await call.may("threads", "read", {"thread_id": UUID(thread_id)})
        first = run_row(reading, state["run_id"])
        asked = [Question(**one) for one in state["questions"]]
        said = _said(asked, params)
        while True:
            task = await self._until_free(ctx, client, tool, thread_id)
            if task is not None:
                return task
            row = await latest(reading, first)
            questions = pending_questions(reading.backend, thread_id)
            if not questions:
                return await self._came_of(reading, tool, row)
            found = _known(row, questions, asked, said)
            if found is not None:
                return found
            with suppress(Overtaken):
                return await self._runs.resume(
                    call,
                    tool.assistant.assistant_id,
                    thread_id,
                    {key: answer.value for key, answer in said.items() if answer is not None},
                    seen=client.progress,
                )

    async def _until_free(
        self, ctx: Context, client: Client, tool: AssistantTool, thread_id: str
    ) -> Result | None:
        """Wait for what goes on with a thread; return the task if it takes that long."""
        within = self._patience(client, tool)
        while (run := self._runs.working(thread_id)) is not None:
            await self._runs.watch(ctx, Begun(run), within)
            if within is not None and self._runs.working(thread_id) is run:
                await self._runs.announce(run)
                return created(run)
        return None

    def _patience(self, client: Client, tool: AssistantTool) -> float | None:
        """Return the seconds after which a call becomes a task; None if it never does."""
        return self._task_after if client.tasks and tool.support != "forbidden" else None

    async def _follow(
        self, ctx: Context, client: Client, tool: AssistantTool, begun: Begun
    ) -> Result:
        for _ in range(_ROUNDS):
            try:
                found = await self._round(ctx, client, tool, begun)
            except REFUSALS as error:
                return results.left(begun.run.run_id, begun.run.thread_id, error)
            if not isinstance(found, Begun):
                return found
            begun = found
        return results.told(f"the assistant has asked {_ROUNDS} times; the call ends here")

    async def _round(
        self, ctx: Context, client: Client, tool: AssistantTool, begun: Begun
    ) -> Begun | Result:
        """Return what comes of a run: a result, or the run that goes on with what it asked."""
        run = begun.run
        outcome = await self._runs.outcome(ctx, begun, self._patience(client, tool))
        if outcome is None:
            await self._runs.hand_over(ctx, run)
            return created(run)
        values = None if outcome.output is None else orjson.loads(outcome.output)
        # A run that failed, or was cancelled, shows the question still that it had the answer to.
        succeeded = outcome.status is RunStatus.SUCCESS
        questions = questions_in(values, run.thread_id) if succeeded else ()
        if not questions:
            return await self._aside.of(values, ended, tool, run, outcome, values)
        if client.retries:
            return _ask(run.run_id, run.thread_id, questions)
        answers = await self._asked(ctx, questions) if client.pushed else None
        if answers is None:
            return results.waiting(run.run_id, run.thread_id, questions, declined=client.pushed)
        return await self._runs.resume(
            visit_of(ctx).call,
            tool.assistant.assistant_id,
            run.thread_id,
            answers,
            seen=client.progress,
        )

    async def _came_of(self, call: Call, tool: AssistantTool, row: sqlite3.Row) -> Result:
        """Return what came of answers that were given before: how the thread's last run ended."""
        ids = row["run_id"], row["thread_id"]
        if row["status"] == RunStatus.INTERRUPTED or given_up(call.backend, row["thread_id"]):
            return results.stopped(*ids)
        if row["error"] is not None:
            return results.failed(*ids, Failure(**orjson.loads(row["error"])))
        values = values_of(call, row)
        return await self._aside.of(values, results.finished, tool, *ids, values)

    async def _asked(self, ctx: Context, questions: Sequence[Question]) -> Mapping[str, Any] | None:
        """Ask the user, for as long as there is time; None if not everything is answered."""
        with anyio.CancelScope() as asking, self._farewell.hearing(asking.cancel):
            return await _asked(ctx, questions)
        return None


def ended(tool: AssistantTool, run: Run, outcome: Outcome, values: Any) -> Result:
    """Return the result of a run that has ended and asks nothing."""
    if outcome.status is RunStatus.INTERRUPTED:
        return results.stopped(run.run_id, run.thread_id)
    if outcome.failure is not None:
        return results.failed(run.run_id, run.thread_id, outcome.failure)
    return results.finished(tool, run.run_id, run.thread_id, values)


def _said(asked: Sequence[Question], params: CallToolRequestParams) -> Mapping[str, Answer | None]:
    """Return what the user said to each question; None where it is no answer, or missing."""
    given = params.input_responses or {}
    return {
        one.key: one.answer(given[one.key].model_dump(by_alias=True, exclude_none=True))
        if one.key in given
        else None
        for one in asked
    }


def _known(
    row: sqlite3.Row,
    questions: Sequence[Question],
    asked: Sequence[Question],
    said: Mapping[str, Answer | None],
) -> Result | None:
    """Return what is known without a run; None if one is to go on with what the user said.

    ``row`` is the last run of the thread, which asks ``questions``; ``asked`` is what the user was.
    """
    ids = row["run_id"], row["thread_id"]
    if {one.key: one for one in questions} != {one.key: one for one in asked}:
        return _ask(*ids, questions)
    if any(answer is not None and answer.declined for answer in said.values()):
        return results.waiting(*ids, questions, declined=True)
    if any(answer is None for answer in said.values()):
        return _ask(*ids, questions)  # once more: an answer is missing, or none to the question
    return None


def _ask(run_id: str, thread_id: str, questions: Sequence[Question]) -> Result:
    """Return what the client is to ask its user, and what it is to call again with."""
    state = {
        "run_id": run_id,
        "thread_id": thread_id,
        "questions": [asdict(one) for one in questions],
    }
    return {
        "resultType": "input_required",
        "inputRequests": {one.key: one.request for one in questions},
        "requestState": orjson.dumps(state).decode(),
    }


async def _asked(ctx: Context, questions: Sequence[Question]) -> Mapping[str, Any] | None:
    """Ask the user one question after the other; None as soon as one is not answered."""
    answers: dict[str, Any] = {}
    for one in questions:
        answer: Answer | None = None
        for _ in range(_TRIES):
            answer = await _put(ctx, one)
            if answer is not None:
                break
        if answer is None or answer.declined:
            return None
        answers[one.key] = answer.value
    return answers


async def _put(ctx: Context, question: Question) -> Answer | None:
    """Put a question to the user; None if what comes back is no answer to it."""
    try:
        response = await ctx.session.elicit_form(
            question.message, dict(question.schema), related_request_id=ctx.request_id
        )
    except MCPError:  # the client could not ask, whatever it said when it connected
        return Answer(declined=True)
    except ValidationError:
        return None
    return question.answer(response.model_dump(by_alias=True, exclude_none=True))
