"""Whether experience stays as cheap to keep and to find when there is a million of it.

    .venv/bin/python load/experience.py [ENTRIES]

Batches of 100 results, of 50 steps by 3 variants, are appended as the service does; after each, the
ten best of a step are asked for. Then the same with a store that keeps a tenth. Times are of the
processor, all threads together, so that what else the machine does hardly counts.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from random import Random

from coordinator.advice import Arm, Features, Result
from coordinator.belief import Belief
from coordinator.experience import Experience, Learned, Problem
from coordinator.reward import reward
from operations.database import open_database
from operations.migrations import load_migrations
from orchestration.store.experience import SqliteExperience

BATCH = 100
STEPS = 50
PARTS = 10  # of the whole, each with a line of its own


def results(rng: Random, start: int) -> list[Experience]:
    """Return a batch of results."""
    return [
        Experience(
            decision_id=f"01919a6e-0000-7000-8000-{start + number:012}",
            at=datetime.now(UTC),
            problem=Problem(None, "bench", f"step{rng.randrange(STEPS)}"),
            arm=Arm(variant=f"variant{rng.randrange(3)}"),
            features=Features(5, 2, 5, rng.random()),
            result=(result := Result(rng.expovariate(1.0), rng.random() < 0.9)),  # noqa: PLR2004
            reward=reward(result),
        )
        for number in range(BATCH)
    ]


def learned(entries: Sequence[Experience]) -> list[Learned]:
    """Return what is learned of their arms."""
    numbers = Belief(0.0).numbers()
    arms = {(entry.problem, entry.arm) for entry in entries}
    return [Learned(problem, arm, numbers, 0.0) for problem, arm in arms]


async def fill(store: SqliteExperience, entries: int, size: Callable[[], float]) -> None:
    """Append so many, and say for each part what an append and a look took."""
    rng = Random(1)
    each = entries // PARTS
    for part in range(PARTS):
        appends, looks = list[float](), list[float]()
        for start in range(0, each, BATCH):
            batch = results(rng, part * each + start)
            beliefs = learned(batch)
            began = time.process_time()
            await store.append(batch, beliefs)
            between = time.process_time()
            best = await store.best("bench", f"step{rng.randrange(STEPS)}", 10)
            looks.append(time.process_time() - between)
            appends.append(between - began)
            if not best and part:
                raise SystemExit("the best were not found")
        print(
            f"{(part + 1) * each:>9,} appended: a batch of {BATCH} {_spread(appends)}, "
            f"the ten best {_spread(looks)}, {size():,.0f} MiB"
        )


def _size(file: Path) -> float:
    return file.stat().st_size / 1024**2


def _spread(seconds: Sequence[float]) -> str:
    cuts = statistics.quantiles(seconds, n=20)
    return f"{statistics.median(seconds) * 1000:.2f} ms (95 %: {cuts[-1] * 1000:.2f})"


async def main(entries: int) -> None:
    """Fill one that keeps everything, then one that keeps a tenth."""
    migrations = load_migrations("orchestration.store.migrations")
    for kept in (entries, entries // 10):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "experience.db"
            async with open_database(file, migrations) as database:
                print(f"keeping {kept:,}")
                await fill(SqliteExperience(database, kept=kept), entries, partial(_size, file))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000))
