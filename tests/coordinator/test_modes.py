"""Each mode against its definition: made-up workflows on virtual time, seed by seed."""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coordinator.checking import Known, checked
from coordinator.compilation import picture
from coordinator.crew import Crew
from coordinator.errors import StepFailed
from coordinator.toolbox import Use
from tests.coordinator.stage import Stage, Tools, step, workflow
from tests.simulation.simloop import SimLoop, simulate

MOST = 40  # steps


@dataclass(frozen=True)
class Play:
    """A step as a test has it: what it needs, how long it takes, how often it fails first."""

    needs: frozenset[int]
    seconds: int
    failures: int
    attempts: int
    goes_on: bool

    @property
    def fails(self) -> bool:
        return self.failures >= self.attempts

    @property
    def tries(self) -> int:
        return min(self.failures + 1, self.attempts)


@dataclass
class Log:
    """When each attempt at each step began and ended, in seconds of virtual time."""

    spans: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    begun: Counter[str] = field(default_factory=Counter)

    def working(self, now: float) -> int:
        return sum(start <= now < end for spans in self.spans.values() for start, end in spans)


@st.composite
def plays(draw: st.DrawFn) -> list[Play]:
    """Draw a workflow: any graph without cycles, its steps declared in any order."""
    count = draw(st.integers(1, MOST))
    made: list[Play] = []
    for number in range(count):
        earlier = st.integers(0, number - 1) if number else st.nothing()
        made.append(
            Play(
                needs=draw(st.frozensets(earlier, max_size=min(number, 3))),
                seconds=draw(st.integers(1, 5)),
                failures=draw(st.sampled_from([0, 0, 0, 0, 1, 2])),
                attempts=draw(st.integers(1, 3)),
                goes_on=draw(st.sampled_from([True, True, True, False])),
            )
        )
    return made


def document(made: list[Play], order: list[int], mode: str, width: int) -> dict[str, Any]:
    steps = [
        {
            "id": f"s{number}",
            "tool": "work",
            "input": number,
            "needs": [f"s{need}" for need in sorted(made[number].needs)],
            "retry": {"attempts": made[number].attempts, "first": 1, "jitter": False},
            "on_error": "continue" if made[number].goes_on else "fail",
        }
        for number in order
    ]
    return {"name": "w", "mode": mode, "max_concurrency": width, "steps": steps}


async def perform(
    loop: SimLoop, made: list[Play], spec: dict[str, Any], durability: str
) -> tuple[Log, Any, StepFailed | None]:
    log = Log()

    async def work(number: int, use: Use) -> int:
        name, began = f"s{number}", loop.time()
        log.begun[name] += 1
        spans = log.spans.setdefault(name, [])
        place = len(spans)
        spans.append((began, float("inf")))
        try:
            await asyncio.sleep(made[number].seconds)
        finally:
            spans[place] = (began, loop.time())
        if log.begun[name] <= made[number].failures:
            raise ValueError("as it was told")
        return number

    stage = Stage(spec, Crew(tools=Tools(work=work)), durability=durability)
    try:
        return log, await stage.play({}), None
    except StepFailed as error:
        return log, None, error


def ready_at(log: Log, play: Play) -> float:
    return max((log.spans[f"s{need}"][-1][1] for need in play.needs), default=0.0)


def expect_order(log: Log, made: list[Play]) -> None:
    for number, play in enumerate(made):
        for start, _ in log.spans.get(f"s{number}", ()):
            assert all(f"s{need}" in log.spans for need in play.needs)
            assert start >= ready_at(log, play), f"s{number} began before what it needs had ended"


def expect_outcome(log: Log, made: list[Play], values: Any, error: StepFailed | None) -> None:
    for number, play in enumerate(made):
        assert log.begun[f"s{number}"] <= play.tries, "an attempt was made twice"
    fatal = {f"s{number}" for number, play in enumerate(made) if play.fails and not play.goes_on}
    if error is not None:
        assert error.step in fatal
        ended = log.spans[error.step][-1][1]
        assert all(start <= ended for spans in log.spans.values() for start, _ in spans)
        return
    assert not fatal
    for number, play in enumerate(made):
        assert log.begun[f"s{number}"] == play.tries
        assert values["steps"][f"s{number}"]["status"] == ("failed" if play.fails else "done")


MADE = {
    "made": plays(),
    "seed": st.integers(0, 2**16),
    "width": st.integers(1, 8),
    "durability": st.sampled_from(["sync", "async", "exit"]),
    "data": st.data(),
}
FEW = settings(
    max_examples=10, deadline=None, suppress_health_check=list(HealthCheck), database=None
)


@pytest.mark.timeout(120)
@FEW
@given(**MADE)
def test_sequential_is_one_after_the_other_as_declared(
    made: list[Play], seed: int, width: int, durability: str, data: st.DataObject
) -> None:
    spec = document(made, list(range(len(made))), "sequential", width)
    log, values, error = simulate(seed, lambda loop: perform(loop, made, spec, durability))
    expect_order(log, made)
    expect_outcome(log, made, values, error)
    assert list(log.spans) == [f"s{number}" for number in range(len(log.spans))]
    spans = [span for name in log.spans for span in log.spans[name]]
    assert all(before[1] <= after[0] for before, after in pairwise(spans))


@pytest.mark.timeout(120)
@FEW
@given(**MADE)
def test_parallel_is_everything_that_can_work_up_to_the_limit(
    made: list[Play], seed: int, width: int, durability: str, data: st.DataObject
) -> None:
    spec = document(made, data.draw(st.permutations(range(len(made)))), "parallel", width)
    log, values, error = simulate(seed, lambda loop: perform(loop, made, spec, durability))
    expect_order(log, made)
    expect_outcome(log, made, values, error)
    moments = sorted({moment for spans in log.spans.values() for span in spans for moment in span})
    assert all(log.working(moment) <= width for moment in moments)
    for number, play in enumerate(made):
        if f"s{number}" not in log.spans:
            continue
        ready, start = ready_at(log, play), log.spans[f"s{number}"][0][0]
        held_up = [moment for moment in moments if ready <= moment < start]
        assert all(log.working(moment) == width for moment in held_up), (
            f"s{number} could work from {ready}, began at {start}, and there was room"
        )


@pytest.mark.timeout(120)
@FEW
@given(**MADE)
def test_adaptive_keeps_the_order_and_the_limit(
    made: list[Play], seed: int, width: int, durability: str, data: st.DataObject
) -> None:
    spec = document(made, data.draw(st.permutations(range(len(made)))), "adaptive", width)
    log, values, error = simulate(seed, lambda loop: perform(loop, made, spec, durability))
    expect_order(log, made)
    expect_outcome(log, made, values, error)
    moments = {moment for spans in log.spans.values() for span in spans for moment in span}
    assert all(log.working(moment) <= width for moment in moments)


async def test_a_picture_with_many_edges_is_drawn_at_once() -> None:
    steps = [step(f"s{n}", needs=[f"s{m}" for m in range(n)]) for n in range(200)]
    plan = checked(workflow(*steps), Known())
    began = time.thread_time()
    drawing = await picture(plan).aget_graph()
    assert time.thread_time() - began < 3, "LangGraph takes ten seconds and more"
    assert len(drawing.edges) == 200 * 199 // 2 + 2
