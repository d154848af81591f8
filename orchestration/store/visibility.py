"""What a caller may see: rows whose metadata hold what an authorisation asked for.

The one form for every provider of authorisation. Ownership is nothing but metadata: written when
a thing is made, and looked for whenever it is read, changed, counted or deleted.
"""

import sqlite3
from collections.abc import Mapping
from typing import Any

import orjson

from orchestration.store.contains import contains

# Metadata that a row must contain, as `contains` has it, to be there for the caller.
# None: everything is.
Visible = Mapping[str, Any] | None


def sees(visible: Visible, metadata: str | bytes | Mapping[str, Any]) -> bool:
    """Return whether a caller sees what has this metadata, given as it is stored or as read."""
    if not visible:
        return True
    known = metadata if isinstance(metadata, Mapping) else orjson.loads(metadata)
    return contains(known, visible)


def seen(visible: Visible, row: sqlite3.Row | None) -> sqlite3.Row | None:
    """Return a row if the caller sees it, None as if there were none."""
    return row if row is not None and sees(visible, row["metadata"]) else None


def stamped(metadata: Mapping[str, Any], stamp: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``metadata`` that contain ``stamp``, whatever the caller wrote in its place.

    A list is filled up with what it lacks; everything else is replaced.
    """
    marked = {**metadata}
    for key, value in stamp.items():
        given = marked.get(key)
        if isinstance(value, list) and isinstance(given, list):
            marked[key] = [*given, *(one for one in value if one not in given)]
        else:
            marked[key] = value
    return marked
