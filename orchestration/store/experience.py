"""What was decided and how it went, in SQLite: appended in batches, bounded, oldest first out."""

import sqlite3
from collections.abc import AsyncGenerator, Sequence
from functools import partial
from typing import Any

import orjson

from coordinator.advice import Arm
from coordinator.belief import Belief
from coordinator.experience import Experience, Learned, Problem, Remembered
from operations.clock import iso
from operations.database import Database

KEPT = 100_000  # entries, some 20 MB with their index
KEPT_ARMS = 10_000  # ways to do something, some 10 MB
PAGE = 1_000  # rows that are read, or forgotten, at once

_APPEND = f"INSERT INTO experience VALUES (NULL{', ?' * 16})"  # noqa: S608 - constant
_ADD_UP = """
INSERT INTO experience_arms VALUES (?, ?, ?, ?, ?, ?, 1, ?, ?, ?, ?, ?, '')
ON CONFLICT DO UPDATE SET tried = tried + 1, succeeded = succeeded + excluded.succeeded,
    duration = duration + excluded.duration, cost = cost + excluded.cost,
    reward = reward + excluded.reward, last_at = excluded.last_at
"""
_LEARN = """
UPDATE experience_arms SET belief = ?
WHERE owner = ? AND workflow = ? AND step = ? AND mode = ? AND variant = ? AND pool = ?
"""
_FORGET = """
DELETE FROM experience WHERE number <= (SELECT max(number) FROM experience) - ?
    AND number < (SELECT min(number) FROM experience) + ?
"""
_FORGET_ARMS = """
DELETE FROM experience_arms WHERE (workflow, step, owner, mode, variant, pool) IN (
    SELECT workflow, step, owner, mode, variant, pool FROM experience_arms
    ORDER BY last_at LIMIT max(0, min(?, (SELECT count(*) FROM experience_arms) - ?)))
"""
_ARMS = """
SELECT * FROM experience_arms
WHERE (workflow, step, owner, mode, variant, pool) > (?, ?, ?, ?, ?, ?)
ORDER BY workflow, step, owner, mode, variant, pool LIMIT ?
"""
_ENTRIES = "SELECT * FROM experience WHERE number > ? ORDER BY number LIMIT ?"
_BEST = """
SELECT * FROM experience WHERE workflow = ? AND step = ?
ORDER BY reward DESC, number DESC LIMIT ?
"""
_TOTALS = """
SELECT * FROM experience_arms WHERE workflow = ? AND step = ?
ORDER BY workflow, step, owner, mode, variant, pool LIMIT ?
"""


class SqliteExperience:
    """Keeps the last ``kept`` entries, and what all entries come to for each arm.

    Nothing is ever rewritten but the sums of the arms that entries are appended for.
    """

    def __init__(self, database: Database, *, kept: int = KEPT, kept_arms: int = KEPT_ARMS) -> None:
        self._database = database
        self._kept = kept
        self._kept_arms = kept_arms

    async def append(self, entries: Sequence[Experience], learned: Sequence[Learned]) -> None:
        """Add entries in one transaction, and forget as many that are too old, twice as many.

        It does not wait for the disk: no death of the process undoes it, a loss of power may.
        """
        rows = [_row(entry) for entry in entries]
        beliefs = [(_belief(one), *_key(one.problem, one.arm)) for one in learned]
        append = partial(_append, rows, beliefs, self._kept, self._kept_arms)
        await self._database.write(append, synced=False)

    async def remembered(self) -> AsyncGenerator[Remembered]:
        """Yield what is known of each arm, reading a page at a time."""
        after = ("",) * 6
        while page := await self._read(_ARMS, *after, PAGE):
            for row in page:
                belief = _believed(row["belief"])
                if belief is not None:
                    yield Remembered(_problem(row), _arm(row), belief)
            last = page[-1]
            after = (*(last[name] for name in ("workflow", "step", "owner")), *_arm_key(_arm(last)))

    async def entries(self, after: int, limit: int = PAGE) -> list[sqlite3.Row]:
        """Return entries with a number beyond ``after``, in their order: a page of the stream."""
        return await self._read(_ENTRIES, after, min(limit, PAGE))

    async def best(self, workflow: str, step: str | None, limit: int) -> list[sqlite3.Row]:
        """Return the entries with the greatest rewards, of several the latest first."""
        return await self._read(_BEST, workflow, step or "", min(limit, PAGE))

    async def totals(self, workflow: str, step: str | None) -> list[sqlite3.Row]:
        """Return what all entries of a workflow, or a step of it, come to for each arm."""
        return await self._read(_TOTALS, workflow, step or "", PAGE)

    async def _read(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        return await self._database.read(lambda c: c.execute(sql, values).fetchall())


def _append(
    rows: Sequence[tuple[Any, ...]],
    beliefs: Sequence[tuple[Any, ...]],
    kept: int,
    kept_arms: int,
    connection: sqlite3.Connection,
) -> None:
    connection.executemany(_APPEND, rows)
    connection.executemany(
        _ADD_UP, [(*row[2:8], row[13], row[12], *row[14:], row[1]) for row in rows]
    )
    connection.executemany(_LEARN, beliefs)
    connection.execute(_FORGET, (kept, 2 * len(rows)))
    connection.execute(_FORGET_ARMS, (PAGE, kept_arms))


def _row(entry: Experience) -> tuple[Any, ...]:
    features, result = entry.features, entry.result
    return (
        entry.decision_id,
        iso(entry.at),
        *_key(entry.problem, entry.arm),
        features.steps,
        features.width,
        features.priority,
        features.load,
        result.duration,
        int(result.success),
        result.cost,
        entry.reward,
    )


def _key(problem: Problem, arm: Arm) -> tuple[str, ...]:
    return (problem.owner or "", problem.workflow, problem.step or "", *_arm_key(arm))


def _arm_key(arm: Arm) -> tuple[str, str, str]:
    return (arm.mode or "", arm.variant or "", arm.pool or "")


def _belief(learned: Learned) -> str:
    return orjson.dumps([learned.numbers, learned.at]).decode()


def _believed(text: str) -> Belief | None:
    numbers, at = orjson.loads(text) if text else ((), 0.0)
    return Belief.of(numbers, at)


def _problem(row: sqlite3.Row) -> Problem:
    return Problem(row["owner"] or None, row["workflow"], row["step"] or None)


def _arm(row: sqlite3.Row) -> Arm:
    return Arm(row["mode"] or None, row["variant"] or None, row["pool"] or None)
