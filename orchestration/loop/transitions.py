"""The life of a run, as one table that the code, the diagram in the docs and the tests share."""

from collections.abc import Mapping
from enum import StrEnum

from orchestration.loop.run import RunStatus


class Step(StrEnum):
    """What can happen to a run."""

    CLAIM = "claim"
    SUCCEED = "succeed"
    FAIL = "fail"
    EXPIRE = "expire"
    CANCEL = "cancel"
    DRAIN = "drain"
    CRASH = "crash"
    POISON = "poison"


TRANSITIONS: Mapping[tuple[RunStatus, Step], RunStatus] = {
    (RunStatus.PENDING, Step.CLAIM): RunStatus.RUNNING,
    (RunStatus.PENDING, Step.CANCEL): RunStatus.INTERRUPTED,
    (RunStatus.RUNNING, Step.SUCCEED): RunStatus.SUCCESS,
    (RunStatus.RUNNING, Step.FAIL): RunStatus.ERROR,
    (RunStatus.RUNNING, Step.EXPIRE): RunStatus.TIMEOUT,
    (RunStatus.RUNNING, Step.CANCEL): RunStatus.INTERRUPTED,
    (RunStatus.RUNNING, Step.DRAIN): RunStatus.PENDING,
    (RunStatus.RUNNING, Step.CRASH): RunStatus.PENDING,
    (RunStatus.RUNNING, Step.POISON): RunStatus.ERROR,
}

UNFINISHED = frozenset({RunStatus.PENDING, RunStatus.RUNNING})
TERMINAL = frozenset(RunStatus) - UNFINISHED


def after(status: RunStatus, step: Step) -> RunStatus:
    """Return the status that ``step`` leads to.

    Raises:
        KeyError: ``step`` cannot happen to a run of ``status``.
    """
    return TRANSITIONS[status, step]


def diagram() -> str:
    """Return the table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", "    [*] --> pending: accept"]
    lines += [f"    {start} --> {end}: {step}" for (start, step), end in TRANSITIONS.items()]
    lines += [f"    {status} --> [*]" for status in RunStatus if status in TERMINAL]
    return "\n".join(lines)
