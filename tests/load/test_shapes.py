from itertools import groupby

import pytest

from load.shapes import Burst, Ramp, Spike, Steady

HUNDREDTHS = [number / 100 for number in range(100)]


def users(shape: Steady | Burst | Ramp | Spike) -> list[int]:
    return [shape.at(progress) for progress in HUNDREDTHS]


def test_a_steady_shape_never_changes() -> None:
    assert set(users(Steady(kind="steady", users=7))) == {7}


def test_a_burst_has_four_peaks_that_take_a_quarter_of_the_time() -> None:
    found = users(Burst(kind="burst", users=2, peak=50))
    assert [number for number, _ in groupby(found)] == [2, 50, 2, 50, 2, 50, 2, 50, 2]
    assert found.count(50) == pytest.approx(25, abs=4)


def test_a_ramp_never_goes_down_and_ends_at_its_peak() -> None:
    shape = Ramp(kind="ramp", users=5, peak=105)
    assert users(shape) == sorted(users(shape))
    assert (shape.at(0), shape.at(0.5), shape.at(1)) == (5, 55, 105)


def test_a_spike_is_ten_times_as_high_for_a_third_of_the_time() -> None:
    found = users(Spike(kind="spike", users=3))
    assert [number for number, _ in groupby(found)] == [3, 30, 3]
    assert found.count(30) == pytest.approx(33, abs=1)
