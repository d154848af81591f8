"""Who does a step, where several may: the first declared, or who an advisor names."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from statistics import fmean
from typing import NamedTuple, Protocol

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


class _Fitness(IntEnum):
    """Whether who would do a step can be counted on; a pool by its agents."""

    DRAINED = 0
    LENDING = 1
    HEALTHY = 2


class _Offer(NamedTuple):
    way: Way
    fitness: _Fitness
    pool: PoolSnapshot | None = None


class AdvisedWays:
    """Offers an advisor every variant with every pool that can do it, and tells it how it went.

    Pools that lend no agents are not offered, nor those without a healthy one, while anybody else
    can do the step. What becomes of a way that fails or is slow, within the run and later, the
    advisor knows.
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
        offers = list(self._offers(step))
        fittest = max(offer.fitness for offer in offers)
        offers = [offer for offer in offers if offer.fitness == fittest]
        ways = {Arm(variant=way.variant or None, pool=way.pool): way for way, _, _ in offers}
        if len(ways) == 1:
            return next(iter(ways.values()))
        load = load_of([offer.pool for offer in offers if offer.pool is not None])
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

    def _offers(self, step: Step) -> Iterator[_Offer]:
        for variant, target in step.ways.items():
            able = self._able(target)
            if not able:  # no agent does it, or none has said yet that it can
                yield _Offer(Way(variant, target), _Fitness.HEALTHY)
            for pool in able:
                if pool.state == "drained":
                    yield _Offer(Way(variant, target), _Fitness.DRAINED)
                else:
                    fitness = _Fitness.HEALTHY if healthy(pool) else _Fitness.LENDING
                    yield _Offer(Way(variant, target, pool.pool), fitness, pool)

    def _able(self, target: Target) -> Sequence[PoolSnapshot]:
        if self._agents is None or target.kind != "agent":
            return ()
        return self._agents.able(target.name)


def healthy(pool: PoolSnapshot) -> int:
    """Return how many of a pool's agents can be counted on."""
    return sum(seat.trouble is None and not seat.retired for seat in pool.seats)


def load_of(pools: list[PoolSnapshot]) -> float:
    """Return how busy pools are, from 0 to 1."""
    loads = [min(1.0, (pool.in_flight + pool.waiting) / max(1, len(pool.seats))) for pool in pools]
    return fmean(loads) if loads else 0.0
