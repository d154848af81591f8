"""The filters that handlers return, in LangGraph's form, as metadata to be contained."""

from collections.abc import Mapping
from typing import Any

_PLAIN = (str, int, float, bool, type(None))


class FilterNotUnderstood(TypeError):
    """A handler returned something that does not say what may be seen."""


def as_metadata(found: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the metadata that everything that passes a filter contains.

    Raises:
        FilterNotUnderstood: it is not of the form ``{"key": "value"}``, ``{"key": {"$eq":
            "value"}}`` or ``{"key": {"$contains": "value" or ["value", …]}}``.
    """
    return {_key(key): _value(key, wanted) for key, wanted in found.items()}


def _key(key: object) -> str:
    if not isinstance(key, str):
        raise FilterNotUnderstood(f"a key of a filter is a string, and {key!r} is none")
    return key


def _value(key: str, wanted: object) -> Any:
    match wanted:
        case {"$eq": value, **more} if not more and isinstance(value, _PLAIN):
            return value
        case {"$contains": [*values], **more} if not more and _all_plain(values):
            return list(values)
        case {"$contains": value, **more} if not more and isinstance(value, _PLAIN):
            return [value]
        case value if isinstance(value, _PLAIN):
            return value
        case _:
            raise FilterNotUnderstood(
                f"{key}: a filter compares with a value, {{'$eq': …}} or {{'$contains': …}}; "
                f"found {wanted!r}"
            )


def _all_plain(values: list[object]) -> bool:
    return all(isinstance(value, _PLAIN) for value in values)
