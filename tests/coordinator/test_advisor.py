"""What the advisor chooses, what it says of it, and what it keeps."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from coordinator.advice import Arm, Features, Question, Result
from coordinator.advisor import BanditAdvisor, Cause
from coordinator.belief import HALF_LIFE, Belief
from coordinator.events import DecisionJudged, DecisionMade, Event
from coordinator.experience import Problem, Remembered
from coordinator.history import Option
from coordinator.linear import backward, cholesky, forward
from coordinator.reward import reward, seconds, speed
from coordinator.within_run import RUNS, RunWeights
from tests.coordinator.environment import Notes, silent

FAST, SLOW = Arm(variant="fast"), Arm(variant="slow")
PLAIN = Features(steps=5, width=2, priority=5, load=0.5)
DONE, FAILED = Result(1.0, success=True), Result(1.0, success=False)


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


def made(seed: int = 1, notes: Notes | None = None) -> BanditAdvisor:
    return BanditAdvisor(silent, notes or Notes(), Random(seed))


def asked(
    *arms: Arm, run: str | None = None, step: str | None = "s", workflow: str = "w"
) -> Question:
    return Question(workflow, run, step, arms or (FAST, SLOW), PLAIN)


def taught(advisor: BanditAdvisor, arm: Arm, result: Result, times: int = 1) -> None:
    """Have ``arm`` be what there is, and learn of it."""
    for number in range(times):
        decision = advisor.choose(asked(arm, run=f"earlier-{number}"))
        advisor.learn(decision.decision_id, result)


def chosen(advisor: BanditAdvisor, question: Question, times: int = 20) -> list[Arm]:
    return [advisor.choose(question).arm for _ in range(times)]


def test_the_same_seed_chooses_the_same() -> None:
    assert chosen(made(7), asked()) == chosen(made(7), asked())
    assert set(chosen(made(7), asked(), 50)) == {FAST, SLOW}


def test_what_was_faster_or_failed_less_is_chosen() -> None:
    advisor = made()
    taught(advisor, FAST, Result(0.1, success=True), 20)
    taught(advisor, SLOW, Result(2.0, success=True), 20)
    assert chosen(advisor, asked()).count(FAST) >= 19
    advisor = made()
    taught(advisor, FAST, FAILED, 20)
    taught(advisor, SLOW, Result(5.0, success=True), 20)
    assert chosen(advisor, asked()).count(SLOW) >= 19


def test_what_costs_is_chosen_less() -> None:
    advisor = made()
    taught(advisor, FAST, Result(0.1, success=True, cost=30.0), 20)
    taught(advisor, SLOW, Result(2.0, success=True), 20)
    assert chosen(advisor, asked()).count(SLOW) >= 19


@pytest.mark.parametrize("bad", [FAILED, Result(40.0, success=True)], ids=["failing", "slow"])
def test_what_goes_wrong_in_a_run_is_left_alone_for_the_rest_of_it(bad: Result) -> None:
    advisor = made()
    taught(advisor, FAST, Result(0.5, success=True), 200)
    taught(advisor, SLOW, Result(1.0, success=True), 200)
    assert chosen(advisor, asked(run="r")).count(FAST) >= 19
    advisor.learn(advisor.choose(asked(FAST, run="r")).decision_id, bad)
    assert chosen(advisor, asked(run="r")).count(SLOW) >= 19
    assert chosen(advisor, asked(run="another")).count(FAST) >= 15
    assert "in this run variant fast has failed or been slow" in advisor.choose(asked(run="r")).why


def test_a_run_that_does_well_again_gets_its_trust_back() -> None:
    advisor = made()
    taught(advisor, FAST, Result(0.5, success=True), 200)
    for result in (FAILED, *[Result(0.4, success=True)] * 6):
        advisor.learn(advisor.choose(asked(FAST, run="r")).decision_id, result)
    (option,) = _last(advisor, asked(FAST, run="r"))
    assert option.weight > 0.95


def _last(advisor: BanditAdvisor, question: Question) -> Sequence[Option]:
    advisor.choose(question)
    return advisor.history.latest()[0].options


def test_what_runs_have_shown_is_bounded_and_the_oldest_goes_first() -> None:
    weights, problem = RunWeights(), Problem(None, "w", "s")
    for number in range(RUNS + 1):
        weights.note(f"r{number}", problem, FAST, reward=0.0, expected=0.5)
    assert [weights(run, problem, FAST) for run in ("r0", "r1", f"r{RUNS}")] == [1.0, 0.5, 0.5]
    for number in range(300):
        arm = Arm(variant=f"v{number}")
        weights.note("r5", problem, arm, reward=0.0, expected=0.5)
    assert weights("r5", problem, FAST) == 1.0
    assert weights("r5", problem, Arm(variant="v299")) == 0.5


def test_results_that_never_come_are_waited_for_only_so_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("coordinator.advisor.MOST_OPEN", 2)
    notes = Notes()
    advisor = made(notes=notes)
    decisions = [advisor.choose(asked(FAST)).decision_id for _ in range(3)]
    for decision_id in decisions:
        advisor.learn(decision_id, DONE)
    assert [entry.decision_id for entry in notes.entries] == decisions[1:]


def test_nobodys_runs_teach_anybody_elses() -> None:
    advisor = BanditAdvisor(
        silent, Notes(), Random(1), cause_of=lambda run: Cause(owner=run.partition("-")[0])
    )
    for number in range(20):
        decision = advisor.choose(asked(FAST, run=f"bob-{number}"))
        advisor.learn(decision.decision_id, FAILED)
    advisor.choose(asked(run="alice-1"))
    assert [option.tried for option in advisor.history.latest()[0].options] == [0, 0]


def test_what_nobody_has_met_for_longest_is_forgotten_first() -> None:
    advisor = BanditAdvisor(silent, Notes(), Random(1), most_arms=3)
    for workflow in ("a", "b", "c", "a", "d"):
        decision = advisor.choose(asked(FAST, workflow=workflow))
        advisor.learn(decision.decision_id, DONE)
    known = {}
    for workflow in ("a", "c", "d", "b"):
        advisor.choose(asked(FAST, workflow=workflow))
        known[workflow] = advisor.history.latest()[0].options[0].tried > 0
    assert known == {"a": True, "c": True, "d": True, "b": False}


def test_old_results_count_less() -> None:
    clock = Clock()
    advisor = BanditAdvisor(silent, Notes(), Random(1), clock=clock)
    taught(advisor, FAST, DONE, 10)
    clock.now += timedelta(seconds=HALF_LIFE)
    advisor.choose(asked(FAST))
    assert advisor.history.latest()[0].options[0].tried == pytest.approx(5, rel=0.05)


def test_what_was_remembered_is_known_as_before() -> None:
    notes = Notes()
    advisor = made(notes=notes)
    taught(advisor, FAST, DONE, 10)
    numbers = notes.beliefs[-1].numbers()
    again = made(seed=3)
    belief = Belief.of(numbers, notes.beliefs[-1].at)
    assert belief is not None
    again.remember(Remembered(Problem(None, "w", "s"), FAST, belief))
    for one in (advisor, again):
        one.choose(asked(FAST))
    first, second = (one.history.latest()[0].options[0] for one in (advisor, again))
    assert (first.tried, first.chance, first.seconds) == (
        second.tried,
        second.chance,
        second.seconds,
    )
    assert Belief.of(numbers[:-1], 0.0) is None


def test_what_is_not_known_any_more_is_learned_nothing_from() -> None:
    notes = Notes()
    advisor = made(notes=notes)
    decision = advisor.choose(asked())
    advisor.learn("unknown", DONE)
    advisor.learn(decision.decision_id, DONE)
    advisor.learn(decision.decision_id, DONE)
    assert len(notes.entries) == 1


def test_decisions_and_what_came_of_them_are_events(capsys: pytest.CaptureFixture[str]) -> None:
    events: list[Event] = []
    advisor = BanditAdvisor(events.append, Notes(), Random(1))
    decision = advisor.choose(asked(FAST, run="r"))
    advisor.learn(decision.decision_id, DONE)
    made, judged = events
    assert isinstance(made, DecisionMade)
    assert (made.run_id, made.step, made.arm, made.of) == ("r", "s", FAST, 1)
    assert isinstance(judged, DecisionJudged)
    assert (judged.duration, judged.success, judged.reward) == (1.0, True, speed(1.0))
    assert capsys.readouterr() == ("", "")


def test_the_history_is_bounded_and_never_changes_in_the_hands_of_a_reader() -> None:
    advisor = made()
    decision = advisor.choose(asked())
    (before,) = advisor.history.latest()
    advisor.learn(decision.decision_id, DONE)
    (after,) = advisor.history.latest()
    assert (before.result, after.result) == (None, DONE)
    chosen(advisor, asked(FAST), 1_500)
    assert len(advisor.history.latest()) == 1_000
    advisor.history.latest().clear()
    assert len(advisor.history.latest()) == 1_000


def test_it_says_why_in_words() -> None:
    advisor = made()
    whole = Arm(mode="parallel", pool="near")
    only = advisor.choose(Question("w", None, None, [whole], PLAIN))
    assert only.why == "parallel, pool near: there was nothing else to choose"
    taught(advisor, FAST, Result(0.2, success=True), 20)
    taught(advisor, SLOW, Result(90.0, success=True), 20)
    assert advisor.choose(asked()).why == (
        "variant fast: succeeds 99% of the time, in about 200 ms (19 results); best of 2; next is "
        "variant slow: succeeds 99% of the time, in about 1.5 min (19 results)"
    )
    new = Arm(variant="new")
    sayings = [advisor.choose(asked(FAST, SLOW, new)).why for _ in range(200)]
    assert any(why.startswith("variant new: not tried yet") for why in sayings)
    assert any("expected to do better, to find out" in why for why in sayings)


def test_rewards_are_between_nothing_and_one() -> None:
    assert reward(FAILED) == 0
    assert reward(Result(0.0, success=True)) == 1
    assert reward(Result(1e9, success=True)) == 0
    assert reward(Result(1.0, success=True)) > reward(Result(1.0, success=True, cost=1.0)) > 0
    assert seconds(speed(12.5)) == pytest.approx(12.5)


def test_equations_are_solved() -> None:
    matrix = [[4.0, 2.0, 0.4], [2.0, 3.0, 0.5], [0.4, 0.5, 2.0]]
    factor = cholesky(matrix)
    solved = backward(factor, forward(factor, [1.0, 2.0, 3.0]))
    for row, value in zip(matrix, [1.0, 2.0, 3.0], strict=True):
        assert sum(a * b for a, b in zip(row, solved, strict=True)) == pytest.approx(value)
