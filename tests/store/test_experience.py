"""What was decided and how it went, in a real database."""

import asyncio
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import pytest

from coordinator.advice import Arm, Features, Question, Result
from coordinator.advisor import BanditAdvisor
from coordinator.belief import Belief
from coordinator.events import Event, ExperienceLost, ExperienceUnwritten
from coordinator.experience import Experience, Learned, Problem
from coordinator.recorder import ExperienceRecorder
from coordinator.reward import reward
from operations.background import in_background
from operations.database import Database, open_database
from operations.errors import StorageUnavailable
from operations.migrations import load_migrations
from orchestration.store.experience import SqliteExperience

ARM = Arm(variant="fast")
FEATURES = Features(steps=5, width=2, priority=5, load=0.5)
_BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


@asynccontextmanager
async def opened(folder: Path) -> AsyncGenerator[Database]:
    migrations = load_migrations("orchestration.store.migrations")
    async with open_database(folder / "test.db", migrations) as database:
        yield database


def entry(
    number: int, *, step: str | None = "s", arm: Arm = ARM, success: bool = True, took: float = 1.0
) -> Experience:
    result = Result(took, success)
    return Experience(
        decision_id=f"d{number}",
        at=_BEGAN + timedelta(seconds=number),
        problem=Problem(None, "w", step),
        arm=arm,
        features=FEATURES,
        result=result,
        reward=reward(result),
    )


def learned(arm: Arm, numbers: Sequence[float]) -> Learned:
    return Learned(Problem(None, "w", "s"), arm, numbers, 12.5)


def ids(rows: Sequence[sqlite3.Row]) -> list[str]:
    return [row["decision_id"] for row in rows]


async def test_entries_are_read_in_pages_in_the_order_of_their_results(tmp_path: Path) -> None:
    async with opened(tmp_path) as database:
        store = SqliteExperience(database)
        await store.append([entry(number) for number in range(5)], [])
        first = await store.entries(0, 3)
        assert ids(first) == ["d0", "d1", "d2"]
        assert ids(await store.entries(first[-1]["number"])) == ["d3", "d4"]


async def test_the_best_are_found_by_an_index(tmp_path: Path) -> None:
    async with opened(tmp_path) as database:
        store = SqliteExperience(database)
        took = [3.0, 1.0, 9.0, 1.0]
        await store.append([entry(n, took=seconds) for n, seconds in enumerate(took)], [])
        await store.append([entry(9, step=None, took=0.1)], [])
        assert ids(await store.best("w", "s", 3)) == ["d3", "d1", "d0"]
        assert ids(await store.best("w", None, 3)) == ["d9"]
        plan = database.all(
            "EXPLAIN QUERY PLAN SELECT * FROM experience WHERE workflow = 'w' AND step = 's' "
            "ORDER BY reward DESC, number DESC LIMIT 3"
        )
        assert [row["detail"] for row in plan] == [
            "SEARCH experience USING INDEX experience_best (workflow=? AND step=?)"
        ]


async def test_sums_are_kept_up_with_each_entry(tmp_path: Path) -> None:
    async with opened(tmp_path) as database:
        store = SqliteExperience(database)
        slow = Arm(variant="slow")
        await store.append([entry(1), entry(2, success=False), entry(3, arm=slow)], [])
        await store.append([entry(4, took=2.0)], [])
        rows = await store.totals("w", "s")
        assert [
            (row["variant"], row["tried"], row["succeeded"], row["duration"]) for row in rows
        ] == [("fast", 3, 2, 4.0), ("slow", 1, 1, 1.0)]


async def test_what_is_too_old_is_forgotten_and_the_sums_stay(tmp_path: Path) -> None:
    async with opened(tmp_path) as database:
        store = SqliteExperience(database, kept=10)
        for start in range(0, 30, 5):
            await store.append([entry(number) for number in range(start, start + 5)], [])
        assert ids(await store.entries(0)) == [f"d{number}" for number in range(20, 30)]
        assert (await store.totals("w", "s"))[0]["tried"] == 30
        smaller = SqliteExperience(database, kept=4)  # as after a smaller bound was set
        for number in range(30, 40):
            await smaller.append([entry(number)], [])
        assert ids(await store.entries(0)) == ["d36", "d37", "d38", "d39"]


async def test_of_too_many_arms_those_not_used_for_longest_are_forgotten(tmp_path: Path) -> None:
    async with opened(tmp_path) as database:
        store = SqliteExperience(database, kept_arms=2)
        for number, name in enumerate(("a", "b", "a", "c")):
            await store.append([entry(number, arm=Arm(variant=name))], [])
        assert [row["variant"] for row in await store.totals("w", "s")] == ["a", "c"]


async def test_what_was_learned_is_remembered(tmp_path: Path) -> None:
    belief = Belief(12.5)
    belief.succeeded((1.0, 0.1, 0.2, 0.3, 0.4, 0.5), 0.3, 0.01)
    arms = [Arm(mode=mode, pool=pool) for mode in ("a", None) for pool in ("p", "q", None)]
    async with opened(tmp_path) as database:
        store = SqliteExperience(database)
        await store.append(
            [entry(n, arm=arm) for n, arm in enumerate(arms)],
            [learned(arm, belief.numbers()) for arm in arms[:-1]] + [learned(arms[-1], [1.0])],
        )
        remembered = [one async for one in store.remembered()]
    assert {one.arm for one in remembered} == set(arms[:-1])
    assert {tuple(one.belief.numbers()) for one in remembered} == {tuple(belief.numbers())}
    assert {(one.problem, one.belief.at) for one in remembered} == {(Problem(None, "w", "s"), 12.5)}


async def test_more_than_a_page_is_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestration.store.experience.PAGE", 3)
    arms = [Arm(variant=f"v{number}") for number in range(8)]
    async with opened(tmp_path) as database:
        store = SqliteExperience(database)
        numbers = Belief(0.0).numbers()
        await store.append(
            [entry(n, arm=arm) for n, arm in enumerate(arms)],
            [learned(arm, numbers) for arm in arms],
        )
        assert [one.arm async for one in store.remembered()] == arms


class Kept:
    """A store in memory that can be told to refuse."""

    def __init__(self) -> None:
        self.batches: list[Sequence[Experience]] = []
        self.refusals = 0
        self.appended = asyncio.Event()

    async def append(self, entries: Sequence[Experience], learned: Sequence[Learned]) -> None:
        if self.refusals:
            self.refusals -= 1
            raise StorageUnavailable("no room")
        self.batches.append(entries)
        self.appended.set()


async def test_what_waits_is_written_together_and_the_rest_at_the_end() -> None:
    store, events, gathering = Kept(), list[Event](), asyncio.Event()

    async def sleep(_: float) -> None:
        await gathering.wait()

    recorder = ExperienceRecorder(store, events.append, sleep=sleep)
    async with in_background(recorder, "experience"):
        for number in range(3):
            recorder.record(entry(number), Belief(0.0))
        gathering.set()
        await store.appended.wait()
        gathering.clear()
        recorder.record(entry(3), Belief(0.0))
    assert [len(batch) for batch in store.batches] == [3, 1]
    assert events == []


async def test_what_could_not_be_written_is_tried_again_and_too_much_is_not_kept() -> None:
    store, events = Kept(), list[Event]()
    store.refusals = 2

    async def sleep(_: float) -> None:
        await asyncio.sleep(0)

    recorder = ExperienceRecorder(store, events.append, sleep=sleep)
    for number in range(10_005):
        recorder.record(entry(number), Belief(0.0))
    async with in_background(recorder, "experience"):
        await store.appended.wait()
    assert [one.decision_id for batch in store.batches for one in batch] == [
        f"d{number}" for number in range(10_000)
    ]
    unwritten = ExperienceUnwritten("no room", 5.0)
    assert events == [ExperienceLost(5), unwritten, unwritten]


async def test_an_advisor_knows_after_a_restart_what_it_knew_before(tmp_path: Path) -> None:
    question = Question("w", None, "s", [ARM, Arm(variant="slow")], FEATURES)
    looks = []
    for start in range(2):
        async with opened(tmp_path) as database:
            store = SqliteExperience(database)
            recorder = ExperienceRecorder(store, lambda _: None)
            advisor = BanditAdvisor(lambda _: None, recorder, Random(start), clock=lambda: _BEGAN)
            async for one in store.remembered():
                advisor.remember(one)
            async with in_background(recorder, "experience"):
                for number in range(10 if start == 0 else 0):
                    decision = advisor.choose(question)
                    advisor.learn(decision.decision_id, Result(0.1 * number, success=number > 2))
                advisor.choose(question)
                looks.append(
                    [
                        (option.tried, option.chance, option.seconds)
                        for option in advisor.history.latest()[0].options
                    ]
                )
    assert looks[0] == looks[1]
    assert sum(tried for tried, _, _ in looks[1]) > 9


_WRITER = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.store.test_experience import SqliteExperience, entry, opened

async def main():
    async with opened(Path({folder!r})) as database:
        store, number = SqliteExperience(database), 0
        while True:
            await store.append([entry(number + one) for one in range(7)], [])
            number += 7
            print(number, flush=True)

asyncio.run(main())
"""


@pytest.mark.timeout(60)
def test_kill_nine_loses_no_batch_that_was_answered_and_tears_none(tmp_path: Path) -> None:
    root = str(Path(__file__).parents[2])
    code = _WRITER.format(root=root, folder=str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        lines = [writer.stdout.readline() for _ in range(20)]
        writer.send_signal(signal.SIGKILL)
        lines += writer.stdout.readlines()
    answered = int(lines[-1])
    asyncio.run(_found(tmp_path, answered))


async def _found(folder: Path, answered: int) -> None:
    async with opened(folder) as database:  # the lock went with its holder
        assert database.crashed
        store = SqliteExperience(database)
        (totals,) = await store.totals("w", "s")
        assert totals["tried"] >= answered
        assert totals["tried"] % 7 == 0
        with closing(sqlite3.connect(folder / "test.db")) as other:
            assert other.execute("SELECT count(*) FROM experience").fetchone()[0] == totals["tried"]
