"""How many steps of a run work at once: as many as may, or what is wise at the moment."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from agents.client import AgentClient
from agents.snapshot import PoolSnapshot
from coordinator.advice import Advisor, Arm, Features, Question, Result
from coordinator.choosing import healthy, load_of
from coordinator.plan import Plan
from coordinator.spec import Step
from coordinator.step_events import Emit, WaveBegan

SMOOTHING = 0.3  # weight of the latest in the usual length of an attempt
SLOW = 3.0  # times as long as usual, and the pace slackens


class Pace:
    """Decides for each wave of a run: steps that became able to work together.

    The advisor names the mode: one at a time, or side by side. Side by side there are at most as
    many as places are free for them, and that is halved by an error or by what takes much longer
    than usual, and grows by one with each success, as TCP does with what it has under way.
    """

    def __init__(
        self,
        plan: Plan,
        advisor: Advisor,
        agents: AgentClient | None,
        emit: Emit,
        *,
        run_id: str | None,
        priority: int,
        most: int,
    ) -> None:
        self._plan = plan
        self._advisor = advisor
        self._agents = agents
        self._emit = emit
        self._run_id = run_id
        self._priority = priority
        self._most = most
        self._loop = asyncio.get_running_loop()
        self._window = most
        self._usual: float | None = None
        self._seen: set[str] = set()
        self._wave: _Wave | None = None  # the latest
        self._waves: dict[str, _Wave] = {}  # by the steps that have not ended

    def width(self, ready: Sequence[str], running: int) -> int:
        """Return how many may work at once, where ``ready`` could begin."""
        if not self._seen.issuperset(ready):
            self._begin_wave(ready, running)
            self._seen.update(ready)
        return self._width(ready, running)

    def note_attempt(self, took: float, *, success: bool) -> None:
        """Let the pace follow from how an attempt went."""
        slow = self._usual is not None and took > SLOW * self._usual
        if success:
            usual = took if self._usual is None else self._usual
            self._usual = usual + SMOOTHING * (took - usual)
        if slow or not success:
            self._window = max(1, self._window // 2)
        else:
            self._window = min(self._most, self._window + 1)

    def note_end(self, step: str, *, success: bool) -> None:
        """Tell the advisor how a wave went, once all of it has ended."""
        wave = self._waves.pop(step, None)
        if wave is None:
            return
        wave.success = wave.success and success
        if wave not in self._waves.values():
            self._end_wave(wave)

    def note_failure(self, step: str) -> None:
        """Tell the advisor that a wave has failed: what is left of it ends with its run."""
        wave = self._waves.get(step)
        if wave is None:
            return
        self._waves = {name: other for name, other in self._waves.items() if other is not wave}
        wave.success = False
        self._end_wave(wave)

    def _end_wave(self, wave: "_Wave") -> None:
        took = self._loop.time() - wave.began
        self._advisor.learn(wave.decision_id, Result(took, wave.success))
        self._wave = None if wave is self._wave else self._wave

    def _begin_wave(self, ready: Sequence[str], running: int) -> None:
        if len(ready) + running < 2:  # noqa: PLR2004 - one alone has no company to choose
            return
        left = len(self._plan.order) - len(self._seen)
        load = load_of(self._pools(ready))
        question = Question(
            workflow=self._plan.workflow.name,
            run_id=self._run_id,
            step=None,
            arms=(Arm(mode="parallel"), Arm(mode="sequential")),
            features=Features(left, len(ready) + running, self._priority, load),
        )
        decision = self._advisor.choose(question)
        mode = decision.arm.mode or "parallel"
        self._wave = _Wave(decision.decision_id, mode, self._loop.time())
        self._waves |= dict.fromkeys(ready, self._wave)
        self._emit(
            WaveBegan(
                self._plan.workflow.name,
                self._run_id,
                len(ready),
                running,
                self._width(ready, running),
                decision.why,
            )
        )

    def _width(self, ready: Sequence[str], running: int) -> int:
        if self._wave is not None and self._wave.mode == "sequential":
            return 1
        return max(1, min(self._window, running + self._places(ready)))

    def _places(self, ready: Sequence[str]) -> int:
        """Return for how many of ``ready`` there is a place: a seat, for those that agents do."""
        leasing, pools = len(self._asked(ready)), self._pools(ready)
        free = sum(max(0, healthy(pool) - pool.in_flight) for pool in pools)
        # Where no pool says yet what it can do, waiting for one is all that is left.
        seats = min(leasing, free) if pools else leasing
        return len(ready) - leasing + seats

    def _pools(self, ready: Sequence[str]) -> list[PoolSnapshot]:
        if self._agents is None:
            return []
        able = map(self._agents.able, self._asked(ready))
        found = {pool.pool: pool for pools in able for pool in pools}
        return [pool for pool in found.values() if pool.state != "drained"]

    def _asked(self, ready: Sequence[str]) -> list[str]:
        """Return the capabilities that those of ``ready`` ask for that agents do."""
        asked = (_capability(self._plan.steps[name]) for name in ready)
        return [capability for capability in asked if capability is not None]


@dataclass(slots=True, eq=False)
class _Wave:
    """Steps that became able to work together, and the decision under which they do."""

    decision_id: str
    mode: str
    began: float
    success: bool = True


def _capability(step: Step) -> str | None:
    """Return what a step asks of an agent; None if none of its ways is an agent."""
    return next((way.name for way in step.ways.values() if way.kind == "agent"), None)
