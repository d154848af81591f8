"""JSON text of what the service tells of itself, whatever is in it."""

import json
from typing import Any

import orjson


def dumps(value: Any) -> bytes:
    """Return ``value`` as JSON text; what JSON has no word for is told as a text.

    Half a surrogate pair, as in names of files that are no Unicode, becomes ``?``; large integers
    keep their digits; numbers that are not finite are null. It must not fail: the log would fail
    those who write to it, and a sink would try again for ever.
    """
    try:
        return orjson.dumps(value, default=str)
    except TypeError:
        text = json.dumps(value, default=str, skipkeys=True, ensure_ascii=False)
        finite = json.loads(text, parse_constant=_null)
        return json.dumps(finite, ensure_ascii=False).encode("utf-8", "replace")


def _null(_: str) -> None:
    """Return what stands for NaN and for what is infinite."""
