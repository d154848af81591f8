"""Who is let in, when the others are to come back, and what a run counts against."""

from random import Random
from typing import Any

import pytest

from orchestration.loop.admission import SUSPECT, Admission, Limits
from orchestration.loop.errors import QueueFull, RateLimited
from orchestration.loop.rate import Allowance
from tests.loop.stage import new_run


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def admission(clock: Clock | None = None, **limits: Any) -> Admission:
    return Admission(Limits(**limits), Random(1), clock or Clock())


async def test_a_queue_at_its_bound_lets_nobody_in() -> None:
    admitting = admission(queue_capacity=2)
    admitting.admit([new_run("a")], 1)
    for runs, waiting in ((["b"], 2), (["b", "c"], 1)):
        with pytest.raises(QueueFull, match=r"\(2 runs\)"):
            admitting.admit([new_run(name) for name in runs], waiting)


def test_one_is_to_come_back_when_a_tenth_of_the_queue_has_drained() -> None:
    clock = Clock()
    admitting = admission(clock, queue_capacity=1_000)
    assert 3.75 <= admitting.retry_after() <= 7.25  # nothing is known yet: 5 s
    for _ in range(6_000):  # ten a second for ten minutes
        clock.now += 0.1
        admitting.finished()
    assert 7.5 <= admitting.retry_after() <= 13.5


def test_nobody_is_sent_away_for_longer_than_about_a_minute() -> None:
    clock = Clock()
    admitting = admission(clock, queue_capacity=1_000_000)
    clock.now = 3_600.0
    admitting.finished()
    assert 45 <= admitting.retry_after() <= 76


def test_each_tenant_has_its_rate_and_gets_it_back_with_time() -> None:
    clock = Clock()
    admitting = admission(clock, submit_rate=2.0)
    pauses: list[float] = []

    def admitted(tenant: str | None) -> bool:
        try:
            admitting.admit([new_run("r", tenant=tenant)], 0)
        except RateLimited as error:
            pauses.append(error.retry_after)
            return False
        return True

    seen = [admitted("a") for _ in range(3)]
    seen += [admitted("b"), admitted(None)]
    clock.now += 0.5
    seen += [admitted("a"), admitted("a")]
    assert seen == [True, True, False, True, True, True, False]
    assert all(1 <= pause <= 3 for pause in pauses)


def test_the_first_of_a_tenant_is_let_in_however_long_that_takes() -> None:
    class Running(Clock):
        def __call__(self) -> float:
            self.now += 0.001
            return self.now

    admission(Running(), submit_rate=1.0).admit([new_run("r")], 0)


def test_a_rate_below_one_a_second_still_lets_one_in() -> None:
    clock = Clock()
    admitting = admission(clock, submit_rate=0.25)
    seen = []
    for passed in (0.0, 1.0, 3.0):
        clock.now += passed
        try:
            admitting.admit([new_run("r")], 0)
            seen.append(True)
        except RateLimited:
            seen.append(False)
    assert seen == [True, False, True]


def test_a_batch_above_the_rate_is_let_in_as_a_whole_and_paid_for_afterwards() -> None:
    clock = Clock()
    admitting = admission(clock, submit_rate=2.0)
    batch = [new_run(name) for name in "abcde"]
    admitting.admit(batch, 0)
    clock.now += 2.0  # five were taken, one of them is still to be made up for
    assert admitting.allowance(None) == Allowance(quota=2, window=1.0, remaining=1, reset=0.5)
    with pytest.raises(RateLimited):
        admitting.admit(batch, 0)
    assert admitting.allowance(None) == Allowance(quota=2, window=1.0, remaining=1, reset=0.5)
    clock.now += 0.5
    admitting.admit(batch, 0)


def test_a_batch_that_is_refused_for_one_tenant_takes_nothing_of_another() -> None:
    admitting = admission(submit_rate=2.0)
    admitting.admit([new_run("a", tenant="busy"), new_run("b", tenant="busy")], 0)
    with pytest.raises(RateLimited, match="busy"):
        admitting.admit([new_run("c", tenant="other"), new_run("d", tenant="busy")], 0)
    assert admitting.allowance("other") == Allowance(quota=2, window=1.0, remaining=2, reset=0.0)


def test_what_is_left_of_a_rate_is_known_without_taking_any_of_it() -> None:
    clock = Clock()
    admitting = admission(clock, submit_rate=4.0)
    for _ in range(3):
        admitting.admit([new_run("r", tenant="a")], 0)
    clock.now += 0.25
    assert admitting.allowance("a") == Allowance(quota=4, window=1.0, remaining=2, reset=0.5)
    assert admitting.allowance("b") == Allowance(quota=4, window=1.0, remaining=4, reset=0.0)
    assert admission().allowance("a") is None


async def test_only_the_latest_callers_are_remembered() -> None:
    admitting = admission(submit_rate=1.0)
    admitting.admit([new_run("r", tenant="first")], 0)
    for number in range(1_000):
        admitting.admit([new_run("r", tenant=f"t{number}")], 0)
    admitting.admit([new_run("r", tenant="first")], 0)  # forgotten, so let in again
    with pytest.raises(RateLimited, match="t999 may submit 1 runs a second"):
        admitting.admit([new_run("r", tenant="t999")], 0)


@pytest.mark.parametrize(
    ("limits", "given", "keys"),
    [
        ({}, {"tenant": "t"}, ()),
        ({"runs_per_assistant": 3}, {}, ("assistant:graph",)),
        ({"assistant_runs": {"graph": 3}}, {}, ("assistant:graph",)),
        ({"assistant_runs": {"other": 3}}, {}, ()),
        ({"runs_per_tenant": 3}, {"tenant": "t"}, ("tenant:t",)),
        ({"runs_per_tenant": 3}, {}, ()),
        ({}, {"crashes": 1}, ()),
        ({}, {"crashes": 2}, (SUSPECT,)),
        ({"crash_limit": 1}, {"crashes": 0}, ()),
    ],
)
def test_what_a_run_counts_against(
    limits: dict[str, Any], given: dict[str, Any], keys: tuple[str, ...]
) -> None:
    assert Limits(**limits).keys(new_run("r", **given)) == keys


@pytest.mark.parametrize(
    ("key", "limit"),
    [("assistant:a", 2), ("assistant:b", 3), ("tenant:t", 4), (SUSPECT, 1), ("assistant:x:y", 3)],
)
def test_how_many_may_work_under_a_limit(key: str, limit: int) -> None:
    limits = Limits(runs_per_assistant=3, assistant_runs={"a": 2}, runs_per_tenant=4)
    assert limits.limit(key) == limit


def test_the_deadline_is_the_run_s_own_or_its_assistant_s_or_the_default() -> None:
    limits = Limits(run_timeout=3.0, assistant_timeouts={"graph": 2.0})
    runs = [new_run("r", timeout=1.0), new_run("r"), new_run("r", graph_id="other")]
    assert [limits.timeout(run) for run in runs] == [1.0, 2.0, 3.0]
