"""The tools of a service, and how a use of one becomes uses of those it needs."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import orjson

from agents.errors import TaskRejected
from coordinator.advice import Advisor, Arm, Features, Question, Result
from coordinator.advisor import CauseOf
from coordinator.budget import Budget, first_of
from coordinator.caching import AnswerCache
from coordinator.errors import BudgetSpent, ToolFailed
from coordinator.events import Emit, ToolFellBack, ToolLeft
from coordinator.expressions import ExpressionFailed, fill_in
from coordinator.spec import BudgetSection
from coordinator.toolbox import Use
from coordinator.tools.breaker import CircuitBreaker, CircuitOpen
from coordinator.tools.chain import Chain
from coordinator.tools.configuration import AnyTool, AnyWorkingTool, ChoiceTool, FunctionTool
from coordinator.tools.workers import Load, Work, worker
from coordinator.zombies import Zombies


class ConfiguredTools:
    """The `Toolbox` of a configuration; ``cause_of`` tells for whom a run is."""

    def __init__(
        self,
        tools: Mapping[str, AnyTool],
        load: Load,
        advisor: Advisor,
        emit: Emit,
        *,
        cause_of: CauseOf,
        time: Callable[[], float],
        zombies: Zombies,
    ) -> None:
        """Load the functions of the tools; ``zombies`` are those that do not stop.

        Raises:
            ConfigurationError: one cannot be loaded.
        """
        self._tools = tools
        self._advisor = advisor
        self._emit = emit
        self._cause_of = cause_of
        self._time = time
        self._cache = AnswerCache(time)
        self._zombies = zombies
        self._workers: dict[str, Work] = {}
        self._breakers: dict[str, CircuitBreaker] = {}
        for name, tool in tools.items():
            if isinstance(tool, ChoiceTool):
                continue
            self._workers[name] = worker(name, tool, load)
            if tool.breaker is not None:
                target = _target(name, tool)
                breaker = CircuitBreaker(target, tool.breaker, time, emit)
                self._breakers.setdefault(target, breaker)

    @property
    def names(self) -> Collection[str]:
        """What can be used."""
        return self._tools.keys()

    async def use(self, name: str, arguments: Any, use: Use) -> Any:
        """Use a tool with all that it needs, and return what comes of it; see the port."""
        if name not in self._tools:
            raise LookupError(f"there is no tool {name!r}")
        async with _until(first_of(use.deadline, use.budget.deadline), name, use.budget):
            return await self._used(name, Chain(arguments, use, use.budget))

    async def _used(self, name: str, chain: Chain) -> Any:
        """Use a tool, or the one that stands in for it, unless that has been done before."""
        tool = self._tools[name]
        key = self._key(name, chain)
        if key is not None:
            value, found = self._cache.get(key)
            if found:
                chain.sources[name] = "cache"
                return value
        try:
            value = await self._within_budget(name, chain)
        except ToolFailed as error:
            if tool.fallback is None:
                raise
            use = chain.use
            self._emit(ToolFellBack(name, tool.fallback, use.workflow, use.run_id, str(error)))
            value = await chain.once(tool.fallback, self._used)
            chain.sources[name] = "fallback"
            return value
        if key is not None and tool.cache is not None:
            self._cache.put(key, value, tool.cache.ttl)
        return value

    async def _within_budget(self, name: str, chain: Chain) -> Any:
        allowance = self._tools[name].budget
        if allowance is None:
            return await self._done(name, chain)
        most = BudgetSection(seconds=allowance.seconds, tool_calls=allowance.tool_calls)
        budget = Budget(f"tool {name!r}", most, chain.budget)
        async with _until(budget.deadline, name, budget):
            return await self._done(name, chain.within(budget))

    async def _done(self, name: str, chain: Chain) -> Any:
        tool = self._tools[name]
        if isinstance(tool, ChoiceTool):
            return await self._chosen(name, tool, chain)
        needs = await chain.all_of(tool.needs, self._used)
        try:
            given = fill_in(tool.input, {"input": chain.arguments, "needs": needs})
        except ExpressionFailed as error:
            raise ToolFailed(name, "ExpressionFailed", str(error)) from error
        breaker = self._breakers.get(_target(name, tool))
        try:
            if breaker is None:
                chain.budget.spend_tool_call()
                return await self._worked(name, tool, given, chain.use)
            breaker.require()
            chain.budget.spend_tool_call()
            return await self._guarded(breaker, name, tool, given, chain.use)
        except BudgetSpent:
            raise
        except Exception as error:
            raise ToolFailed(name, type(error).__name__, str(error)) from error

    async def _guarded(
        self, breaker: CircuitBreaker, name: str, tool: AnyWorkingTool, given: Any, use: Use
    ) -> Any:
        with breaker.attempt():
            try:
                return await self._worked(name, tool, given, use)
            except TaskRejected as error:  # by an agent that works: what it was given is wrong
                rejected = error
        raise rejected

    async def _worked(self, name: str, tool: AnyWorkingTool, given: Any, use: Use) -> Any:
        async with asyncio.timeout(tool.timeout):
            work = self._workers[name](given, use)
            if not isinstance(tool, FunctionTool):
                return await work
            left = ToolLeft(name, use.workflow, use.step, use.run_id)
            return await self._zombies.outcome(work, partial(self._emit, left))

    async def _chosen(self, name: str, tool: ChoiceTool, chain: Chain) -> Any:
        """Use the variant that the advisor names, of those that are not left alone."""
        use = chain.use
        open_ = [variant for variant in tool.variants if not self._left_alone(variant)]
        if not open_:
            raise ToolFailed(name, CircuitOpen.__name__, "all of its variants are left alone")
        question = Question(
            workflow=use.workflow,
            run_id=use.run_id,
            step=f"{use.step}.{name}",
            arms=[Arm(variant=variant) for variant in open_],
            features=Features(steps=1, width=1, priority=use.priority, load=0.0),
        )
        decision = self._advisor.choose(question)
        variant = decision.arm.variant or ""
        began = self._time()
        try:
            value = await chain.once(variant, self._used)
        except ToolFailed:
            self._advisor.learn(decision.decision_id, Result(self._time() - began, success=False))
            raise
        source = chain.sources.get(variant)
        if source is not None:  # of a choice, what is true of its variant
            chain.sources[name] = source
        if source != "cache":  # which says nothing of how long it takes
            result = Result(self._time() - began, success=source is None)
            self._advisor.learn(decision.decision_id, result)
        return value

    def _left_alone(self, name: str) -> bool:
        tool = self._tools[name]
        breaker = None if isinstance(tool, ChoiceTool) else self._breakers.get(_target(name, tool))
        return breaker is not None and breaker.open

    def _key(self, name: str, chain: Chain) -> tuple[str | None, str, bytes] | None:
        """Return what an answer is kept under: nobody gets what was made for another."""
        cache = self._tools[name].cache
        if cache is None:
            return None
        use = chain.use
        owner = None if use.run_id is None else self._cause_of(use.run_id).owner
        try:
            key = fill_in(cache.key, {"input": chain.arguments})
        except ExpressionFailed as error:
            raise ToolFailed(name, "ExpressionFailed", str(error)) from error
        return owner, name, orjson.dumps(key, option=orjson.OPT_SORT_KEYS)


def _target(name: str, tool: AnyWorkingTool) -> str:
    return tool.target or f"tool {name}"


@asynccontextmanager
async def _until(deadline: float | None, name: str, budget: Budget) -> AsyncGenerator[None]:
    """Break off what has not ended by ``deadline``: with the budget that is spent, if one is."""
    try:
        async with asyncio.timeout_at(deadline):
            yield
    except TimeoutError:
        budget.require_time()
        raise ToolFailed(name, "TimeoutError", "the time for it was over") from None
