"""The one way in for JSON: bounded in size, depth and nodes; only what can be stored and sent back."""

import re
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from math import isfinite
from typing import Any

import orjson

from orchestration.api.problems import Problem

MAX_DEPTH = 64
MAX_NODES = 100_000
_INTEGERS = range(-(2**63), 2**63)
_LONG_INTEGER = re.compile(rb"(?<![\d.eE+])\d{19,}(?![\d.eE])")

Receive = Callable[[], Awaitable[Any]]


async def read_body(receive: Receive, declared: str | None, limit: int) -> bytes:
    """Return the body of a request.

    Raises:
        Problem: 413, it is longer than ``limit`` bytes; found out before it is kept.
    """
    if declared is not None and declared.isdigit() and int(declared) > limit:
        raise _too_large(limit)
    chunks: list[bytes] = []
    length = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Problem(HTTPStatus.BAD_REQUEST, "the client went away")
        chunk = message.get("body", b"")
        length += len(chunk)
        if length > limit:
            raise _too_large(limit)
        if not message.get("more_body", False):
            break
        chunks.append(chunk)
    return b"".join([*chunks, chunk]) if chunks else chunk


def parse_json(body: bytes) -> Any:
    """Return what ``body`` says in JSON.

    Raises:
        Problem: 400, it is no JSON (NaN, broken UTF-8 and lone surrogates included); 422, it is
            deeper than 64, has more than 100,000 nodes, or holds a number that would be changed.
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise Problem(
            HTTPStatus.BAD_REQUEST, f"the body is not valid JSON: {error.msg} ({where})"
        ) from error
    _inspect(value, body)
    return value


def _inspect(value: Any, body: bytes) -> None:
    level = [value]
    nodes = depth = 0
    while level:
        if depth > MAX_DEPTH:
            raise _refused(f"the body is nested deeper than {MAX_DEPTH} levels")
        nodes += len(level)
        if nodes > MAX_NODES:
            raise _refused(f"the body has more than {MAX_NODES} values")
        deeper: list[Any] = []
        for node in level:
            kind = type(node)
            if kind is dict:
                deeper.extend(node.values())
            elif kind is list:
                deeper.extend(node)
            elif kind is float:
                _inspect_float(node, body)
            elif kind is int and node not in _INTEGERS:
                raise _refused("an integer has more than 64 bits")
        level = deeper
        depth += 1


def _inspect_float(number: float, body: bytes) -> None:
    """Refuse what is no number any more, or was an integer in ``body`` and lost digits."""
    if not isfinite(number):
        raise _refused("a number is too large")
    if abs(number) >= _INTEGERS.stop and _LONG_INTEGER.search(body):
        raise _refused("an integer has more than 64 bits")


def _refused(detail: str) -> Problem:
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail)


def _too_large(limit: int) -> Problem:
    return Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body is larger than {limit} bytes")
