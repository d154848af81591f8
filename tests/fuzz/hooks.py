"""What schemathesis is told beyond the API document, for which JSON Schema has no words.

Of what it holds to be wrong, it leaves out what is right once it is in a URL: digits as a text that
is to be no number, a list where one value is wanted, one value where a list of texts is, and what
is empty, for that is not in the URL at all; and in a path, a list with what ends that, which it
escapes in texts only: it goes to another path.

Only what it holds to be valid is touched:

- a schedule is one, a time zone is known, and a cron has its end to come;
- a workflow is one that can be done here;
- integers have 64 bits, wherever in free JSON they are;
- the fields of what items are filtered by are spelt like fields, however deep within (a schema that
  refers to itself could say so, and would make filters the most of what is tried);
- no test waits for a run of next year;
- in sequences of calls, a body to a thread, or of a workflow, names no checkpoint, and no assistant
  but a graph: the 404 for one that is not there would be taken to mean the thread, or the workflow.
"""

import re
from typing import Any

import schemathesis
from schemathesis.core.parameters import ParameterLocation
from schemathesis.generation.meta import TestPhase

_INTEGERS = range(-(2**63), 2**63)
_TEXTS = {"schedule": "0 0 1 1 *", "timezone": "Europe/Berlin", "end_time": "2999-01-01T00:00:00Z"}
_WORKFLOW = {"name": "w", "steps": [{"id": "a", "graph": "echo", "input": {"text": "x"}}]}
_ENDS_A_PATH = frozenset("?#")
_DIGITS = re.compile(r"\s*[+-]?\d+\s*")
_FIELD = re.compile("[A-Za-z0-9_-]{1,64}")
_NAMED = {"assistant_id": "echo", "checkpoint_id": None, "checkpoint": None}


@schemathesis.hook
def filter_path_parameters(context: Any, path_parameters: Any) -> bool:
    values = (path_parameters or {}).values()
    return all(isinstance(value, str) or not _ENDS_A_PATH & set(str(value)) for value in values)


@schemathesis.hook
def filter_query(context: Any, query: Any) -> bool:
    for name, value in (query or {}).items():
        listed = isinstance(value, dict | list)
        if not _is_sent(value) or (listed and _single(context, name)):
            return False
        if not listed and _is_texts(context, name):
            return False
        if name == "xray" and isinstance(value, str) and _DIGITS.fullmatch(value):
            return False
    return True


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    invalid = case.meta is not None and case.meta.is_negative_at(ParameterLocation.BODY)
    if invalid or not isinstance(case.body, dict | list):
        return
    case.body = _tamed(case.body)
    if case.operation.path == "/store/items/search" and isinstance(case.body.get("filter"), dict):
        # A field of the item, then what it is equal to, or operators and what those compare with.
        asked = {
            field: _spelt(value, operators=True) for field, value in case.body["filter"].items()
        }
        case.body = {**case.body, "filter": asked}
    in_sequence = case.meta is not None and case.meta.phase.name == TestPhase.STATEFUL
    to_one = case.operation.path.startswith(("/threads/", "/workflows/"))
    if in_sequence and to_one and isinstance(case.body, dict):
        known = {name: value for name, value in _NAMED.items() if name in case.body}
        case.body = {**case.body, **known}


def _is_sent(value: Any) -> bool:
    """Return whether anything of a value comes into a URL."""
    if isinstance(value, dict | list):
        return any(map(_is_sent, value.values() if isinstance(value, dict) else value))
    return value is not None


def _single(context: Any, name: str) -> bool:
    """Return whether a parameter of a query is one value, and no list."""
    return "array" not in str(_schemas(context, name))


def _is_texts(context: Any, name: str) -> bool:
    """Return whether a parameter of a query is a list of texts, whatever they are."""
    texts = {"type": "array", "items": {"type": "string"}}
    return any(texts.items() <= schema.items() for schema in _schemas(context, name))


def _schemas(context: Any, name: str) -> list[Any]:
    """Return the schemas of a parameter of a query."""
    parameters = context.operation.definition.raw.get("parameters", ())
    return [one["schema"] for one in parameters if (one["in"], one["name"]) == ("query", name)]


def _tamed(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        if name == "workflow":
            return _WORKFLOW
        return {key: _tamed(inner, key) for key, inner in value.items()}
    if isinstance(value, list):
        return [_tamed(inner) for inner in value]
    if isinstance(value, str):
        return _TEXTS.get(name, value)
    return _number(value, name) if type(value) in (int, float) else value


def _spelt(value: Any, *, operators: bool = False) -> Any:
    if isinstance(value, dict):
        return {
            key if operators or _FIELD.fullmatch(key) else f"field-{number}": _spelt(inner)
            for number, (key, inner) in enumerate(value.items())
        }
    return [_spelt(inner) for inner in value] if isinstance(value, list) else value


def _number(value: float, name: str) -> float:
    if name == "after_seconds":
        return min(value, 0.01)
    if type(value) is int:
        return value if value in _INTEGERS else value % _INTEGERS.stop
    # A whole float could be sent as an integer.
    return 0.5 if value.is_integer() and abs(value) >= _INTEGERS.stop else value
