"""Rows as the documents that clients see. JSON that was stored goes out as it is."""

import re
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import orjson
from orjson import Fragment

from orchestration.loop.run import Run
from orchestration.store.assistants import Assistant
from orchestration.store.ttl import Ttl

Document = dict[str, Any]
_INDEX = re.compile(r"-?[0-9]{1,9}")


def run_document(row: sqlite3.Row) -> Document:
    """Return the document of a run that was stored."""
    document: Document = {
        "run_id": row["run_id"],
        "thread_id": row["thread_id"],
        "assistant_id": row["assistant_id"],
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
        "status": row["status"],
        "metadata": Fragment(row["metadata"]),
        "kwargs": Fragment(row["kwargs"]),
        "multitask_strategy": row["multitask_strategy"],
        "priority": row["priority"],
        "attempt": row["attempt"],
        "error": _fragment(row["error"]),
    }
    if row["dead_letter"] is not None:
        document["dead_letter"] = row["dead_letter"]
    return document


def accepted_document(run: Run) -> Document:
    """Return the document of a run that was just accepted."""
    return {
        "run_id": run.run_id,
        "thread_id": run.thread_id,
        "assistant_id": run.assistant_id,
        "created_at": run.created_at,
        "updated_at": run.created_at,
        "status": "pending",
        "metadata": run.metadata,
        "kwargs": run.kwargs,
        "multitask_strategy": run.multitask_strategy,
        "priority": run.priority,
        "attempt": 0,
        "error": None,
    }


def thread_document(row: sqlite3.Row) -> Document:
    """Return the document of a thread."""
    return {
        "thread_id": row["thread_id"],
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
        "state_updated_at": row["state_updated_at"],
        "metadata": Fragment(row["metadata"]),
        "config": Fragment(row["config"]),
        "status": row["shown_status"],
        "values": _fragment(row["state_values"]),
        "interrupts": Fragment(row["interrupts"]),
        "error": _fragment(row["error"]),
    }


def living_document(row: sqlite3.Row) -> Document:
    """Return the document of a thread, with how long it lives if that is not for ever."""
    document = thread_document(row)
    if row["ttl_minutes"] is not None:
        ttl = Ttl(row["ttl_minutes"], row["ttl_strategy"])
        document["ttl"] = {
            "strategy": ttl.strategy,
            "ttl_minutes": ttl.minutes,
            "expires_at": ttl.after(row["updated_at"]),
        }
    return document


def assistant_document(assistant: Assistant) -> Document:
    """Return the document of an assistant."""
    return asdict(assistant)


def version_document(assistant: Assistant) -> Document:
    """Return the document of what an assistant was at one of its versions."""
    document = asdict(assistant)
    del document["updated_at"]
    return document


def delivery_document(row: sqlite3.Row) -> Document:
    """Return the document of a delivery; what the query of its URL says is nobody else's."""
    url: str = row["url"]
    return {
        "delivery_id": row["delivery_id"],
        "run_id": row["run_id"],
        "thread_id": row["thread_id"],
        "url": url.partition("#")[0].partition("?")[0],
        "status": row["status"],
        "attempts": row["attempts"],
        "created_at": row["created_at"],
        "last_attempt_at": row["attempted_at"],
        "next_attempt_at": row["due_at"],
        "last_status": row["answer"],
        "last_error": row["error"],
    }


def selected(document: Document, fields: Sequence[str] | None) -> Document:
    """Return only the asked fields of a document; all when none were asked for."""
    if fields is None:
        return document
    return {name: document.get(name) for name in fields}


def selected_state(state: Document, fields: Sequence[str] | None) -> Document:
    """Return only the asked fields of a state; ``values.x`` asks for one of its values."""
    if not fields:
        return state
    chosen = {name: state[name] for name in fields if name in state}
    keys = [name.partition(".")[2] for name in fields if name.startswith("values.")]
    if keys and "values" not in chosen:
        values = state["values"] if isinstance(state["values"], dict) else {}
        chosen["values"] = {key: values[key] for key in keys if key in values}
    return chosen


def extracted(document: Document, paths: Mapping[str, str]) -> Document:
    """Return what ``paths`` (``values.a.b``, ``metadata.x[0]``) point to in a thread, by alias.

    Large values are parsed for it, which may take long.
    """
    steps = {
        alias: path.replace("[", ".").replace("]", "").split(".") for alias, path in paths.items()
    }
    begun = document.keys() & {first for first, *_ in steps.values()}
    parsed = orjson.loads(orjson.dumps({name: document[name] for name in begun}))
    return {alias: _follow(parsed, path) for alias, path in steps.items()}


def _follow(value: Any, path: Sequence[str]) -> Any:
    for part in path:
        if isinstance(value, dict):
            value = value.get(part)
        elif isinstance(value, list) and _INDEX.fullmatch(part):
            index = int(part)
            value = value[index] if -len(value) <= index < len(value) else None
        else:
            return None
    return value


def _fragment(text: str | None) -> Fragment | None:
    return None if text is None else Fragment(text)
