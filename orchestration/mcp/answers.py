"""Answers to some of the questions of a task, until there is one to each."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import orjson
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS

TASKS = 1_000  # whose answers are kept
ROOM = 16 * 1024**2  # bytes that the answers of all of them may take, as JSON
LONGEST = 1024**2  # bytes of those of one


class PartialAnswers:
    """What was answered to tasks that ask several things at once, by the id of their run.

    Of too many, or too much, the oldest are forgotten, and asked for again; so are all after a
    restart.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._size = 0  # bytes

    def to(self, run_id: str) -> dict[str, Any]:
        """Return the answers to the questions of a task so far."""
        kept = self._kept.get(run_id)
        return {} if kept is None else orjson.loads(kept)

    def keep(self, run_id: str, answers: Mapping[str, Any]) -> None:
        """Keep all the answers so far in place of those before.

        Raises:
            MCPError: they are too long to be kept; those before are still.
        """
        text = orjson.dumps(answers)
        if len(text) > LONGEST:
            raise MCPError(
                INVALID_PARAMS,
                f"answers to some of the questions may be {LONGEST:,} bytes long, and these are "
                f"{len(text):,}: answer all questions at once",
            )
        self.forget(run_id)
        self._kept[run_id] = text
        self._size += len(text)
        while self._size > ROOM or len(self._kept) > TASKS:
            _, oldest = self._kept.popitem(last=False)
            self._size -= len(oldest)

    def forget(self, run_id: str) -> None:
        """Keep nothing of a task any more."""
        self._size -= len(self._kept.pop(run_id, b""))
