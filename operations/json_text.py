"""JSON text of what the service tells of itself, whatever is in it."""

import json
import re
from typing import Any

import orjson

# JSON leaves them as they are. Some who read lines end one there, as splitlines() of Python does,
# and to some terminals the others are the beginning of a command.
_CONTROLS = re.compile(r"[\x80-\x9f\u2028\u2029]")
# A string, or else an integer that has as many digits as the least of more than 64 bits.
_DIGITS = re.compile(rb"[0-9]{19}")
_STRING_OR_INTEGER = re.compile(
    rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|(?<![0-9.eE+-])(-?[0-9]{19,}+)(?![.eE])'
)
_INTEGERS = range(-(2**63), 2**64)  # those that orjson reads as they are
_LONGEST = 20  # of their texts
TOO_LARGE = "it has an integer of more than 64 bits, which belongs in a text"


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


def has_large_integer(text: bytes) -> bool:
    """Return whether JSON text has an integer of more than 64 bits: orjson makes it a float."""
    if not _DIGITS.search(text):
        return False
    found = (match[1] for match in _STRING_OR_INTEGER.finditer(text))
    return any(
        number and (len(number) > _LONGEST or int(number) not in _INTEGERS) for number in found
    )


def one_line(text: str) -> str:
    """Return JSON text, of one line, with escapes for what is more than a character to a reader."""
    return text if text.isascii() else _CONTROLS.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def _null(_: str) -> None:
    """Return what stands for NaN and for what is infinite."""
