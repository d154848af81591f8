"""The workflow that a thread goes on with, as SQL and in a transaction: a run was given it."""

import sqlite3
from typing import Any

_PLACE = "'$.config.configurable.workflow'"
_SPEC = f"json_extract(kwargs, {_PLACE})"
_IS_GIVEN = f"json_type(kwargs, {_PLACE}) IS 'object'"
# That of the latest run that was given one; else the one that the thread was copied with. It
# takes the thread twice: the first of Python 3.12 warn of parameters with numbers.
WORKFLOW = f"""
SELECT COALESCE((
    SELECT {_SPEC} FROM runs INDEXED BY runs_of_thread
    WHERE thread_id = ? AND NOT ephemeral AND {_IS_GIVEN}
    ORDER BY created_at DESC, run_id DESC LIMIT 1
), (SELECT workflow FROM copied_workflows WHERE thread_id = ?))
"""  # noqa: S608 - constants
_COPY = "INSERT INTO copied_workflows VALUES (?, ?)"
LEFT = f"thread_id, graph_id, created_at, run_id, CASE WHEN {_IS_GIVEN} THEN {_SPEC} END"
# A run that was given none and left no checkpoints did nothing that could be gone on with.
_HAND_ON = f"""
UPDATE runs SET kwargs = json_set(kwargs, '$.config.configurable', json_set(
    COALESCE(json_extract(kwargs, '$.config.configurable'), '{{}}'), '$.workflow', json(:workflow)))
WHERE NOT {_IS_GIVEN} AND run_id = (
    SELECT run_id FROM runs INDEXED BY runs_of_thread
    WHERE thread_id = :thread_id AND NOT ephemeral AND graph_id = :graph_id AND attempt > 0
        AND (created_at, run_id) > (:created_at, :run_id)
        AND ({_IS_GIVEN} OR run_id IN (
            SELECT json_extract(CAST(metadata AS TEXT), '$.run_id') FROM checkpoints
            WHERE thread_id = :thread_id))
    ORDER BY created_at, run_id LIMIT 1)
"""  # noqa: S608 - constants


def copy_workflow(source: str, target: str, connection: sqlite3.Connection) -> None:
    """Have a new thread go on with the workflow of another, whose runs it does not have."""
    [workflow] = connection.execute(WORKFLOW, (source, source)).fetchone()
    if workflow is not None:
        connection.execute(_COPY, (target, workflow))


def hand_on_workflow(left: tuple[Any, ...], connection: sqlite3.Connection) -> None:
    """Have the run that went on after a deleted one keep the workflow that this was given.

    ``left`` is what the deleted one's row gives for `LEFT`; its checkpoints are gone already.
    """
    names = ("thread_id", "graph_id", "created_at", "run_id", "workflow")
    parameters = dict[str, Any](zip(names, left, strict=True))
    if parameters["workflow"] is not None:
        connection.execute(_HAND_ON, parameters)
