"""The beginning of a value as JSON, for people: bounded in length and in time, without secrets."""

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from operations.redaction import HIDDEN, names_a_secret
from operations.surrogates import without_surrogates

CUT = "…"
_DEPTH = 8  # levels that are shown
_SCALARS = (bool, int, float)


def excerpt(value: Any, most: int) -> str:
    """Return the JSON text of ``value``, or its first ``most`` characters and an ellipsis.

    Nothing beyond those is looked at. Dataclasses and pydantic's models are shown by their fields,
    other objects by the name of their class; what a key calls a secret is left out.
    """
    beginning = _Beginning(most)
    try:
        beginning.add(value, _DEPTH)
    except _Full:
        return beginning.text[:most] + CUT
    except Exception as error:  # noqa: BLE001 - it is somebody else's object that is looked at
        return f"{beginning.text}<{type(error).__name__}>"
    return beginning.text


class _Full(Exception):
    """There is no room for more."""


class _Beginning:
    def __init__(self, most: int) -> None:
        self._parts: list[str] = []
        self._room = most

    @property
    def text(self) -> str:
        return without_surrogates("".join(self._parts))

    def add(self, value: Any, depth: int) -> None:
        if isinstance(value, str):
            self._put(json.dumps(value[: self._room + 1], ensure_ascii=False))
        elif value is None or isinstance(value, _SCALARS):
            self._put(json.dumps(value))
        elif not depth:
            self._put(f'"{CUT}"')
        elif isinstance(value, Mapping):
            self._add_fields(value, depth - 1)
        elif isinstance(value, list | tuple | set | frozenset):
            self._put("[")
            for place, one in enumerate(value):
                self._put(", " if place else "")
                self.add(one, depth - 1)
            self._put("]")
        elif (known := _fields(value)) is not None:
            self._add_fields(known, depth - 1)
        else:
            self._put(f'"<{type(value).__name__}>"')

    def _add_fields(self, value: Mapping[Any, Any], depth: int) -> None:
        self._put("{")
        for place, (key, one) in enumerate(value.items()):
            self._put(", " if place else "")
            self.add(key if isinstance(key, str) else str(key), 0)
            self._put(": ")
            self.add(HIDDEN if names_a_secret(key, one) else one, depth)
        self._put("}")

    def _put(self, text: str) -> None:
        self._parts.append(text)
        self._room -= len(text)
        if self._room < 0:
            raise _Full


def _fields(value: Any) -> Mapping[str, Any] | None:
    if is_dataclass(value) and not isinstance(value, type):
        return {one.name: getattr(value, one.name) for one in fields(value)}
    if hasattr(type(value), "model_fields"):
        return dict(vars(value))
    return None
