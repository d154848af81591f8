"""What a search of threads asks of each, and where the threads that meet it can be taken from."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import orjson

from orchestration.store.terms import plain_terms, sayable, terms
from orchestration.store.visibility import Visible

Sort = Literal["thread_id", "status", "created_at", "updated_at", "state_updated_at"]

STORED = ("error", "idle", "interrupted")
_UNFINISHED = "runs.status IN ('pending', 'running')"
BUSY = f"""
EXISTS (SELECT 1 FROM runs WHERE runs.thread_id = threads.thread_id AND {_UNFINISHED})
"""  # noqa: S608 - constants
SHOWN = f"CASE WHEN {BUSY} THEN 'busy' ELSE threads.status END"
_HAS_TERM = """
EXISTS (SELECT 1 FROM thread_terms AS other WHERE other.term = {name}
    AND other.created_at = threads.created_at AND other.thread_id = threads.thread_id)
"""
_HAS_VALUE = """
(instr(threads.state_values, :text{number})
    AND json_extract(threads.state_values, :path{number}) IS :value{number})
"""
_MOST = 8  # of a kind that go into one statement; of more, all are looked at in Python
_PLAIN = re.compile(r"[A-Za-z0-9_ -]{1,128}")  # text that looks the same in JSON, and in its paths


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadQuery:
    """What to look for. ``metadata``, ``visible`` and ``values`` must be contained in a thread's.

    ``visible`` is what its metadata must hold for the caller to see it at all. Without
    ``with_values`` the rows that are found have none. ``values_indexed``: the index of what the
    threads show is up to date.
    """

    ids: Sequence[str] | None = None
    status: str | None = None
    metadata: Mapping[str, Any] | None = None
    visible: Visible = None
    values: Mapping[str, Any] | None = None
    limit: int = 10
    offset: int = 0
    sort_by: Sort = "created_at"
    descending: bool = True
    with_values: bool = True
    values_indexed: bool = False


@dataclass(frozen=True, slots=True)
class Source:
    """Where threads can be taken from: a table that names them, or their own.

    ``orders`` are those in which an index gives them. ``small``: there are never many.
    """

    table: str
    where: str = "TRUE"
    orders: frozenset[str] = frozenset()
    small: bool = False
    joined: str = ""


@dataclass(frozen=True, slots=True)
class Condition:
    """What a thread must meet; those of its ``source`` do.

    ``unless_busy``: and besides it must not be busy.
    """

    sql: str
    source: Source | None = None
    unless_busy: bool = False


def _naming(table: str, column: str = "thread_id", **more: Any) -> Source:
    join = f"CROSS JOIN threads ON threads.thread_id = source.{column}"
    return Source(f"{table} AS source", joined=join, **more)


_UNFINISHED_RUNS = f"(SELECT DISTINCT thread_id FROM runs WHERE {_UNFINISHED})"  # noqa: S608 - constants
BUSY_THREADS = _naming(_UNFINISHED_RUNS, small=True)
_NAMED_THREADS = _naming("json_each(:ids)", "value", small=True)
_OF_STATUS = Source(
    "threads",
    "threads.status = :status",
    frozenset({"created_at", "updated_at", "state_updated_at"}),
)


def conditions(query: ThreadQuery, parameters: dict[str, Any]) -> Iterator[Condition]:
    """Yield what ``query`` asks for; what was sent by the caller goes into ``parameters``."""
    if query.ids is not None:
        parameters["ids"] = _text(list(dict.fromkeys(query.ids)))
        yield Condition("threads.thread_id IN (SELECT value FROM json_each(:ids))", _NAMED_THREADS)
    if query.status == "busy":
        yield Condition(BUSY, BUSY_THREADS)
    elif query.status is not None:
        parameters["status"] = query.status
        # The plus keeps its index from being taken where another order is walked.
        yield Condition(f"+{_OF_STATUS.where}", _OF_STATUS, unless_busy=True)
    parts = [part for part in (query.metadata, query.visible) if part]
    wanted = sorted(set[bytes]().union(*map(terms, parts)))
    for number, term in enumerate(wanted[:_MOST]):
        name = f":term{number}"
        parameters[name[1:]] = term
        where, orders = f"source.term = {name}", frozenset({"created_at"})
        source = _naming("thread_terms", where=where, orders=orders)
        yield Condition(_HAS_TERM.format(name=name), source)
    unsaid = parts if len(wanted) > _MOST else [part for part in parts if not sayable(part)]
    for number, part in enumerate(unsaid):
        yield _contained("metadata", part, f"part{number}", parameters)
    if query.values:
        if query.values_indexed:
            yield from _indexed(query.values, parameters)
        for number, (path, value) in enumerate(islice(_plain_values("$", query.values), _MOST)):
            # Without calling Python, which would take the interpreter's lock for every thread; most
            # are out even before their JSON is parsed.
            text = _text(value) if isinstance(value, str) and _PLAIN.fullmatch(value) else ""
            parameters |= {f"path{number}": path, f"value{number}": value, f"text{number}": text}
            yield Condition(_HAS_VALUE.format(number=number))
        yield _contained("state_values", query.values, "values", parameters)


def _indexed(values: Mapping[str, Any], parameters: dict[str, Any]) -> Iterator[Condition]:
    """Yield where to begin: what was indexed may have changed since, and is looked at again."""
    for number, term in enumerate(islice(plain_terms(values), _MOST)):
        name = f":value_term{number}"
        parameters[name[1:]] = term
        where = f"source.term IN ({name}, x'')"  # or it shows too much to be indexed
        yield Condition("TRUE", _naming("value_terms", where=where))


def _contained(
    column: str, part: Mapping[str, Any], name: str, parameters: dict[str, Any]
) -> Condition:
    parameters[name] = orjson.dumps(part)
    return Condition(f"json_contains(threads.{column}, :{name})")


def _plain_values(path: str, part: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the paths to plain values, outside of lists, that SQLite can look up itself."""
    for key, value in part.items():
        if not _PLAIN.fullmatch(key):
            continue
        if isinstance(value, dict):
            yield from _plain_values(f'{path}."{key}"', value)
        elif not isinstance(value, list):
            yield f'{path}."{key}"', value


def _text(value: Any) -> str:
    return orjson.dumps(value).decode()
