"""Who does a step, where several may: the first declared, or who an advisor names."""

from dataclasses import dataclass
from statistics import fmean
from typing import Protocol

from agents.client import AgentClient
from agents.snapshot import PoolSnapshot
from coordinator.advice import Advisor, Arm, Features, Question, Result
from coordinator.plan import Plan
from coordinator.spec import Step, Target


@dataclass(frozen=True, slots=True)
class Way:
    """Who does a step: a variant's target (the name is empty without variants), of which pool."""

    variant: str
    target: Target
    pool: str | None = None
    decision_id: str | None = None

    @property
    def by(self) -> str:
        """Put into words who that is."""
        said = f"{self.target.kind} {self.target.name}"
        said += f" of pool {self.pool}" if self.pool else ""
        return f"{said} ({self.variant})" if self.variant else said


class Choosing(Protocol):
    """Chooses, and hears how it went."""

    def choose(self, step: Step, unfinished: int, width: int) -> Way:
        """Return who is to do ``step``, where so many steps are left, and so many could work."""
        ...

    def learn(self, way: Way, took: float, *, success: bool) -> None:
        """Take note of how many seconds it took, and whether it was done."""
        ...


class FirstWay:
    """Chooses always who is declared first."""

    def choose(self, step: Step, unfinished: int, width: int) -> Way:  # noqa: ARG002 - nothing to weigh
        """Return the first way."""
        variant, target = next(iter(step.ways.items()))
        return Way(variant, target)

    def learn(self, way: Way, took: float, *, success: bool) -> None:
        """Nothing would follow from it."""


class AdvisedWays:
    """Offers an advisor every variant with every pool that can do it, and tells it how it went.

    Pools that lend no agents are not offered, nor those without a healthy one while others have
    some. What becomes of a way that fails or is slow, within the run and later, the advisor knows.
    """

    def __init__(
        self,
        plan: Plan,
        advisor: Advisor,
        agents: AgentClient | None,
        *,
        run_id: str | None,
        priority: int,
    ) -> None:
        self._plan = plan
        self._advisor = advisor
        self._agents = agents
        self._run_id = run_id
        self._priority = priority

    def choose(self, step: Step, unfinished: int, width: int) -> Way:
        """Return the way that the advisor names; it is not asked where there is only one."""
        pools = {name: self._lending(target) for name, target in step.ways.items()}
        ways: dict[Arm, Way] = {}
        for name, target in step.ways.items():
            lenders: list[str | None] = [pool.pool for pool in pools[name]]
            for pool in lenders or [None]:
                ways[Arm(variant=name or None, pool=pool)] = Way(name, target, pool)
        if len(ways) == 1:
            return next(iter(ways.values()))
        load = load_of([pool for those in pools.values() for pool in those])
        question = Question(
            workflow=self._plan.workflow.name,
            run_id=self._run_id,
            step=step.id,
            arms=tuple(ways),
            features=Features(unfinished, width, self._priority, load),
        )
        decision = self._advisor.choose(question)
        chosen = ways[decision.arm]
        return Way(chosen.variant, chosen.target, chosen.pool, decision.decision_id)

    def learn(self, way: Way, took: float, *, success: bool) -> None:
        """Tell the advisor, if it was asked."""
        if way.decision_id is not None:
            self._advisor.learn(way.decision_id, Result(took, success))

    def _lending(self, target: Target) -> list[PoolSnapshot]:
        if self._agents is None or target.kind != "agent":
            return []
        able = self._agents.able(target.name)
        lending = [pool for pool in able if pool.state != "drained"]
        return [pool for pool in lending if healthy(pool)] or lending


def healthy(pool: PoolSnapshot) -> int:
    """Return how many of a pool's agents can be counted on."""
    return sum(seat.trouble is None and not seat.retired for seat in pool.seats)


def load_of(pools: list[PoolSnapshot]) -> float:
    """Return how busy pools are, from 0 to 1."""
    loads = [min(1.0, (pool.in_flight + pool.waiting) / max(1, len(pool.seats))) for pool in pools]
    return fmean(loads) if loads else 0.0
