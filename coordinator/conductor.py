"""One run of a workflow while it is under way in this process."""

import asyncio
import copy
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple
from langgraph.config import get_config
from langgraph.errors import GraphBubbleUp
from langgraph.runtime import Runtime

from coordinator.advice import Advisor
from coordinator.budget import Budget
from coordinator.caching import AnswerCache
from coordinator.choosing import AdvisedWays, Choosing, FirstWay, Way
from coordinator.crew import Crew
from coordinator.errors import (
    CoordinatorError,
    NeedsUnmet,
    StepFailed,
    StepsAtOnce,
    StepsLeftOut,
    StepsRepeated,
    StepsSentTwice,
)
from coordinator.failures import Failures
from coordinator.pace import Pace
from coordinator.place import (
    BEGINS,
    RESULTS,
    begun_by,
    failed_attempt,
    failed_attempts,
    pending,
    recorded,
)
from coordinator.plan import Plan
from coordinator.results import Results, StepResult
from coordinator.spec import Step
from coordinator.step_events import Emit
from coordinator.turns import Turns
from coordinator.zombies import Zombies

READ = "__pregel_read"  # LangGraph's: by what a node reads the channels of its super-step
_SENDS = "__pregel_tasks"  # LangGraph's: the channel of what begins nodes with a state of their own
Saver = BaseCheckpointSaver[Any]


class TryAgain(CoordinatorError):
    """A step is to be tried once more; what went wrong is the cause."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What surrounds a run: whose it is, who does its steps, and who hears of it.

    ``owner`` keeps apart what is cached for different people; ``most`` is how many steps may work
    at once, whatever the workflow says; ``zombies`` are graphs that did not stop.
    """

    crew: Crew
    advisor: Advisor
    cache: AnswerCache
    emit: Emit
    zombies: Zombies
    run_id: str | None = None
    owner: str = ""
    priority: int = 5
    most: int | None = None
    saver: Saver | None = None


class Conductor:
    """Knows what has been done of a run, whose turn it is, and who is to do what."""

    def __init__(self, plan: Plan, around: Circumstances) -> None:
        workflow = plan.workflow
        self.plan = plan
        self.around = around
        self.results: Results = {}
        self.durability = ""  # when LangGraph writes: "sync", before others build on a result
        self.approved: dict[str, str] = {}  # the digest of what was approved, by step
        self.budget = Budget(f"workflow {workflow.name!r}", workflow.budget)
        self._budgets: dict[str, Budget] = {}
        self.failures = Failures()
        self._most = min(workflow.max_concurrency, around.most or workflow.max_concurrency)
        self._choosing: Choosing = FirstWay()
        self._pace: Pace | None = None
        if workflow.mode == "adaptive":
            agents, emit = around.crew.agents, around.emit
            of_run: dict[str, Any] = {"run_id": around.run_id, "priority": around.priority}
            self._choosing = AdvisedWays(plan, around.advisor, agents, **of_run)
            self._pace = Pace(plan, around.advisor, agents, emit, most=self._most, **of_run)
        self._turns = Turns(plan.needs, self._ranks(), self._width)
        self._one_by_one = asyncio.Lock()
        self._recalled: asyncio.Future[None] | None = None
        self.failed: Mapping[str, int] = {}  # attempts before the run was cut off, by task
        self._absent: set[str] = set()  # steps that are not part of this super-step
        self._left_out: list[str] = []  # those of them that are to be done all the same
        self._place: dict[str, Any] | None = None  # of the checkpoint; known once a step begins
        self.now = asyncio.get_running_loop().time

    @property
    def side_by_side(self) -> bool:
        """Whether steps wait for their turn here, and not for LangGraph's next super-step."""
        return self.plan.workflow.mode != "sequential"

    def budget_of(self, step: Step) -> Budget:
        """Return the budget of a step, within that of the workflow."""
        if step.id not in self._budgets:
            self._budgets[step.id] = Budget(f"step {step.id!r}", step.budget, self.budget)
        return self._budgets[step.id]

    @asynccontextmanager
    async def turn(
        self, step: str, state: Mapping[str, Any], runtime: Runtime[Any]
    ) -> AsyncGenerator[None]:
        """Hold the block until it is the turn of ``step``; its result ends the turn.

        Raises:
            GraphInterrupt, GraphDrained: the turn does not come in this execution.
            NeedsUnmet, StepsAtOnce, StepsLeftOut, StepsRepeated, StepsSentTwice: it does
                not come at all.
        """
        self._place = _place_of(runtime)
        if not self.side_by_side:
            _require_sequence(self.plan.order, step)
        await self._recall(state, runtime)
        if not self.side_by_side:
            yield
            return
        if missing := self.plan.needs[step] & self._absent:
            raise NeedsUnmet(step, sorted(missing))
        if self._left_out:
            raise StepsLeftOut(self._left_out)
        self._turns.draining = lambda: runtime.drain_requested
        try:
            await self._turns.wait(step)
        except GraphBubbleUp:
            self._turns.stop(step)
            raise
        try:
            yield
        except TryAgain:
            self._turns.give_back(step)
            raise
        except StepFailed:
            raise  # and nobody else takes its place: all are about to be cancelled
        except BaseException:
            self._turns.stop(step)
            raise
        else:
            self._turns.give_back(step)

    def end(self, step: str, result: StepResult) -> None:
        """Note the result of a step; others build on it once it is as safe as is asked."""
        self.results[step] = result
        if self._pace is not None:
            self._pace.note_end(step, success=result["status"] != "failed")
        recorded_first = self.durability == "sync" and self.around.saver is not None
        if not recorded_first:
            self._turns.end(step)

    async def fail(self, failed: StepFailed) -> StepFailed:
        """Note that a step failed for good; return what its node is to raise, once it may."""
        if self._pace is not None:
            self._pace.note_failure(failed.step)
        return await self.failures.together(failed)

    def choose(self, step: Step) -> Way:
        """Return who is to do a step."""
        unfinished = len(self.plan.order) - len(self.results)
        return self._choosing.choose(step, unfinished, max(1, self._turns.able))

    async def breathe(self) -> None:
        """Let others of the event loop work; at a time, this returns to one of the run only."""
        async with self._one_by_one:
            await asyncio.sleep(0)

    async def recorded_tasks(self) -> int:
        """Return how many tasks have left something in the checkpoint of this super-step."""
        saved = await self._saved()
        return len({task for task, _, _ in pending(saved)})

    async def note_failed(self, task_id: str, attempts: int) -> None:
        """Record that so many attempts at a task have failed, before the next one begins."""
        saver, place, run_id = self.around.saver, self._place, self.around.run_id
        if saver is None or place is None or run_id is None or self.durability == "exit":
            return  # nothing is kept, or nobody takes it up again
        write, whose = failed_attempt(task_id, attempts, run_id)
        await saver.aput_writes({"configurable": {**place, "run_id": run_id}}, [write], whose)

    def learn(self, way: Way, took: float, *, success: bool) -> None:
        """Take note of how somebody did a step."""
        self._choosing.learn(way, took, success=success)
        if self._pace is not None:
            self._pace.note_attempt(took, success=success)

    def watching(self, saver: Saver) -> Saver:
        """Return the checkpointer such that the conductor hears when a result is recorded."""
        if not self.side_by_side:
            return saver
        theirs = copy.copy(saver)
        vars(theirs)["aput_writes"] = self._recording(saver)
        return theirs

    def _recording(self, saver: Saver) -> Callable[..., Any]:
        async def aput_writes(
            config: Any, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
        ) -> None:
            # Graphs that are steps write by way of it, too, and may have a channel of this name.
            namespace = None if self._place is None else self._place["checkpoint_ns"]
            own = config["configurable"].get("checkpoint_ns", "") == namespace
            steps = [
                step
                for channel, value in writes
                if own and channel == RESULTS
                for step, result in value.items()
                if result is not None
            ]
            try:
                await saver.aput_writes(config, writes, task_id, task_path)
            except BaseException:
                for step in steps:  # or what needs them would wait for ever
                    self._turns.stop(step)
                raise
            self._turns.end(*steps)

        return aput_writes

    def _width(self, ready: Sequence[str], running: int) -> int:
        """Return how many steps may work at once."""
        if self.failures:
            return 0  # all that works is about to be cancelled
        return self._most if self._pace is None else self._pace.width(ready, running)

    def _ranks(self) -> dict[str, tuple[int, int]]:
        """Return in which order steps begin that could begin at the same time."""
        ranks: dict[str, tuple[int, int]] = {}
        for place, name in enumerate(self.plan.order):
            own = self.plan.steps[name].priority
            ranks[name] = (self.around.priority if own is None else own, place)
        return ranks

    async def _recall(self, state: Mapping[str, Any], runtime: Runtime[Any]) -> None:
        """Learn, once, what was done of the run before it was cut off."""
        if self._recalled is not None:
            await asyncio.shield(self._recalled)
            return
        self._recalled = asyncio.get_running_loop().create_future()
        try:
            saved = await self._saved()
            self.failed = failed_attempts(saved, self.around.run_id)
            if self.side_by_side:
                found = recorded(saved)
                self._turns.end(*found)
                begun = _with_a_task(self.plan.order)
                self._absent = self.plan.steps.keys() - begun.keys()
                if saved is not None and begun.keys() <= begun_by(saved).keys():  # not by a `goto`
                    self._left_out = [step for step in self.plan.order if step not in begun]
            else:
                found = self._before(state, runtime)
            self.results.update(found)
            for result in found.values():
                self.budget.note_spent(steps=result["attempts"], tool_calls=result["tool_calls"])
        except BaseException as error:
            self._recalled.set_exception(error)
            self._recalled.exception()  # looked at: nobody else may wait
            raise
        self._recalled.set_result(None)

    def _before(self, state: Mapping[str, Any], runtime: Runtime[Any]) -> Results:
        """Return the results that come before the step that asks, which is the first to."""
        info = runtime.execution_info
        name = info.checkpoint_ns.rpartition("|")[2].partition(":")[0] if info else ""
        order = self.plan.order
        earlier = order[: order.index(name)] if name in order else ()
        kept: Results = state.get(RESULTS) or {}
        return {step: kept[step] for step in earlier if step in kept}

    async def _saved(self) -> CheckpointTuple | None:
        """Return the checkpoint that the steps of this super-step begin with, if it is kept."""
        saver, place = self.around.saver, self._place
        if saver is None or place is None or place["thread_id"] is None:
            return None
        return await saver.aget_tuple({"configurable": place})


def _place_of(runtime: Runtime[Any]) -> dict[str, Any] | None:
    """Return where the checkpoint is that the steps of this super-step begin with."""
    info = runtime.execution_info
    if info is None:
        return None
    return {
        "thread_id": info.thread_id,
        "checkpoint_ns": info.checkpoint_ns.rpartition("|")[0],
        "checkpoint_id": info.checkpoint_id,
    }


def _require_sequence(order: Sequence[str], step: str) -> None:
    """Refuse to do a step together with others, or in an order in which its run did not come here.

    Raises:
        StepsAtOnce, StepsLeftOut, StepsRepeated, StepsSentTwice: that would be so.
    """
    begun = _with_a_task(order)
    if len(begun) > 1:
        raise StepsAtOnce(sorted(begun, key=order.index))
    written = begun[step]
    if not isinstance(written, list):
        return  # it was sent here (`goto`), or began before it was kept how it came here
    past, place = set(written), order.index(step)
    if left_out := [other for other in order[:place] if other not in past]:
        raise StepsLeftOut(left_out)
    if repeated := [other for other in order[place:] if other in past]:
        raise StepsRepeated(repeated)


def _with_a_task(steps: Sequence[str]) -> dict[str, Any]:
    """Return those of the steps that are part of the super-step of this task.

    Each has what was written to begin it: in sequence, the steps that its run had come past.

    Raises:
        StepsSentTwice: one of them has several tasks.
    """
    begins = {f"{BEGINS}{step}": step for step in steps}
    read = get_config().get("configurable", {})[READ]
    found: dict[str, Any] = read([*begins, _SENDS])
    sent = [send.node for send in found.pop(_SENDS, ())]
    begun = {begins[channel]: written for channel, written in found.items()}
    if twice := [step for step, times in Counter([*sent, *begun]).items() if times > 1]:
        raise StepsSentTwice(twice)
    return dict.fromkeys(sent) | begun
