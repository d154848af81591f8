"""The tools for runs, for hosts that know no tasks: to look, wait, answer, cancel, list."""

import sqlite3
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

import mcp_types as wire
import orjson
from mcp_types import CallToolRequestParams

from orchestration.api.access import Action
from orchestration.api.endpoint import Call
from orchestration.api.own_runs import live_run, run_row, unfinished
from orchestration.api.problems import Problem
from orchestration.api.thread_models import ThreadSearch
from orchestration.mcp import results
from orchestration.mcp.aside import Aside
from orchestration.mcp.calls import REFUSALS
from orchestration.mcp.client import client_of
from orchestration.mcp.questions import Question
from orchestration.mcp.results import Result
from orchestration.mcp.running import Begun, Runs
from orchestration.mcp.validation import Schema, Validator
from orchestration.mcp.views import latest, shown_questions, view, whole_view
from orchestration.mcp.visit import Context, visit_of
from orchestration.store.thread_search import ThreadQuery

_LONGEST = 300.0  # seconds that a call waits
_USUAL = 50.0  # seconds; hosts give up a call after a minute
_FEW, _MOST = 10, 50  # runs of a list
_MISTAKES = 5  # told of one answer

_ID: Schema = {"type": "string", "format": "uuid", "description": "The id of the run."}
_STATUSES = ["pending", "running", "success", "error", "timeout", "interrupted"]


class RunTools:
    """Answers calls of the tools for runs; each does what the operation over HTTP does."""

    def __init__(self, runs: Runs, aside: Aside) -> None:
        self._runs = runs
        self._aside = aside
        self._answers: Mapping[str, Callable[[Context, dict[str, Any]], Awaitable[Any]]] = {
            "run_get": self._get,
            "run_wait": self._wait,
            "run_resume": self._resume,
            "run_cancel": self._cancel,
            "run_list": self._list,
        }

    def has(self, name: str) -> bool:
        """Return whether there is a tool of that name."""
        return name in self._answers

    async def answer(self, ctx: Context, params: CallToolRequestParams) -> Result:
        """Return what a tool says."""
        arguments = params.arguments or {}
        if mistakes := Validator(SCHEMAS[params.name]).mistakes(arguments):
            return results.told(f"Invalid arguments: {'; '.join(map(str, mistakes))}")
        try:
            found = await self._answers[params.name](ctx, arguments)
        except REFUSALS as error:
            return results.refused(error)
        return {
            "resultType": "complete",
            "content": [{"type": "text", "text": orjson.dumps(found).decode()}],
            "structuredContent": found,
            "isError": False,
        }

    async def _get(self, ctx: Context, arguments: dict[str, Any]) -> Any:
        call, row = await _granted(ctx, "read", arguments)
        return await whole_view(call, row)

    async def _wait(self, ctx: Context, arguments: dict[str, Any]) -> Any:
        call, row = await _granted(ctx, "read", arguments)
        row = await latest(call, row)
        if unfinished(row) and (run := live_run(call, row["run_id"])) is not None:
            seconds = float(arguments.get("seconds", _USUAL))
            await self._runs.watch(ctx, Begun(run), min(seconds, _LONGEST))
        return await whole_view(call, run_row(call, row["run_id"]))

    async def _resume(self, ctx: Context, arguments: dict[str, Any]) -> Any:
        call, row = await _granted(ctx, "read", arguments)
        row = await latest(call, row)
        questions = shown_questions(call, row)
        if not questions:
            raise Problem(409, f"the run {row['run_id']} waits for no answer: {row['status']}")
        answers = _answers(questions, arguments)
        await self._aside.of(answers, _check, questions, answers)
        seen = client_of(ctx).progress
        begun = await self._runs.resume(
            visit_of(ctx).call, row["assistant_id"], row["thread_id"], answers, seen=seen
        )
        await self._runs.announce(begun.run)
        await self._runs.watch(ctx, begun, _USUAL)
        return await whole_view(call, run_row(call, begun.run.run_id))

    async def _cancel(self, ctx: Context, arguments: dict[str, Any]) -> Any:
        call, row = await _granted(ctx, "update", arguments)
        row = await latest(call, row)
        run = await self._runs.cancel(call, row)
        if run is None and shown_questions(call, row):
            await self._runs.abandon(visit_of(ctx).call, row["thread_id"])
            return await whole_view(call, row)
        if run is None:
            raise Problem(409, f"the run {row['run_id']} has ended: {row['status']}")
        await self._runs.watch(ctx, Begun(run), _USUAL)
        return view(run_row(call, row["run_id"]))

    async def _list(self, ctx: Context, arguments: dict[str, Any]) -> Any:
        call = await visit_of(ctx).call.may("threads", "search", ThreadSearch().shown())
        wanted = arguments.get("status")
        if wanted is not None:
            rows = await call.backend.runs.of_all(
                None, wanted, arguments.get("limit", _FEW), 0, call.visible
            )
            return {"runs": [view(row) for row in rows]}
        query = ThreadQuery(
            visible=call.visible,
            limit=arguments.get("limit", _FEW),
            sort_by="updated_at",
            with_values=False,
        )
        found: list[Any] = []
        for thread in await call.backend.threads.search(query):
            rows = await call.backend.runs.of_thread(thread["thread_id"], None, 1, 0)
            found += [view(row) for row in rows]
        return {"runs": found}


def _answers(questions: Sequence[Question], arguments: dict[str, Any]) -> dict[str, Any]:
    """Return what a model answers, by the ids of what was asked."""
    answers: dict[str, Any] | None = arguments.get("answers")
    ids = ", ".join(question.key for question in questions)
    if not answers and "answer" in arguments and len(questions) == 1:
        return {questions[0].key: arguments["answer"]}
    if not answers:
        raise Problem(422, f"give answers, an object with the ids of what it asks: {ids}")
    if unknown := answers.keys() - {question.key for question in questions}:
        raise Problem(422, f"it asks nothing with the id {min(unknown)!r}; it asks: {ids}")
    return answers


def _check(questions: Sequence[Question], answers: Mapping[str, Any]) -> None:
    """Refuse an answer that the graph does not want: it would fail by it, and ask no more."""
    for question in questions:
        if question.key in answers and (wrong := question.mistakes(answers[question.key])):
            wanted = orjson.dumps(question.document["schema"]).decode()
            reason = "; ".join(wrong[:_MISTAKES])
            raise Problem(422, f"the answer to {question.key} is wrong: {reason}. It is: {wanted}")


async def _granted(
    ctx: Context, action: Action, arguments: dict[str, Any]
) -> tuple[Call, sqlite3.Row]:
    """Return the call as it was granted, and the run that it is about.

    Raises:
        Problem: there is none of that id, or it is not the caller's.
    """
    given = arguments["run_id"]
    try:
        run_id = UUID(given)
    except ValueError:
        raise Problem(422, f"run_id: {given[:64]!r} is no UUID") from None
    call = await visit_of(ctx).call.may("threads", action, {"run_id": run_id})
    return call, run_row(call, str(run_id))


def _schema(required: list[str], **properties: Schema) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


SCHEMAS: Mapping[str, Schema] = {
    "run_get": _schema(["run_id"], run_id=_ID),
    "run_wait": _schema(
        ["run_id"],
        run_id=_ID,
        seconds={
            "type": "number",
            "exclusiveMinimum": 0,
            "maximum": _LONGEST,
            "default": _USUAL,
            "description": "How long to wait at most.",
        },
    ),
    "run_resume": _schema(
        ["run_id"],
        run_id=_ID,
        answer={"description": "The answer, where the run asks one thing."},
        answers={"type": "object", "description": "The answers, by the ids of what it asks."},
    ),
    "run_cancel": _schema(["run_id"], run_id=_ID),
    "run_list": _schema(
        [],
        status={"type": "string", "enum": _STATUSES},
        limit={"type": "integer", "minimum": 1, "maximum": _MOST, "default": _FEW},
    ),
}
_DESCRIPTIONS = {
    "run_get": "Shows a run: its status, what it asks, what came of it.",
    "run_wait": "Waits for a run to end or to ask something, then shows it.",
    "run_resume": "Answers what a run asks that has stopped, and waits for what comes of it.",
    "run_cancel": "Cancels a run, or gives up what one asks that has stopped.",
    "run_list": "Lists the last run of each of the threads that changed last; "
    "or, by a status, the runs that have it, newest first.",
}
_LOOKING = frozenset({"run_get", "run_wait", "run_list"})
DESCRIBED = [
    wire.Tool(
        name=name,
        description=_DESCRIPTIONS[name],
        input_schema=schema,
        annotations=wire.ToolAnnotations(
            read_only_hint=name in _LOOKING,
            destructive_hint=name == "run_cancel",
            open_world_hint=False,
        ),
    )
    for name, schema in SCHEMAS.items()
]
