"""The last decisions, for people: what was chosen, from what, why, and how it went."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from coordinator.advice import Arm, Features, Result

MOST = 1_000  # decisions


@dataclass(frozen=True, slots=True)
class Option:
    """An arm that could be chosen, and what it looked like.

    ``tried`` is how many results counted, ``chance`` and ``seconds`` what was expected, and
    ``drawn`` what it was compared by: a reward that it may well have given (0 to 1), times its
    ``weight`` within the run.
    """

    arm: Arm
    tried: float
    chance: float
    seconds: float
    weight: float
    drawn: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A decision; ``metadata`` are those of the run, which say who sees it."""

    decision_id: str
    at: datetime
    workflow: str
    run_id: str | None
    step: str | None
    features: Features
    arm: Arm
    options: tuple[Option, ...]
    why: str
    metadata: Mapping[str, Any]
    result: Result | None = None
    reward: float | None = None


class History:
    """Keeps the last decisions, a thousand; older ones are dropped."""

    def __init__(self) -> None:
        self._records: OrderedDict[str, Record] = OrderedDict()

    def add(self, record: Record) -> None:
        """Keep one, in the place of the oldest if there are too many."""
        self._records[record.decision_id] = record
        if len(self._records) > MOST:
            self._records.popitem(last=False)

    def judge(self, decision_id: str, result: Result, reward: float) -> None:
        """Put to a decision how it went, if it is still there."""
        record = self._records.get(decision_id)
        if record is not None:
            self._records[decision_id] = replace(record, result=result, reward=reward)

    def latest(self) -> list[Record]:
        """Return them, the newest first; what is returned never changes."""
        return list(reversed(self._records.values()))
