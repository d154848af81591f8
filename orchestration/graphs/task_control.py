"""The control of a graph that somebody waits for within a task, and may cease to."""

import asyncio

from langgraph.runtime import RunControl


class TaskControl(RunControl):
    """Stops a graph at its next super-step, if a node swallowed that its task was cancelled.

    It belongs to the present task. As that of the graph ``around`` does, it stops it, too.
    """

    __slots__ = ("_around", "_task")

    def __init__(self, around: RunControl | None = None) -> None:
        super().__init__()
        self._around = around
        self._task = asyncio.current_task()

    @property
    def drain_requested(self) -> bool:
        cancelled = self._task is not None and self._task.cancelling() > 0
        around = self._around is not None and self._around.drain_requested
        return cancelled or around or super().drain_requested

    @property
    def drain_reason(self) -> str | None:
        around = None if self._around is None else self._around.drain_reason
        return super().drain_reason or around
