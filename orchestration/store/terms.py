"""Metadata as terms to look up: one for every value in them, whatever it is nested in.

What contains a document has all of the document's terms. The other way round that holds as well,
unless the document has empty members, or lists of anything but plain values.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import orjson

MOST = 1_000  # values that metadata may hold
_SIZE = 16  # bytes of a term: enough that nobody finds two values with the same
_MEMBER = 0  # stands for a place in a list; keys are text

Path = tuple[str | int, ...]


class TooMuchMetadata(Exception):
    """Metadata hold more values than can be looked up."""

    def __init__(self, found: int) -> None:
        super().__init__(f"metadata may hold {MOST:,} values, and these hold {found:,}")


def check_size(metadata: Mapping[str, Any]) -> None:
    """Refuse metadata that hold too many values.

    Raises:
        TooMuchMetadata: they do.
    """
    found = sum(1 for _ in _values((), metadata))
    if found > MOST:
        raise TooMuchMetadata(found)


def terms(metadata: Mapping[str, Any]) -> set[bytes]:
    """Return the terms of metadata."""
    return {_term(path, value) for path, value in _values((), metadata)}


def plain_terms(values: Mapping[str, Any]) -> Iterator[bytes]:
    """Yield the terms of the values that are in no list."""
    return (_term(path, value) for path, value in _values((), values, lists=False))


@lru_cache(maxsize=1_024)
def terms_of_names(graph_id: str, assistant_id: str) -> frozenset[bytes]:
    """Return the terms of what a run tells its thread, which is the same over and over."""
    return frozenset(terms({"graph_id": graph_id, "assistant_id": assistant_id}))


def sayable(part: Any) -> bool:
    """Return whether the terms of ``part`` say all of what it takes to contain it."""
    if isinstance(part, dict):
        return bool(part) and all(map(sayable, part.values()))
    if isinstance(part, list):
        return bool(part) and not any(isinstance(value, dict | list) for value in part)
    return True


def _values(path: Path, value: Any, *, lists: bool = True) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, Mapping):
        for key, member in value.items():
            yield from _values((*path, key), member, lists=lists)
    elif isinstance(value, list):
        for member in value if lists else ():
            yield from _values((*path, _MEMBER), member)
    else:
        yield path, value


def _term(path: Path, value: Any) -> bytes:
    return blake2b(orjson.dumps((*path, value)), digest_size=_SIZE).digest()
