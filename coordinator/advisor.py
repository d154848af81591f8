"""Chooses how a workflow goes on, and learns from how that went."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from uuid_utils import uuid7

from coordinator.advice import Arm, Decision, Question, Result
from coordinator.bandit import Outlook, draw, learn, outlooks
from coordinator.belief import Belief
from coordinator.events import DecisionJudged, DecisionMade, Emit
from coordinator.experience import Experience, Problem, Recorder, Remembered
from coordinator.explaining import explained
from coordinator.history import History, Option, Record
from coordinator.linear import Vector
from coordinator.reward import context, effort, reward, seconds
from coordinator.within_run import RunWeights
from operations.clock import Clock, utc_now

MOST_ARMS = 10_000  # in all; of those beyond, the ones not met for longest are forgotten
MOST_OPEN = 10_000  # decisions whose result has not been told


@dataclass(frozen=True, slots=True)
class Cause:
    """Whose run a decision is for, None if nobody was asked, and the metadata that it has."""

    owner: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])


NOBODY = Cause()
CauseOf = Callable[[str], Cause]


@dataclass(frozen=True, slots=True)
class _Open:
    """A decision whose result is still to come."""

    question: Question
    problem: Problem
    arm: Arm
    context: Vector
    outlook: Outlook


class BanditAdvisor:
    """An `Advisor` that learns; see `coordinator.bandit` for how it chooses.

    ``cause_of`` tells for whom a run is, by its id; ``recorder`` keeps what is learned.
    """

    def __init__(
        self,
        emit: Emit,
        recorder: Recorder,
        rng: Random,
        *,
        cause_of: CauseOf = lambda _: NOBODY,
        clock: Clock = utc_now,
        most_arms: int = MOST_ARMS,
    ) -> None:
        self.history = History()
        self._emit = emit
        self._recorder = recorder
        self._rng = rng
        self._cause_of = cause_of
        self._clock = clock
        self._most_arms = most_arms
        self._beliefs: OrderedDict[tuple[Problem, Arm], Belief] = OrderedDict()
        self._open: OrderedDict[str, _Open] = OrderedDict()
        self._weights = RunWeights()

    def remember(self, remembered: Remembered) -> None:
        """Take up what was known of an arm before this start."""
        self._believe(remembered.problem, remembered.arm, remembered.belief)

    def choose(self, question: Question) -> Decision:
        """Return what to do; ``question`` has at least one arm."""
        cause = NOBODY if question.run_id is None else self._cause_of(question.run_id)
        problem = Problem(cause.owner, question.workflow, question.step)
        now = self._clock()
        numbers = context(question.features)
        beliefs = [self._belief(problem, arm, now.timestamp()) for arm in question.arms]
        expected = outlooks(beliefs, numbers)
        options = [
            self._option(question, problem, arm, belief, outlook)
            for arm, belief, outlook in zip(question.arms, beliefs, expected, strict=True)
        ]
        best = max(range(len(options)), key=lambda number: options[number].drawn)
        decision = Decision(str(uuid7()), options[best].arm, explained(options, best))
        self._open[decision.decision_id] = _Open(
            question, problem, decision.arm, numbers, expected[best]
        )
        if len(self._open) > MOST_OPEN:
            self._open.popitem(last=False)
        self.history.add(
            Record(
                decision_id=decision.decision_id,
                at=now,
                workflow=question.workflow,
                run_id=question.run_id,
                step=question.step,
                features=question.features,
                arm=decision.arm,
                options=tuple(options),
                why=decision.why,
                metadata=cause.metadata,
            )
        )
        self._emit(
            DecisionMade(
                decision.decision_id,
                question.workflow,
                question.run_id,
                question.step,
                decision.arm,
                len(options),
                decision.why,
            )
        )
        return decision

    def learn(self, decision_id: str, result: Result) -> None:
        """Take note of how it went; of an id that is not known any more, nothing."""
        known = self._open.pop(decision_id, None)
        if known is None:
            return
        now, question, worth = self._clock(), known.question, reward(result)
        belief = self._belief(known.problem, known.arm, now.timestamp())
        learn(
            belief,
            known.outlook,
            known.context,
            seconds=effort(result),
            success=result.success,
        )
        if question.run_id is not None:
            self._weights.note(
                question.run_id,
                known.problem,
                known.arm,
                reward=worth,
                expected=known.outlook.speed,
            )
        self.history.judge(decision_id, result, worth)
        self._recorder.record(
            Experience(
                decision_id=decision_id,
                at=now,
                problem=known.problem,
                arm=known.arm,
                features=question.features,
                result=result,
                reward=worth,
            ),
            belief,
        )
        self._emit(
            DecisionJudged(
                decision_id,
                question.workflow,
                question.run_id,
                question.step,
                known.arm,
                result.duration,
                result.success,
                result.cost,
                worth,
            )
        )

    def _option(
        self, question: Question, problem: Problem, arm: Arm, belief: Belief, outlook: Outlook
    ) -> Option:
        weight = self._weights(question.run_id, problem, arm)
        return Option(
            arm=arm,
            tried=belief.tried,
            chance=outlook.chance,
            seconds=seconds(min(1.0, max(0.0, outlook.speed))),
            weight=weight,
            drawn=weight * draw(belief, outlook, self._rng),
        )

    def _belief(self, problem: Problem, arm: Arm, now: float) -> Belief:
        belief = self._beliefs.get((problem, arm)) or Belief(now)
        belief.age(now)
        self._believe(problem, arm, belief)
        return belief

    def _believe(self, problem: Problem, arm: Arm, belief: Belief) -> None:
        self._beliefs[problem, arm] = belief
        self._beliefs.move_to_end((problem, arm))
        if len(self._beliefs) > self._most_arms:
            self._beliefs.popitem(last=False)
