"""What came of a run, as the result of a tool."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS

from orchestration.api.problems import Problem, problem
from orchestration.loop.errors import Draining
from orchestration.loop.run import Failure
from orchestration.mcp.catalogue import AssistantTool
from orchestration.mcp.questions import Question

Result = dict[str, Any]

RUN_ID = "masterloop/run_id"
THREAD_ID = "masterloop/thread_id"


def finished(tool: AssistantTool, run_id: str, thread_id: str, values: Any) -> Result:
    """Return the result of a run that did what it should."""
    structured = tool.output.of(values)
    return {
        **_about(run_id, thread_id, _text(values if tool.output.wrapped else structured, values)),
        "structuredContent": structured,
        "isError": False,
    }


def bare(run_id: str, thread_id: str, values: Any) -> Result:
    """Return the result of a run whose assistant is gone, and with it what is told of it."""
    return {**_about(run_id, thread_id, orjson.dumps(values).decode()), "isError": False}


def failed(run_id: str, thread_id: str, failure: Failure) -> Result:
    """Return the result of a run that failed: an error that a model reads, of the tool."""
    text = f"{failure.error}: {failure.message}" if failure.message else failure.error
    return {**_about(run_id, thread_id, text), "isError": True}


def stopped(run_id: str, thread_id: str) -> Result:
    """Return the result of a run that was cancelled."""
    return {**_about(run_id, thread_id, f"The run {run_id} was cancelled."), "isError": True}


def waiting(
    run_id: str, thread_id: str, questions: Sequence[Question], *, declined: bool = False
) -> Result:
    """Return the result of a run that asks what its client cannot ask its user, or did not get."""
    asked = orjson.dumps([question.document for question in questions]).decode()
    why = "the user did not answer" if declined else "an answer is needed"
    text = (
        f"The run {run_id} has stopped and waits: {why}. It asks: {asked}. To go on, call "
        f'run_resume with {{"run_id": "{run_id}", "answers": {{"<id>": <answer>}}}}; '
        "to give it up, leave it, or call run_cancel."
    )
    return {**_about(run_id, thread_id, text), "structuredContent": {}, "isError": False}


def left(run_id: str, thread_id: str, error: Exception) -> Result:
    """Return the result of a run that goes on although nobody waits for it any more."""
    # Nothing of trying again: the run goes on, and to call once more would be another one.
    stopping = isinstance(error, Draining)
    why = "The service is stopping" if stopping else _reason(problem(error))
    text = f"{why}. The run {run_id} is kept: see run_get."
    return {**_about(run_id, thread_id, text), "isError": True}


def refused(error: Exception) -> Result:
    """Return the result of a call that was not taken, such that a model can act on it.

    Raises:
        Exception: ``error`` is nothing that is to be told.
    """
    found = problem(error)
    if found.status == 500:  # noqa: PLR2004 - what is no refusal
        raise error
    return told(_reason(found))


def told(text: str) -> Result:
    """Return an error that a model reads."""
    return {
        "resultType": "complete",
        "content": [{"type": "text", "text": text}],
        "isError": True,
    }


def invalid(tool: AssistantTool, mistakes: Sequence[str]) -> Result:
    """Return the result of a call with arguments that the tool does not take."""
    schema = orjson.dumps(tool.input.schema).decode()
    return told(f"Invalid arguments: {'; '.join(mistakes)}. {tool.name} takes: {schema}")


def no_such(what: str, name: str) -> MCPError:
    """Return the refusal of something that is not there, or not for the caller."""
    return MCPError(INVALID_PARAMS, f"Unknown {what}: {name[:200]}")


def _about(run_id: str, thread_id: str, text: str) -> Result:
    link = {
        "type": "resource_link",
        "uri": f"run://{run_id}",
        "name": f"run {run_id}",
        "mimeType": "application/json",
    }
    return {
        "resultType": "complete",
        "content": [{"type": "text", "text": text}, link],
        "_meta": {RUN_ID: run_id, THREAD_ID: thread_id},
    }


def _text(shown: Any, values: Any) -> str:
    """Return what a model reads: the answer of a chat, the one text of a graph, or all as JSON."""
    said = _last_words(values)
    if said is not None:
        return said
    only = next(iter(shown.values())) if isinstance(shown, dict) and len(shown) == 1 else shown
    return only if isinstance(only, str) else orjson.dumps(shown).decode()


def _last_words(values: Any) -> str | None:
    messages = values.get("messages") if isinstance(values, dict) else None
    last = messages[-1] if isinstance(messages, list) and messages else None
    if not isinstance(last, Mapping) or last.get("type") != "ai":
        return None
    content = last.get("content")
    if isinstance(content, list):
        parts = [part.get("text", "") for part in content if isinstance(part, dict)]
        content = "".join(parts)
    return content if isinstance(content, str) and content else None


def _reason(found: Problem) -> str:
    later = found.headers.get("retry-after")
    return found.detail if later is None else f"{found.reason}; try again in {later} s"
