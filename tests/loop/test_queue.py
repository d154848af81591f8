"""The queue against a naive model of what it promises."""

from collections import Counter
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from orchestration.loop.queue import RunQueue
from orchestration.loop.run import Place, Run
from tests.loop.stage import new_run

LIMITS = {"one": 1, "two": 2, "three": 3}
AGEING = 10.0


def limit(name: str) -> int:
    return LIMITS[name]


def put(queue: RunQueue, run_id: str, thread: str | None = None, **given: Any) -> Run:
    limits = given.pop("limits", ())
    arrived = given.pop("arrived", 0.0)
    run = new_run(run_id, thread, **given)
    run.limits, run.arrived = limits, arrived
    queue.put(run)
    return run


def taken(queue: RunQueue) -> list[str]:
    names = []
    while (run := queue.take()) is not None:
        names.append(run.run_id)
    return names


def test_the_smaller_priority_goes_first_and_then_the_earlier_arrival() -> None:
    queue = RunQueue(AGEING, limit)
    for name, priority, arrived in (("d", 6, 0.0), ("c", 5, 2.0), ("b", 5, 1.0), ("a", 0, 3.0)):
        put(queue, name, priority=priority, arrived=arrived)
    assert taken(queue) == ["a", "b", "c", "d"]


def test_waiting_for_one_ageing_weighs_as_much_as_one_level() -> None:
    queue = RunQueue(AGEING, limit)
    put(queue, "old and unimportant", priority=6, arrived=0.0)
    put(queue, "young", priority=5, arrived=AGEING + 1)
    put(queue, "middle", priority=5, arrived=AGEING - 1)
    assert taken(queue) == ["middle", "old and unimportant", "young"]


def test_the_runs_of_a_thread_go_one_by_one_in_order_whatever_their_priority() -> None:
    queue = RunQueue(AGEING, limit)
    first, second, third = [
        put(queue, name, "thread", priority=priority)
        for name, priority in (("1", 9), ("2", 5), ("3", 0))
    ]
    assert [queue.in_line(second), queue.in_line(third)] == [1, 2]
    assert taken(queue) == ["1"]
    queue.release(first)
    assert taken(queue) == ["2"]
    queue.remove(third)
    queue.release(second)
    assert (taken(queue), len(queue)) == ([], 0)


def test_a_run_removed_from_the_head_of_its_thread_makes_way_once_that_is_let_go() -> None:
    queue = RunQueue(AGEING, limit)
    first = put(queue, "1", "thread")
    put(queue, "2", "thread")
    assert queue.remove(first)
    assert (taken(queue), len(queue)) == ([], 1)
    queue.let_go("thread")
    assert taken(queue) == ["2"]


def test_when_a_woken_run_is_removed_the_room_goes_to_the_next_who_is_parked() -> None:
    queue = RunQueue(AGEING, limit)
    working = put(queue, "working", limits=("one",))
    woken = put(queue, "woken", limits=("one",), arrived=1.0)
    put(queue, "next", limits=("one",), arrived=2.0)
    assert taken(queue) == ["working"]
    assert (woken.place, queue.reached(woken)) == (Place.PARKED, "one")
    queue.release(working)
    queue.remove(woken)
    assert taken(queue) == ["next"]


def test_a_woken_run_that_meets_another_limit_passes_its_room_on() -> None:
    queue = RunQueue(AGEING, limit)
    one = put(queue, "one", limits=("one",))
    two = put(queue, "two", limits=("two",))
    also = put(queue, "also two", limits=("two",))
    both = put(queue, "both", limits=("two", "one"), arrived=1.0)
    put(queue, "next", limits=("two",), arrived=2.0)
    assert taken(queue) == ["one", "two", "also two"]
    queue.release(two)
    assert taken(queue) == ["next"]
    assert queue.reached(both) is not None
    queue.release(also)
    queue.release(one)
    assert taken(queue) == ["both"]


def test_how_many_go_before_a_run_counts_those_that_are_ready() -> None:
    queue = RunQueue(AGEING, limit)
    put(queue, "before", priority=1)
    gone = put(queue, "gone", priority=1)
    run = put(queue, "run", priority=2)
    put(queue, "behind", priority=3)
    queue.remove(gone)
    assert queue.before(run) == 1


def test_what_is_removed_does_not_pile_up() -> None:
    queue = RunQueue(AGEING, limit)
    put(queue, "working", limits=("one",))
    assert taken(queue) == ["working"]
    for number in range(2_000):
        queue.remove(put(queue, f"ready {number}"))
        parked = put(queue, f"parked {number}", limits=("one",))
        queue.take()
        queue.remove(parked)
    assert len(queue) == 0
    assert queue.held <= 65


class Model(RuleBasedStateMachine):
    """Every waiting run in one list; whoever may start and weighs least is next."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = RunQueue(AGEING, limit)
        self.waiting: list[Run] = []
        self.working: list[Run] = []
        self.removed: list[str] = []  # the threads of runs that are not let go yet
        self.number = 0
        self.now = 0.0

    def heads(self) -> list[Run]:
        """Return the waiting runs that no run of their thread goes before."""
        busy = {run.thread_id for run in self.working} | set(self.removed)
        heads: dict[str, Run] = {}
        for run in self.waiting:
            if run.thread_id not in busy:
                heads.setdefault(run.thread_id, run)
        return list(heads.values())

    def eligible(self) -> list[Run]:
        used = Counter(name for run in self.working for name in run.limits)
        return [
            run for run in self.heads() if all(used[name] < LIMITS[name] for name in run.limits)
        ]

    @staticmethod
    def weight(run: Run) -> float:
        return run.arrived + run.priority * AGEING

    @rule(
        thread=st.sampled_from(["a", "b", "c", ""]),
        limits=st.sets(st.sampled_from(sorted(LIMITS))),
        priority=st.integers(0, 10),
        passed=st.floats(0.0, 40.0),
    )
    def put(self, thread: str, limits: set[str], priority: int, passed: float) -> None:
        self.number += 1
        self.now += passed
        name = f"r{self.number}"
        self.waiting.append(
            put(
                self.queue,
                name,
                thread or name,
                priority=priority,
                limits=tuple(sorted(limits)),
                arrived=self.now,
            )
        )

    @rule()
    def take(self) -> None:
        eligible = self.eligible()
        run = self.queue.take()
        if run is None:
            assert eligible == []
            return
        assert run in eligible
        assert self.weight(run) == min(map(self.weight, eligible))
        self.waiting.remove(run)
        self.working.append(run)

    @precondition(lambda self: self.working)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        run = data.draw(st.sampled_from(self.working), label="which")
        self.working.remove(run)
        self.queue.release(run)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        run = data.draw(st.sampled_from(self.waiting), label="which")
        headed = run in self.heads()
        self.waiting.remove(run)
        assert self.queue.remove(run) == headed
        if headed:
            self.removed.append(run.thread_id)

    @precondition(lambda self: self.removed)
    @rule()
    def let_go(self) -> None:
        self.queue.let_go(self.removed.pop())

    @invariant()
    def every_waiting_run_is_in_one_place(self) -> None:
        assert len(self.queue) == len(self.waiting)
        heads = self.heads()
        for run in self.waiting:
            assert (run.place is Place.LINE) == (run not in heads)
        assert all(run.place is Place.WORKING for run in self.working)

    @invariant()
    def the_heaps_are_bounded(self) -> None:
        assert self.queue.held <= 2 * len(self.waiting) + 65

    def teardown(self) -> None:
        """Whatever happened, everything that waits gets its turn."""
        while self.removed:
            self.let_go()
        for _ in range(2 * self.number + 2):
            while self.queue.take() is not None:
                pass
            for run in [one for one in self.waiting + self.working if one.place is Place.WORKING]:
                self.queue.release(run)
        assert len(self.queue) == 0


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
