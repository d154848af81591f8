"""What the mode adaptive decides: who does a step, and how many work at once."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest

from agents.agent import Context, Lost, Task
from agents.client import AgentClient
from agents.configuration import GraphPool, Limits
from agents.errors import TaskFailed
from agents.network.message import Origin
from agents.pool import AgentPool
from agents.pools import AgentPools
from coordinator.advice import Arm, Decision, Question, Result
from coordinator.crew import Crew
from coordinator.errors import StepFailed
from coordinator.step_events import WaveBegan
from coordinator.toolbox import Use
from tests.coordinator.stage import FirstArm, Stage, Tools, step, workflow
from tests.simulation.simloop import SimLoop, simulate


class Fixed:
    """Advises what it is told to, for a step or for a wave (None)."""

    def __init__(self, **arms: Arm) -> None:
        self._arms = arms
        self.asked: list[Question] = []
        self.told: dict[str, Result] = {}

    def choose(self, question: Question) -> Decision:
        self.asked.append(question)
        wanted = self._arms.get(question.step or "wave", question.arms[0])
        return Decision(f"d{len(self.asked)}", wanted, "as it was told")

    def learn(self, decision_id: str, result: Result) -> None:
        self.told[decision_id] = result


class Clerk:
    """An agent that takes so many seconds, or fails."""

    def __init__(self, seconds: float, *, fails: bool) -> None:
        self.limits = Limits()
        self.capabilities = frozenset({"count"})
        self._seconds = seconds
        self._fails = fails

    async def start(self, lost: Lost) -> None:
        pass

    async def invoke(self, task: Task, context: Context) -> Any:
        await asyncio.sleep(self._seconds)
        if self._fails:
            raise TaskFailed("on purpose")
        return task.input

    async def probe(self) -> None:
        pass

    async def aclose(self) -> None:
        pass


@asynccontextmanager
async def pools(**made: tuple[int, float, bool]) -> AsyncGenerator[AgentClient]:
    """Open pools: so many seats, seconds a task, whether its agents fail."""

    def pool(name: str, seats: int, seconds: float, fails: bool) -> AgentPool:
        section = GraphPool(kind="graph", graph="g", seats={"min": seats, "max": seats})  # type: ignore[arg-type]
        return AgentPool(
            name, section, lambda: Clerk(seconds, fails=fails), lambda _: None, Random(0)
        )

    all_of_them = AgentPools({name: pool(name, *how) for name, how in made.items()})
    async with all_of_them.running():
        while any(one.capabilities is None for one in all_of_them):  # noqa: ASYNC110 - of pools
            await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        yield AgentClient(all_of_them, None, Origin(sender="test"))  # type: ignore[arg-type]


def adaptive(*steps: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return workflow(*steps, mode="adaptive", **more)


async def work(seconds: float, use: Use) -> Any:
    await asyncio.sleep(seconds)
    return seconds


def test_the_advisor_names_the_pool_and_hears_how_it_went() -> None:
    async def main(loop: SimLoop) -> None:
        advisor = Fixed(a=Arm(pool="slow"))
        async with pools(quick=(1, 1, False), slow=(1, 9, False)) as agents:
            stage = Stage(adaptive({"id": "a", "agent": "count"}), Crew(agents=agents), advisor)
            result = (await stage.play({}))["steps"]["a"]
        assert result["by"] == "agent count of pool slow"
        (asked,) = advisor.asked
        assert asked.arms == (Arm(pool="quick"), Arm(pool="slow"))
        assert advisor.told["d1"] == Result(9, True)

    simulate(0, main)


def test_the_advisor_names_the_variant_and_is_asked_again_for_another_attempt() -> None:
    async def main(loop: SimLoop) -> None:
        async def fail(_: Any, use: Use) -> Any:
            raise ValueError("on purpose")

        advisor = Fixed(a=Arm(variant="bad"))
        variants = [{"id": "good", "tool": "work", "input": 1}, {"id": "bad", "tool": "fail"}]
        one = {"id": "a", "variants": variants, "retry": {"attempts": 2, "first": 1}}
        spec = adaptive({**one, "fallbacks": [{"tool": "work", "input": 2}]})
        stage = Stage(spec, Crew(tools=Tools(work=work, fail=fail)), advisor)
        result = (await stage.play({}))["steps"]["a"]
        assert (result["output"], result["attempts"]) == (2, 3)
        assert [told.success for told in advisor.told.values()] == [False, False]

    simulate(0, main)


def test_the_advisor_is_told_how_many_steps_are_left_and_could_work() -> None:
    async def main(loop: SimLoop) -> None:
        advisor = Fixed()
        variants = [{"id": name, "tool": "work", "input": 1} for name in ("v", "w")]
        steps: list[dict[str, Any]] = [{"id": name, "variants": variants} for name in "abc"]
        steps.append({"id": "d", "variants": variants, "needs": ["a", "b", "c"]})
        await Stage(adaptive(*steps), Crew(tools=Tools(work=work)), advisor).play({})
        asked = {one.step: one.features for one in advisor.asked}
        told = {name: (asked[name].steps, asked[name].width) for name in "abcd"}
        assert told == {"a": (4, 3), "b": (4, 3), "c": (4, 3), "d": (1, 1)}

    simulate(0, main)


def test_pools_that_lend_no_agents_are_not_offered() -> None:
    async def main(loop: SimLoop) -> None:
        advisor = Fixed()
        async with pools(gone=(1, 1, False), here=(1, 1, False)) as agents:
            agents._pools["gone"].drain()  # noqa: SLF001 - as an operator would
            stage = Stage(adaptive({"id": "a", "agent": "count"}), Crew(agents=agents), advisor)
            result = (await stage.play({}))["steps"]["a"]
        assert advisor.asked == []
        assert result["by"] == "agent count of pool here"

    simulate(0, main)


def test_a_variant_whose_pools_all_lend_no_agents_is_not_offered_while_another_can_do_it() -> None:
    async def main(loop: SimLoop) -> None:
        advisor = FirstArm()
        variants = [{"id": "v", "agent": "count"}, {"id": "w", "tool": "work", "input": 1}]
        async with pools(gone=(1, 1, False)) as agents:
            agents._pools["gone"].drain()  # noqa: SLF001 - as an operator would
            crew = Crew(agents=agents, tools=Tools(work=work))
            stage = Stage(adaptive({"id": "a", "variants": variants}), crew, advisor)
            result = (await stage.play({}))["steps"]["a"]
        assert result["by"] == "tool work (w)"

    simulate(0, main)


@pytest.mark.parametrize("failing", ["a", "b"])
def test_a_wave_of_which_a_step_fails_has_failed_whichever_ends_last(failing: str) -> None:
    async def main(loop: SimLoop) -> None:
        async def play(seconds: float, use: Use) -> None:
            await asyncio.sleep(seconds)
            if use.step == failing:
                raise ValueError("on purpose")

        advisor = Fixed(wave=Arm(mode="parallel"))
        steps = [
            step(name, "play", input=n, on_error="continue") for name, n in (("a", 1), ("b", 2))
        ]
        await Stage(adaptive(*steps), Crew(tools=Tools(play=play)), advisor).play({})
        assert advisor.told == {"d1": Result(2, False)}

    simulate(0, main)


def test_a_wave_works_one_at_a_time_if_that_is_the_advice() -> None:
    async def main(loop: SimLoop) -> None:
        steps = [step(f"s{n}", "work", input=1) for n in range(4)]
        for mode, took in (("parallel", 1), ("sequential", 4)):
            advisor = Fixed(wave=Arm(mode=mode))
            stage = Stage(adaptive(*steps), Crew(tools=Tools(work=work)), advisor)
            began = loop.time()
            await stage.play({})
            assert loop.time() - began == took
            assert advisor.told == {"d1": Result(took, True)}
            (wave,) = (event for event in stage.events if isinstance(event, WaveBegan))
            assert (wave.ready, wave.width) == (4, 4 if mode == "parallel" else 1)

    simulate(0, main)


@pytest.mark.parametrize("mode", ["parallel", "sequential"])
def test_the_advisor_hears_of_a_wave_that_ends_its_run(mode: str) -> None:
    async def main(loop: SimLoop) -> None:
        async def fail(_: Any, use: Use) -> Any:
            await asyncio.sleep(1)
            raise ValueError("on purpose")

        advisor = Fixed(wave=Arm(mode=mode))
        spec = adaptive(step("a", "fail"), step("b", "work", input=2), step("c", "work", input=9))
        with pytest.raises(StepFailed):
            await Stage(spec, Crew(tools=Tools(work=work, fail=fail)), advisor).play({})
        assert advisor.told == {"d1": Result(1, False)}

    simulate(0, main)


def test_no_more_work_at_once_than_agents_are_free() -> None:
    async def main(loop: SimLoop) -> None:
        async with pools(two=(2, 1, False)) as agents:
            steps = [{"id": f"s{n}", "agent": "count"} for n in range(5)]
            crew = Crew(agents=agents, tools=Tools(work=work))
            stage = Stage(adaptive(*steps, step("t", "work", input=1)), crew, FirstArm())
            began = loop.time()
            await stage.play({})
        (wave, *_) = (event for event in stage.events if isinstance(event, WaveBegan))
        assert (wave.ready, wave.width) == (6, 3)
        assert loop.time() - began == 3

    simulate(0, main)


def test_failures_halve_what_works_at_once_and_successes_win_it_back() -> None:
    async def main(loop: SimLoop) -> None:
        begun: list[float] = []

        async def rough(number: int, use: Use) -> Any:
            begun.append(loop.time())
            await asyncio.sleep(1)
            if number < 4:
                raise ValueError(number)
            return number

        steps = [step(f"s{n}", "rough", input=n, on_error="continue") for n in range(12)]
        spec = adaptive(*steps, max_concurrency=4)
        await Stage(spec, Crew(tools=Tools(rough=rough))).play({})
        at = [begun.count(float(second)) for second in range(6)]
        assert at == [4, 1, 2, 4, 1, 0]

    simulate(0, main)
