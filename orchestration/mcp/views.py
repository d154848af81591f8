"""A run as the tools and resources show it."""

import sqlite3
from collections.abc import Sequence
from typing import Any

import orjson

from orchestration.api.backend import Backend
from orchestration.api.endpoint import Call
from orchestration.api.own_runs import unfinished
from orchestration.mcp.questions import Question, questions_on

View = dict[str, Any]

GIVEN_UP = "mcp_cancelled"  # in the metadata of a thread: when it came to ask something in vain


async def latest(call: Call, row: sqlite3.Row) -> sqlite3.Row:
    """Return the last run on the thread of a run: that which goes on with it, or itself."""
    if row["ephemeral"]:
        return row
    rows = await call.backend.runs.of_thread(row["thread_id"], None, 1, 0)
    return rows[0] if rows else row


def shown_questions(call: Call, row: sqlite3.Row) -> Sequence[Question]:
    """Return what a run waits for an answer to, if it was the last one of its thread."""
    if row["status"] != "success" or row["ephemeral"]:
        return ()
    return pending_questions(call.backend, row["thread_id"])


def given_up(backend: Backend, thread_id: str) -> bool:
    """Return whether nobody is to answer what a thread asks; what it asked before is not meant."""
    thread = backend.threads.get(thread_id)
    if thread is None or not questions_on(thread["interrupts"], thread_id):
        return False
    since = orjson.loads(thread["metadata"]).get(GIVEN_UP)
    return since is not None and since == thread["state_updated_at"]


def pending_questions(backend: Backend, thread_id: str) -> Sequence[Question]:
    """Return what a thread asks on which nothing works; nothing if that was given up.

    After a failure nothing, although its node shows the question still: it has the answer, and what
    it asked next would be given the same.
    """
    thread = backend.threads.get(thread_id)
    if thread is None or thread["error"] is not None or given_up(backend, thread_id):
        return ()
    return questions_on(thread["interrupts"], thread_id)


def values_of(call: Call, row: sqlite3.Row) -> Any:
    """Return the values that the thread of a run shows."""
    thread = call.backend.threads.get(row["thread_id"])
    stored = None if thread is None else thread["state_values"]
    return None if stored is None else orjson.loads(stored)


def view(row: sqlite3.Row) -> View:
    """Return what a run is, without what its thread shows."""
    return {
        "run_id": row["run_id"],
        "thread_id": row["thread_id"],
        "assistant_id": row["assistant_id"],
        "graph_id": row["graph_id"],
        "status": row["status"],
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
        "error": None if row["error"] is None else orjson.loads(row["error"]),
    }


async def whole_view(call: Call, row: sqlite3.Row) -> View:
    """Return what a run is, what it asks, and what came of it if nothing went on after it."""
    shown = view(row)
    last = await latest(call, row)
    if last["run_id"] != row["run_id"]:
        return {**shown, "continued_by": last["run_id"]}
    if unfinished(row):
        live = call.backend.loop.live(row["run_id"])
        return shown if live is None else {**shown, "why": call.backend.loop.standing(live).why}
    questions = shown_questions(call, row)
    if questions:
        shown["waits_for"] = [question.document for question in questions]
    if row["status"] == "success" and given_up(call.backend, row["thread_id"]):
        shown["given_up"] = True
    elif row["status"] == "success":
        shown["output"] = values_of(call, row)
    return shown
