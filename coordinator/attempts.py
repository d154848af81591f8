"""The attempts at a step, or at one item of it: by whom, for how long, and who steps in."""

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson
from langgraph.errors import GraphBubbleUp
from langgraph.runtime import get_runtime

from coordinator.budget import Budget, first_of
from coordinator.choosing import Way
from coordinator.conductor import Conductor, TryAgain
from coordinator.errors import (
    BudgetSpent,
    CoordinatorError,
    NobodyThere,
    OutputRefused,
    StepTimeout,
)
from coordinator.expressions import ExpressionFailed, Names, fill_in
from coordinator.plan import digest
from coordinator.results import kind_of
from coordinator.spec import Step, Target
from coordinator.step_events import AttemptFailed, GraphLeft, StepCached
from coordinator.tasks import task_of
from coordinator.toolbox import Use

_FINAL = (BudgetSpent, ExpressionFailed)  # the same again would be the same again
_LEVELS = 238  # of an output; orjson takes 254, and there are those that it is shown in
_AROUND = 254 - _LEVELS


@dataclass(frozen=True, slots=True)
class Done:
    """What came of a step, who did it, and how many executions that took."""

    output: Any
    by: str | None
    attempts: int


class ItemFailed(CoordinatorError):
    """A step failed for items of its map; ``kind`` is what the first of them failed with."""

    def __init__(self, kind: str, message: str, done: Done) -> None:
        super().__init__(message)
        self.kind = kind
        self.done = done


class Attempts:
    """Makes one of LangGraph's attempts at a step; after the last one come the fallbacks.

    ``budget`` is the step's, or one within it.
    """

    def __init__(self, conductor: Conductor, step: Step, budget: Budget) -> None:
        self._conductor = conductor
        self._around = conductor.around
        self._step = step
        self._budget = budget
        self._loop = asyncio.get_running_loop()
        info = get_runtime().execution_info
        self._task_id = "" if info is None else info.task_id
        attempt = 1 if info is None else info.node_attempt
        before = conductor.failed.get(self._task_id, 0)
        if attempt == 1:
            budget.note_spent(steps=before)
        self.number = before + attempt

    async def made(self, names: Names) -> Done:
        """Have it done.

        Raises:
            TryAgain: it failed, and another attempt is to follow.
            Exception: it failed for good.
        """
        key = self._key(names)
        if key is not None:
            kept, found = self._around.cache.get(key)
            if found:
                name = self._conductor.plan.workflow.name
                self._around.emit(StepCached(name, self._around.run_id, self._step.id))
                return Done(kept, "cache", 0)
        done = await self._by_somebody(names)
        if key is not None and self._step.cache is not None:
            self._around.cache.put(key, done.output, self._step.cache.ttl)
        return done

    async def _by_somebody(self, names: Names) -> Done:
        way = await self._way()
        began = self._loop.time()
        try:
            output = await self._once(way, names)
        except GraphBubbleUp:
            raise
        except Exception as error:
            self._note_failure(way, error)
            if not isinstance(error, _FINAL):
                self._conductor.learn(way, self._loop.time() - began, success=False)
            if self._may_retry(error):
                await self._conductor.note_failed(self._task_id, self.number)
                raise TryAgain(f"attempt {self.number}: {error}") from error
            return await self._by_fallback(names, error)
        self._conductor.learn(way, self._loop.time() - began, success=True)
        return Done(output, way.by, self.number)

    async def _way(self) -> Way:
        """Return who is to do it; a choice that a graph may come of is recorded.

        A graph keeps checkpoints within the node. When the run is taken up again, they, and the
        answers to what it asked, are for this graph and no other.

        Raises:
            NobodyThere: the recorded one is not among the variants any more.
        """
        step, ways = self._step, self._step.ways
        adaptive = self._conductor.plan.workflow.mode == "adaptive"
        if not adaptive or len(ways) == 1 or all(way.kind != "graph" for way in ways.values()):
            return self._conductor.choose(step)

        async def choose() -> dict[str, Any]:
            way = self._conductor.choose(step)
            return {"variant": way.variant, "pool": way.pool, "decision_id": way.decision_id}

        chosen = await task_of(step, f"{step.id}.way")(choose)()
        target = ways.get(chosen["variant"])
        if target is None:
            gone = chosen["variant"]
            raise NobodyThere(f"it was begun by variant {gone!r}, which is no longer there")
        return Way(target=target, **chosen)

    async def _by_fallback(self, names: Names, error: Exception) -> Done:
        for target in self._step.fallbacks:
            self.number += 1
            way = Way("", target)
            try:
                return Done(await self._once(way, names), way.by, self.number)
            except GraphBubbleUp:
                raise
            except Exception as failure:  # noqa: BLE001 - the next one may do it
                self._note_failure(way, failure)
                error = failure
        raise error

    async def _once(self, way: Way, names: Names) -> Any:
        """Have a step done by somebody, within its time.

        Raises:
            StepTimeout, BudgetSpent: it took too long.
        """
        given = fill_in(given_to(self._step, way.target), names)
        self._budget.spend_step()
        now, step = self._loop.time(), self._step
        own = None if step.timeout is None else now + step.timeout
        deadline = first_of(own, self._budget.deadline)
        use = Use(
            workflow=self._conductor.plan.workflow.name,
            step=step.id,
            run_id=self._around.run_id,
            priority=self._around.priority if step.priority is None else step.priority,
            budget=self._budget,
            deadline=deadline,
            agents=self._around.crew.agents,
        )
        if deadline is None:
            return await self._given_by(way, given, use)
        limit = asyncio.timeout_at(deadline)
        try:
            async with limit:
                return await self._given_by(way, given, use)
        except TimeoutError as error:
            if not limit.expired():
                raise
            if deadline != own:
                self._budget.require_time()
            raise StepTimeout(step.id, deadline - now) from error

    async def _given_by(self, way: Way, given: Any, use: Use) -> Any:
        """Return what somebody gives.

        Raises:
            OutputRefused: it could not be kept or shown, which would fail the whole workflow.
        """
        work = self._around.crew.do(way.target, given, use, pool=way.pool)
        if way.target.kind == "graph":  # tools and agents are left behind by those who have them
            left = GraphLeft(way.target.name, use.workflow, use.step, use.run_id)
            work = self._around.zombies.outcome(work, partial(self._around.emit, left))
        output = around = await work
        for _ in range(_AROUND):
            around = [around]
        try:
            orjson.dumps(around)
        except TypeError as error:
            raise OutputRefused(f"no JSON of at most {_LEVELS} levels ({error})") from error
        return output

    def _may_retry(self, error: Exception) -> bool:
        retry = self._step.retry
        if self.number >= retry.attempts or isinstance(error, _FINAL):
            return False
        return not retry.on or kind_of(error) in retry.on

    def _note_failure(self, way: Way, error: Exception) -> None:
        around, name = self._around, self._conductor.plan.workflow.name
        around.emit(
            AttemptFailed(name, around.run_id, self._step.id, way.by, self.number, kind_of(error))
        )

    def _key(self, names: Names) -> str | None:
        """Return what the result is kept under; None if it is not to be kept."""
        step = self._step
        if step.cache is None:
            return None
        workflow = self._conductor.plan.workflow.name
        if step.cache.key is not None:
            told = [workflow, step.id, fill_in(step.cache.key, names)]
        else:
            told = [
                [target.kind, target.name, fill_in(given_to(step, target), names)]
                for _, target in step.targets()
            ]
        return digest([self._around.owner, told])


def given_to(step: Step, target: Target) -> Any:
    """Return the input for somebody who may do a step: its own, or else the step's."""
    given = step.input if target.input is None else target.input
    return {} if given is None else given
