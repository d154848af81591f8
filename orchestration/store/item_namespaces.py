"""Namespaces of items: how they are kept, and how they are listed without reading the items."""

import sqlite3
import time
from collections.abc import Sequence

from langgraph.store.base import ListNamespacesOp, MatchCondition

from orchestration.store import bounded

Namespace = tuple[str, ...]

_NEXT = """
SELECT namespace FROM items INDEXED BY items_by_name
WHERE namespace >= ? AND namespace < ? AND (expires_at IS NULL OR expires_at > ?)
ORDER BY namespace LIMIT 1
"""


def as_text(namespace: Sequence[str]) -> str:
    """Return the text a namespace is kept as; no label has a dot in it."""
    return "".join(f"{label}." for label in namespace)


def from_text(text: str) -> Namespace:
    """Return the namespace that is kept as ``text``."""
    return tuple(text.split(".")[:-1])


def below(namespace: Sequence[str]) -> tuple[str, str | bytes]:
    """Return where a namespace and those below it begin, and the first text after them."""
    text = as_text(namespace)
    # To SQLite every blob is greater than any text.
    return (text, f"{text[:-1]}/") if text else ("", b"")


def list_namespaces(
    op: ListNamespacesOp, at: float, connection: sqlite3.Connection
) -> list[Namespace]:
    """Return the namespaces in which something lives at ``at``, in their order.

    It goes from one namespace to the next through an index, however many items there are.

    Raises:
        SearchTooWide: it took too long.
    """
    deadline = time.monotonic() + bounded.PATIENCE
    conditions = op.match_conditions or ()
    place, end = below(_common(conditions))
    found: list[Namespace] = []
    while len(found) < op.offset + op.limit:
        if time.monotonic() > deadline:
            raise bounded.SearchTooWide
        row = connection.execute(_NEXT, (place, end, at)).fetchone()
        if row is None:
            break
        namespace = from_text(row[0])
        place = f"{row[0]}\0"
        if all(_matches(condition, namespace) for condition in conditions):
            found.append(namespace[: op.max_depth])
            if op.max_depth is not None and len(namespace) >= op.max_depth:
                place = f"{as_text(found[-1])[:-1]}/"
    return found[op.offset :]


def _common(conditions: Sequence[MatchCondition]) -> Namespace:
    """Return what all matching namespaces begin with, as far as the prefixes say it."""
    paths = [tuple(one.path) for one in conditions if one.match_type == "prefix"]
    plain = [path[: path.index("*")] if "*" in path else path for path in paths]
    return max(plain, key=len, default=())


def _matches(condition: MatchCondition, namespace: Namespace) -> bool:
    """Return whether a namespace begins or ends as asked; ``*`` stands for any one label."""
    path = condition.path
    if len(path) > len(namespace):
        return False
    part = namespace[: len(path)]
    if condition.match_type == "suffix":
        part = namespace[len(namespace) - len(path) :]
    return all(asked in ("*", label) for asked, label in zip(path, part, strict=True))
