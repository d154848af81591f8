"""What a checkpoint tells of where a run is in its workflow."""

from collections.abc import Sequence
from typing import Any

from langgraph.checkpoint.base import CheckpointTuple
from langgraph.graph import START

from coordinator.errors import StepsLeftOut
from coordinator.plan import Plan
from coordinator.results import Results

RESULTS = "steps"  # the channel
BEGINS = "branch:to:"  # LangGraph's: the channel that begins a node
_FAILED = "__masterloop_failed"  # no graph's channel: attempts at a task, which is tried again


def recorded(saved: CheckpointTuple | None) -> Results:
    """Return what steps have left in a checkpoint."""
    found: Results = {}
    for _, channel, value in pending(saved):
        if channel == RESULTS:
            found |= {step: result for step, result in value.items() if result is not None}
    return found


def pending(saved: CheckpointTuple | None) -> Sequence[tuple[str, str, Any]]:
    """Return what tasks have left in a checkpoint: whose, the channel, and the value."""
    return (saved.pending_writes if saved else None) or ()


def failed_attempts(saved: CheckpointTuple | None, run_id: str | None) -> dict[str, int]:
    """Return how many attempts of a run have failed, by task; another run has all of its own."""
    found: dict[str, int] = {}
    for _, channel, value in pending(saved):
        if channel == _FAILED and value["run_id"] == run_id:
            found[value["task_id"]] = max(value["attempts"], found.get(value["task_id"], 0))
    return found


def failed_attempt(task_id: str, attempts: int, run_id: str) -> tuple[tuple[str, Any], str]:
    """Return what is written of the last of so many, and whose it is to be.

    It is no task's of the graph: LangGraph takes one that has written anything for finished.
    """
    value = {"task_id": task_id, "attempts": attempts, "run_id": run_id}
    return (_FAILED, value), f"{task_id}:{run_id}:{attempts}"


def begun_by(saved: CheckpointTuple) -> dict[str, Any]:
    """Return the steps that begin with a checkpoint; a `goto` comes on top of it.

    Each has what was written to begin it: a list of the steps that its run had come past.
    """
    channels = saved.checkpoint["channel_values"]
    return {
        name.removeprefix(BEGINS): value
        for name, value in channels.items()
        if name.startswith(BEGINS)
    }


def _begun_last_by(saved: CheckpointTuple) -> dict[str, Any]:
    """Return those of the steps that an earlier run has not left, with a workflow that had them.

    LangGraph clears no channel that its graph does not have.
    """
    versions = saved.checkpoint["channel_versions"]
    last = max(versions.values(), default=None)
    begun = begun_by(saved).items()
    return {step: past for step, past in begun if versions.get(f"{BEGINS}{step}") == last}


def require_steps(plan: Plan, saved: CheckpointTuple) -> None:
    """Refuse to go on at a checkpoint from which no step begins, while some are still to be done.

    LangGraph takes a run for finished whose nodes are no longer there. Steps that do begin see to
    it that none is left out.

    Raises:
        StepsLeftOut: they would not be done, and nobody told.
    """
    begun, ended = _begun_last_by(saved), recorded(saved)
    channels = {channel for _, channel, _ in pending(saved)}
    begin = [step for step in plan.order if step in begun.keys() - ended.keys()]
    if begin or any(f"{BEGINS}{step}" in channels for step in plan.order):
        return
    if not begun:
        _require_results(plan, saved)
        return
    behind = set(begun) if plan.workflow.mode != "sequential" else ended.keys()
    for past in begun.values():
        behind |= set(past) if isinstance(past, list) else set()
    if left_out := [step for step in plan.order if step not in behind]:
        raise StepsLeftOut(left_out)


def _require_results(plan: Plan, saved: CheckpointTuple) -> None:
    """Refuse to take a run for finished that came to its end by an update of its state.

    That takes the place of all steps that were under way side by side.

    Raises:
        StepsLeftOut: some have left nothing.
    """
    values = saved.checkpoint["channel_values"]
    if plan.workflow.mode == "sequential" or START in values:
        return
    if left_out := [step for step in plan.order if step not in (values.get(RESULTS) or {})]:
        raise StepsLeftOut(left_out)
