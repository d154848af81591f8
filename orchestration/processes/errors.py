"""Errors on their way from one process to another, and what only worker processes raise."""

import builtins
from typing import Any

from langgraph.store.base import InvalidNamespaceError

from agents import errors as agents
from agents.network import errors as messages
from operations import database_errors as database
from operations.surrogates import without_surrogates
from orchestration.store.bounded import SearchTooWide, TooMuchFound
from orchestration.store.checkpoints import Fenced
from orchestration.store.item_filters import FilterRefused
from orchestration.store.item_vectors import EmbeddingFailed, TooManyTexts

_PLAIN = (float, bool, type(None))
_LEAST, _MOST = -(2**63), 2**64 - 1  # integers that MessagePack has


class NotInWorker(RuntimeError):
    """Something was used that a graph can only have in the server's own process."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what} is not to be had in a worker process; serve with --workers 0 to use it"
        )


class Refused(RuntimeError):
    """The server could not do something, for a reason of a kind that is not known here."""


def _can_be_made(kind: type[Exception]) -> bool:
    """Whether an error of that kind can be made of a message alone, and tells it."""
    try:
        error = kind.__new__(kind)
    except TypeError:
        return False
    error.args = ("words",)
    return "words" in str(error)


_KNOWN: dict[str, type[Exception]] = {
    kind.__name__: kind
    for kind in (
        *(one for room in (agents, messages, database) for one in vars(room).values()),
        EmbeddingFailed,
        Fenced,
        FilterRefused,
        InvalidNamespaceError,
        SearchTooWide,
        TooManyTexts,
        TooMuchFound,
        *vars(builtins).values(),
    )
    if isinstance(kind, type) and issubclass(kind, Exception) and _can_be_made(kind)
}


def packed(error: BaseException) -> tuple[str, str, dict[str, Any]]:
    """Return an error as its name, its message and its facts, as far as they can be sent."""
    facts = {
        without_surrogates(fact): without_surrogates(value) if isinstance(value, str) else value
        for fact, value in vars(error).items()
        if isinstance(value, (str, *_PLAIN))
        or (isinstance(value, int) and _LEAST <= value <= _MOST)
    }
    return type(error).__name__, without_surrogates(str(error)), facts


def unpacked(name: str, message: str, facts: dict[str, Any]) -> Exception:
    """Return the error that was packed; one of a kind that is not known is `Refused`."""
    kind = _KNOWN.get(name)
    if kind is None:
        return Refused(f"{name}: {message}")
    # Not by its own means of making one, which begin with the facts and end with the message.
    error = kind.__new__(kind)
    error.args = (message,)
    vars(error).update(facts)
    return error
