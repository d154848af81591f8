"""What schemathesis is told beyond the API document, for which JSON Schema has no words.

A schedule and a time zone are ones, its end is to come, an integer has 64 bits, no test waits for a run of next year.
"""

from typing import Any

import schemathesis

_SOON = 0.01  # seconds
_INTEGERS = range(-(2**63), 2**63)


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    if isinstance(case.body, dict | list):
        case.body = _tamed(case.body)


def _tamed(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        return {key: _tamed(inner, key) for key, inner in value.items()}
    if isinstance(value, list):
        return [_tamed(inner) for inner in value]
    return _plain(value, name)


def _plain(value: Any, name: str) -> Any:
    if name == "schedule" and isinstance(value, str):
        return "0 0 1 1 *"
    if name == "timezone" and isinstance(value, str):
        return "Europe/Berlin"
    if name == "query" and isinstance(value, str):
        return None  # there is no search by meaning here
    if name == "end_time" and isinstance(value, str):
        return f"2999{value[4:]}"
    if type(value) is int and value not in _INTEGERS:
        return value % _INTEGERS.stop
    if type(value) is float and value.is_integer() and abs(value) >= _INTEGERS.stop:
        return 0.5  # which could be sent as an integer
    if name == "after_seconds" and type(value) in (int, float) and 0 <= value <= 31_536_000:
        return _SOON
    return value
