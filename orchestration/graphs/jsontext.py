"""JSON text of what a graph's state can hold, in the form LangGraph's clients expect."""

import dataclasses
import re
from base64 import b64encode
from collections import deque
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from enum import Enum
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from pathlib import PurePath
from typing import Any
from uuid import UUID

import orjson
from langgraph.types import Send

from operations.json_text import TOO_LARGE, has_large_integer
from operations.surrogates import without_surrogates

DEPTH_LIMIT = 254  # levels; orjson's own bound

_AROUND = 4  # levels of an event around what a graph has made: payload, tasks, one, its result

_NATIVE = frozenset((type(None), bool, float, datetime, date, time, UUID, orjson.Fragment))
_INT_MIN, _INT_MAX = -(2**63), 2**64 - 1  # what orjson writes by itself


class NotSerialisable(ValueError):
    """A value has no JSON text: it contains itself, is nested too deep, or refuses conversion.

    Or its text cannot be read again as it is.
    """


def dumps(value: Any) -> bytes:
    """Return ``value`` as UTF-8 JSON text.

    Messages and other models become their fields, dates ISO 8601, bytes base64, durations
    seconds, exceptions ``{"error", "message"}``; sets, deques and tuples become arrays. Integers
    keep all their digits. NaN and infinity become null, and so does what has no JSON form (a
    function, a class, an open file). Lone surrogates in strings become ``?``. A ``Fragment`` of
    orjson's stays as it is, and counts as no level.

    Raises:
        NotSerialisable: the value contains itself, is nested deeper than 254 levels, or one of
            its objects raised while it was converted.
    """
    try:
        # Keys that are not strings have an option of their own, which halves the speed for all.
        return orjson.dumps(value, _default, orjson.OPT_SERIALIZE_NUMPY)
    except orjson.JSONEncodeError:
        return _dumps_slowly(value)


def event_text(event: Any) -> bytes:
    """Return the JSON text of an event, in which what a graph has made may have 254 levels itself.

    Raises:
        NotSerialisable: some of it has no JSON text.
    """
    try:
        return dumps(event)
    except NotSerialisable:
        return dumps(_in_parts(event, _AROUND))


def as_json(value: Any) -> Any:
    """Return ``value`` as whoever reads its JSON text has it.

    Raises:
        NotSerialisable: it has no such text, or an integer of more than 64 bits.
    """
    text = dumps(value)
    if has_large_integer(text):
        raise NotSerialisable(TOO_LARGE)
    return orjson.loads(text)


def _in_parts(value: Any, levels: int) -> Any:
    """Rebuild ``value``, with what is so many levels down in it as text already."""
    if levels and isinstance(value, dict):
        return {key: _in_parts(each, levels - 1) for key, each in value.items()}
    if levels and isinstance(value, list | tuple):
        return [_in_parts(each, levels - 1) for each in value]
    return orjson.Fragment(dumps(value))


def _dumps_slowly(value: Any) -> bytes:
    """Write what orjson refuses: large integers, lone surrogates, keys that are not strings."""
    try:
        return orjson.dumps(_plain(value, DEPTH_LIMIT))
    except NotSerialisable:
        raise
    except Exception as error:  # an object of the user's state may raise anything
        raise NotSerialisable(f"a value cannot be written as JSON: {error}") from error


def _plain(value: Any, depth: int) -> Any:
    """Rebuild ``value`` of what orjson writes without options, at most ``depth`` levels of it."""
    if type(value) in _NATIVE:
        return value
    if isinstance(value, Enum):
        return _plain(value.value, depth)
    if isinstance(value, str):
        return without_surrogates(value)
    if isinstance(value, int):
        return value if _INT_MIN <= value <= _INT_MAX else orjson.Fragment(str(int(value)))
    if depth == 0:
        raise NotSerialisable(f"a value contains itself or is deeper than {DEPTH_LIMIT} levels")
    return _rebuilt(value, depth - 1)


def _rebuilt(value: Any, depth: int) -> Any:
    if isinstance(value, dict):
        return {_key(key): _plain(each, depth) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each, depth) for each in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = (field.name for field in dataclasses.fields(value))
        return {name: _plain(getattr(value, name), depth) for name in names if name[0] != "_"}
    return _plain(_default(value), depth)


def _key(key: Any) -> str:
    match key:
        case Enum():
            return _key(key.value)
        case str():
            return without_surrogates(key)
        case None:
            return "null"
        case bool():
            return "true" if key else "false"
        case datetime() | date() | time():
            return key.isoformat()
        case _:
            return without_surrogates(str(key))


def _default(value: Any) -> Any:
    """Return something orjson can write in place of ``value``."""
    convert = _CONVERTERS.get(type(value))
    if convert is not None:
        return convert(value)
    if isinstance(value, type):
        return None
    for name in ("model_dump", "_asdict", "dict", "tolist"):
        method = getattr(value, name, None)
        if callable(method):
            return method()
    for kind, convert in _FAMILIES:
        if isinstance(value, kind):
            return convert(value)
    return None


def _number(value: Decimal) -> float | int:
    if value.is_finite() and value.as_tuple().exponent == 0:
        return int(value)
    return float(value)


def _failure(error: BaseException) -> dict[str, str]:
    return {"error": type(error).__name__, "message": str(error)}


def _base64(value: bytes | bytearray | memoryview) -> str:
    return b64encode(value).decode("ascii")


_CONVERTERS: dict[type, Callable[[Any], Any]] = {
    set: list,
    frozenset: list,
    deque: list,
    bytes: _base64,
    bytearray: _base64,
    memoryview: _base64,
    Decimal: _number,
    timedelta: timedelta.total_seconds,
    Send: lambda send: {"node": send.node, "args": send.arg},
}

_FAMILIES: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    (BaseException, _failure),
    (float, float),
    ((date, time), lambda moment: moment.isoformat()),
    (Mapping, dict),
    ((tuple, set, frozenset, deque), list),
    (bytes | bytearray, _base64),
    (Decimal, _number),
    (timedelta, timedelta.total_seconds),
    (re.Pattern, lambda pattern: pattern.pattern),
    ((PurePath, tzinfo), str),
    ((IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network), str),
)
