"""The one way in for JSON: bounded in size, depth and nodes; only what can be sent back."""

import json
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from random import randint
from typing import Any

import orjson

from orchestration.api.problems import CLIENT_GONE, Problem

MAX_DEPTH = 64
MAX_NODES = 100_000
BODIES = 64  # of the largest size, that may come in parts at once
_INTEGERS = range(-(2**63), 2**63)
_BIG = float(_INTEGERS.stop)
_LARGE = "an integer has more than 64 bits"
_SPACED = re.compile(rb'"[ \t\r\n]+:')
_DIGITS = 20  # of a length; one that has more is too long in any case

Receive = Callable[[], Awaitable[Any]]


class Bodies:
    """What bodies that come in parts may take together, while they come.

    No caller has more than is left for all others. One alone may have half of the room; whoever
    comes next, half of what is left.

    Source: A. Choudhury, E. Hahne, "Dynamic Queue Length Thresholds for Shared-Memory Packet
    Switches", IEEE/ACM Transactions on Networking 6 (2), 1998.
    """

    def __init__(self, room: int) -> None:
        self._left = room  # bytes
        self._taken: Counter[str] = Counter()  # bytes, by who sends them

    def take(self, caller: str, size: int) -> None:
        """Count a part of a body that ``caller`` sends.

        Raises:
            Problem: 503, there is no room for it.
        """
        taken = self._taken[caller] + size
        if taken > self._left - size:
            raise _no_room()
        self._taken[caller] = taken
        self._left -= size

    def give(self, caller: str, size: int) -> None:
        """Count no longer what was taken."""
        self._left += size
        self._taken[caller] -= size
        if not self._taken[caller]:
            del self._taken[caller]


def check_coding(headers: Mapping[bytes, bytes]) -> None:
    """Refuse a body that is compressed, of which nobody knows how large it is.

    Raises:
        Problem: 415, it is.
    """
    coding = headers.get(b"content-encoding", b"").strip().lower()
    if coding not in (b"", b"identity"):
        raise Problem(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "the body must be sent as it is, without a Content-Encoding",
            headers={"accept-encoding": "identity"},
        )


async def read_body(
    receive: Receive, declared: str | None, limit: int, bodies: Bodies, caller: str
) -> bytes:
    """Return the body of a request that is from ``caller``.

    Raises:
        Problem: 413, it is longer than ``limit`` bytes, found out before it is kept; 503, it comes
            in parts, for which there is no room among ``bodies``.
    """
    if declared is not None and declared.isdecimal() and int(declared[:_DIGITS]) > limit:
        raise _too_large(limit)
    body, more = await _part(receive)
    if len(body) > limit:
        raise _too_large(limit)
    if not more:
        return body
    whole = bytearray()  # not a list: a part that is small takes many times its size in one
    try:
        while True:
            bodies.take(caller, len(body))
            whole += body
            if not more:
                return bytes(whole)
            body, more = await _part(receive)
            if len(whole) + len(body) > limit:
                raise _too_large(limit)
    finally:
        bodies.give(caller, len(whole))


async def _part(receive: Receive) -> tuple[bytes, bool]:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise Problem(CLIENT_GONE, "the client went away")
    return message.get("body", b""), message.get("more_body", False)


def replayed(body: bytes, receive: Receive) -> Receive:
    """Return a ``receive`` that gives a body that was read once more, and then what else comes."""
    given = False

    async def replay() -> Any:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def parse_json(body: bytes) -> Any:
    """Return what ``body`` says in JSON.

    Raises:
        Problem: 400, it is no JSON (NaN, broken UTF-8 and lone surrogates included) or an object
            has a key twice; 422, it is deeper than 64, has more than 100,000 nodes, or holds a
            number that would be changed.
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise Problem(
            HTTPStatus.BAD_REQUEST, f"the body is not valid JSON: {error.msg} ({where})"
        ) from error
    suspicious, keys = _inspect(value)
    if suspicious or not _has_so_many_keys(body, keys):
        json.loads(body, parse_int=_integer, object_pairs_hook=_unique)
    return value


def _inspect(value: Any) -> tuple[bool, int]:
    """Refuse what is too deep, too much or too large.

    Return whether there is a float so large that it may have been an integer, and lost digits;
    and how many keys all objects have together.
    """
    level = [value]
    nodes = depth = keys = 0
    suspicious = False
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
                keys += len(node)
                deeper.extend(node.values())
            elif kind is list:
                deeper.extend(node)
            elif kind is float:
                suspicious = suspicious or not -_BIG < node < _BIG
            elif kind is int and node not in _INTEGERS:
                raise _refused(_LARGE)
        level = deeper
        depth += 1
    return suspicious, keys


def _has_so_many_keys(body: bytes, keys: int) -> bool:
    """Return whether ``body`` is seen, without reading it again, to have no more keys than that.

    The parser keeps the last of equal keys; then there are more colons after a string than keys.
    """
    if body.count(b":") == keys:
        return True
    return body.count(b'":') - body.count(b'\\":') == keys and not _SPACED.search(body)


def _unique(pairs: list[tuple[str, Any]]) -> None:
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise Problem(HTTPStatus.BAD_REQUEST, f"the key {key[:64]!r} is there twice")
        seen.add(key)


def _integer(text: str) -> int:
    number = int(text) if len(text) <= _DIGITS else _INTEGERS.stop
    if number not in _INTEGERS:
        raise _refused(_LARGE)
    return number


def _refused(detail: str) -> Problem:
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail)


def _too_large(limit: int) -> Problem:
    # The rest of the body is not read.
    return Problem(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        f"the body is larger than {limit} bytes",
        headers={"connection": "close"},
    )


def _no_room() -> Problem:
    return Problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "other requests' bodies take all the room there is for yours; try again",
        headers={"connection": "close", "retry-after": str(randint(1, 3))},
    )
