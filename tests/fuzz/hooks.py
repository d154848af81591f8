"""What schemathesis is told beyond the API document, for which JSON Schema has no words.

A schedule is one and has its end to come, a time zone is known, items are not searched by meaning
where nothing makes vectors, integers have 64 bits, and no test waits for a run of next year.
"""

from typing import Any

import schemathesis

_INTEGERS = range(-(2**63), 2**63)
_TEXTS = {"schedule": "0 0 1 1 *", "timezone": "Europe/Berlin", "end_time": "2999-01-01T00:00:00Z"}


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    if isinstance(case.body, dict | list):
        case.body = _tamed(case.body)


def _tamed(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        return {key: _tamed(inner, key) for key, inner in value.items()}
    if isinstance(value, list):
        return [_tamed(inner) for inner in value]
    if isinstance(value, str):
        return None if name == "query" else _TEXTS.get(name, value)
    return _number(value, name) if type(value) in (int, float) else value


def _number(value: float, name: str) -> float:
    if name == "after_seconds" and 0 <= value <= 31_536_000:
        return 0.01
    if type(value) is int:
        return value if value in _INTEGERS else value % _INTEGERS.stop
    # A whole float could be sent as an integer.
    return 0.5 if value.is_integer() and abs(value) >= _INTEGERS.stop else value
