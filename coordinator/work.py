"""The work of one step: its condition, its approval, its attempts, and what failing means."""

import asyncio
from collections.abc import Mapping
from typing import Any

from langgraph.errors import GraphBubbleUp
from langgraph.types import interrupt

from coordinator.attempts import Attempts, Done, ItemFailed
from coordinator.conductor import Conductor, TryAgain
from coordinator.errors import ApprovalRefused, StepFailed
from coordinator.expressions import ExpressionFailed, Names, braced, fill_in, holds
from coordinator.items import Items
from coordinator.plan import digest
from coordinator.proposal import proposal
from coordinator.results import StepError, StepResult, described, kind_of
from coordinator.spec import Map, Step
from coordinator.step_events import ApprovalAsked, StepBegan, StepEnded
from coordinator.tasks import task_of

MOST_ITEMS = 10_000  # of one map


class Work:
    """A step in one run, with what its expressions may refer to."""

    def __init__(self, conductor: Conductor, step: Step, names: Names, waited: float) -> None:
        self._conductor = conductor
        self._step = step
        self._names = names
        self._waited = waited
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._budget = conductor.budget_of(step)

    async def result(self) -> StepResult:
        """Do it, and return what it came to.

        Raises:
            TryAgain: it is to be tried once more.
            StepFailed: it failed, and its workflow is to fail too.
            GraphBubbleUp: it asks something, or is to stop.
        """
        around, name = self._conductor.around, self._conductor.plan.workflow.name
        around.emit(StepBegan(name, around.run_id, self._step.id, self._waited))
        try:
            if self._step.when is not None and not holds(self._step.when, self._names):
                return self._ended("skipped", Done(None, None, 0))
            self._require_approval()
            if self._step.map is not None:
                return await self._mapped(self._step.map)
            attempts = Attempts(self._conductor, self._step, self._budget)
            return self._ended("done", await attempts.made(self._names))
        except (GraphBubbleUp, TryAgain):
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the workflow says what follows
            return await self._failed(error)

    def _ended(self, status: Any, done: Done, error: StepError | None = None) -> StepResult:
        around, step = self._conductor.around, self._step.id
        result: StepResult = {
            "status": status,
            "output": done.output,
            "error": error,
            "by": done.by,
            "attempts": done.attempts,
            "tool_calls": self._budget.tool_calls,
            "took": self._loop.time() - self._began,
        }
        around.emit(
            StepEnded(
                self._conductor.plan.workflow.name,
                around.run_id,
                step,
                status,
                done.by,
                done.attempts,
                result["took"],
                error["error"] if error else None,
            )
        )
        return result

    async def _failed(self, error: Exception) -> StepResult:
        """Return the result of a step that failed for good, if its workflow goes on.

        Raises:
            StepFailed: it does not.
        """
        tried = Done(None, None, self._budget.steps)
        done = error.done if isinstance(error, ItemFailed) else tried
        result = self._ended("failed", done, described(error))
        if self._step.on_error == "continue":
            return result
        said = str(error)
        if (name := self._step.compensation) is not None:
            with self._conductor.failures.compensating():
                trouble = await self._compensate(self._conductor.plan.steps[name], result)
            said += f" (and its compensation failed: {trouble})" if trouble else ""
        raise StepFailed(self._step.id, kind_of(error), said) from error

    async def _compensate(self, step: Step, failure: StepResult) -> str | None:
        """Have the step done that puts this one right; it is recorded like any other.

        Return why it failed, None if it did not.
        """
        if self._conductor.failures.heard:
            return "it was not begun, as the workflow had failed already"
        # Others may have ended since this one began.
        steps = {**self._conductor.results, self._step.id: failure}
        names = {**self._names, "steps": steps}

        # What is recorded was for an earlier execution; this one may have left something, too,
        # but for a map, of which no more is begun.
        pending = self._step.map is None and self._budget.steps > 0

        async def compensation() -> StepResult:
            nonlocal pending
            pending = False
            return await Work(self._conductor, step, names, 0.0).result()

        try:
            ended: StepResult = await task_of(step, step.id)(compensation)()
            while pending:
                ended = await task_of(step, step.id)(compensation)()
        except StepFailed as failed:
            return str(failed)
        return None if ended["error"] is None else ended["error"]["message"]

    # Approval.

    def _require_approval(self) -> None:
        """Return once a human has approved exactly what is about to be done.

        Raises:
            GraphInterrupt: nobody has answered yet.
            ApprovalRefused: somebody said no.
            ExpressionFailed: it cannot be told, or is too much to be looked at.
        """
        step = self._step
        if not step.approval:
            return
        proposed = proposal(step, [self._names] if step.map is None else self._items(step.map))
        wanted = digest(proposed)
        if self._conductor.approved.get(step.id) == wanted:
            return  # in an earlier attempt of this execution
        question = fill_in(step.approval, self._names) if isinstance(step.approval, str) else None
        asked = {
            "step": step.id,
            "question": question or f"Go on with {step.id!r}?",
            "problem": None,  # above what may be too much for a client to show
            **proposed,
            "hash": wanted,
        }
        problem: str | None = None
        while True:
            match self._answer({**asked, "problem": problem}, wanted):
                case {"decision": "approve", "hash": str(given)} if given == wanted:
                    self._conductor.approved[step.id] = wanted
                    return
                case {"decision": "reject", **more}:
                    raise ApprovalRefused(str(more.get("reason") or "no reason given"))
                case {"decision": "approve", "hash": _}:
                    problem = "the hash is not that of what is to be done now; look again"
                case {"decision": "approve"}:
                    problem = "to approve takes the hash that stands with all that is to be done"
                case _:
                    problem = 'answer {"decision": "approve", "hash": …} or {"decision": "reject"}'

    def _answer(self, question: Mapping[str, Any], wanted: str) -> Any:
        try:
            return interrupt(question, response_schema=_decision(wanted))
        except GraphBubbleUp:
            around, name = self._conductor.around, self._conductor.plan.workflow.name
            around.emit(ApprovalAsked(name, around.run_id, self._step.id, wanted))
            raise

    # A map.

    def _items(self, over: Map) -> list[Names]:
        found = fill_in(braced(over.over), self._names)
        if not isinstance(found, list):
            raise ExpressionFailed(f"map: {over.over} is {type(found).__name__}, not a list")
        if len(found) > MOST_ITEMS:
            raise ExpressionFailed(f"map: there are {len(found)} items, {MOST_ITEMS} at most")
        return [{**self._names, "item": item, "index": n} for n, item in enumerate(found)]

    async def _mapped(self, over: Map) -> StepResult:
        """Do the step for each item; each is a task of LangGraph's, and recorded by itself."""
        sets = self._items(over)
        items = await Items(self._conductor, self._step, sets, over.concurrency).done()
        failures = [(n, item.error) for n, item in enumerate(items) if item and item.error]
        outputs = [None if item is None else item.output for item in items]
        attempts = sum(item.attempts for item in items if item is not None)
        by = sorted({item.by for item in items if item is not None and item.by})
        done = Done(outputs, ", ".join(by) or None, attempts)
        if not failures:
            return self._ended("done", done)
        number, error = failures[0]
        said = f"item {number}: {error['error']}: {error['message']}"
        more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
        raise ItemFailed(error["error"], said + more, done)


def _decision(wanted: str) -> dict[str, Any]:
    """Return the schema of a decision on what has the hash ``wanted``, of which a form is made."""
    return {
        "type": "object",
        "properties": {
            "decision": {"type": "string", "enum": ["approve", "reject"]},
            "hash": {
                "type": "string",
                "enum": [wanted],
                "default": wanted,
                "description": "Of exactly what is to be done.",
            },
            "reason": {"type": "string", "description": "Why not."},
        },
        "required": ["decision"],
    }
