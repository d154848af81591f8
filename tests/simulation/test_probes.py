"""Hundreds of agents probed for a long virtual time."""

import asyncio
import os
from collections import Counter
from collections.abc import Callable
from random import Random

import pytest
import uvloop

from agents.configuration import Probing
from agents.prober import Prober
from tests.simulation.simloop import SimLoop, simulate

PERIODS = int(os.environ.get("PROBE_PERIODS", "200"))  # 10,000 takes some minutes
PERIOD = 10.0
JITTER = 0.2


class Subject:
    """Answers after a while drawn by chance, sometimes never."""

    def __init__(self, ward: "Ward") -> None:
        self.ward = ward
        self.begun: list[float] = []
        self.told = 0
        self.errors: list[str] = []

    async def probe(self) -> None:
        self.begun.append(asyncio.get_running_loop().time())
        self.ward.enter()
        try:
            await asyncio.sleep(self.ward.takes(self.ward.rng))
        finally:
            self.ward.in_flight -= 1

    def probed(self, began: float, took: float, error: str | None) -> None:
        self.told += 1
        if error is not None:
            self.errors.append(error)


class Ward:
    """Subjects, the most probes that were ever in flight, and the most timers."""

    def __init__(self, sim: SimLoop, count: int, **policy: float) -> None:
        self.sim = sim
        self.rng = Random(sim.rng.random())
        self.in_flight = self.most_in_flight = 0
        self.takes: Callable[[Random], float] = lambda rng: rng.random() * 0.02
        policy = {"period": PERIOD, "jitter": JITTER, **policy}
        self.prober = Prober(Probing.model_validate(policy), sim.rng)
        self.subjects = [Subject(self) for _ in range(count)]
        for subject in self.subjects:
            self.prober.add(subject)

    def enter(self) -> None:
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)


def timers(sim: SimLoop) -> int:
    return sum(not handle.cancelled() for handle in sim._scheduled)  # noqa: SLF001 - its own


def test_the_first_probes_are_spread_over_the_period() -> None:
    async def main(sim: SimLoop) -> Counter[int]:
        ward = Ward(sim, 500)
        await asyncio.sleep(PERIOD)
        ward.prober.close()
        return Counter(int(subject.begun[0]) for subject in ward.subjects if subject.begun)

    histogram = simulate(1, main)
    assert sum(histogram.values()) == 500
    # 50 are expected in each second; four standard deviations are 27.
    assert all(23 <= histogram[second] <= 77 for second in range(10)), histogram


def test_never_more_than_so_many_are_in_flight() -> None:
    async def main(sim: SimLoop) -> tuple[int, list[int]]:
        ward = Ward(sim, 500, at_once=4, timeout=1.0)
        ward.takes = lambda rng: rng.choice([0.01, 0.01, 0.05, 5.0])  # a quarter of them hangs
        most: list[int] = []
        sim.after_step = lambda: most.append(ward.prober.in_flight)
        await asyncio.sleep(100 * PERIOD)
        ward.prober.close()
        return max(ward.most_in_flight, *most), [subject.told for subject in ward.subjects]

    most, told = simulate(2, main)
    assert most == 4
    assert min(told) > 0, "one was never probed"
    assert max(told) - min(told) < 0.3 * max(told), "some are probed far more often than others"


@pytest.mark.timeout(1200)
def test_the_times_of_probes_do_not_drift() -> None:
    async def main(sim: SimLoop) -> Ward:
        ward = Ward(sim, 500)
        await asyncio.sleep(PERIODS * PERIOD)
        ward.prober.close()
        return ward

    ward = simulate(3, main)
    for subject in ward.subjects:
        first, *_, last = subject.begun
        assert len(subject.begun) in {PERIODS - 1, PERIODS, PERIODS + 1}
        # Each probe is within the jitter of its place on a grid that began with the first.
        drift = (last - first) - (len(subject.begun) - 1) * PERIOD
        assert abs(drift) <= JITTER * PERIOD + 1
    gaps = [b - a for a, b in zip(subject.begun, subject.begun[1:], strict=False)]
    assert max(gaps) - min(gaps) > PERIOD * JITTER, "there is no jitter"


def test_there_is_one_timer_however_many_are_probed() -> None:
    async def main(sim: SimLoop) -> list[int]:
        ward = Ward(sim, 500)
        ward.takes = lambda _: 0.0
        counts = [timers(sim)]
        for _ in range(50):
            await asyncio.sleep(0.7)
            counts.append(timers(sim))
        ward.prober.close()
        return [*counts, timers(sim)]

    *counts, after = simulate(4, main)
    assert set(counts) == {1}
    assert after == 0


def test_a_hung_probe_is_a_failed_probe() -> None:
    async def main(sim: SimLoop) -> list[str]:
        ward = Ward(sim, 1, timeout=2.0)
        ward.takes = lambda _: 1_000.0
        await asyncio.sleep(2 * PERIOD)
        ward.prober.close()
        return ward.subjects[0].errors

    assert set(simulate(5, main)) == {"no answer within 2 s"}


def test_of_one_who_is_gone_nothing_is_told() -> None:
    async def main(sim: SimLoop) -> int:
        ward = Ward(sim, 2, timeout=2.0)
        ward.takes = lambda _: 1.0
        while not ward.in_flight:  # noqa: ASYNC110 - virtual time
            await asyncio.sleep(0.01)
        begun = [subject for subject in ward.subjects if subject.begun]
        ward.prober.discard(begun[0])
        await asyncio.sleep(5 * PERIOD)
        ward.prober.close()
        return begun[0].told

    assert simulate(6, main) == 0


def test_it_keeps_time_on_uvloop_too() -> None:
    async def main() -> int:
        told = asyncio.Event()

        class Quick:
            count = 0

            async def probe(self) -> None:
                pass

            def probed(self, began: float, took: float, error: str | None) -> None:
                self.count += 1
                if self.count == 100:
                    told.set()

        quick = Quick()
        prober = Prober(Probing(period=1e-6, jitter=0.5), Random(1))
        prober.add(quick)
        prober.add(Quick())
        await told.wait()
        prober.close()
        return quick.count

    assert uvloop.run(main()) >= 100
