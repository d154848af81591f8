import pytest

from load.bench.summary import Spread, milliseconds, percentile, spread


def test_a_percentile_lies_between_two_values_by_its_distance() -> None:
    assert percentile([40, 10, 30, 20], 50) == 25
    assert percentile([0, 10], 95) == pytest.approx(9.5)


@pytest.mark.parametrize(("share", "value"), [(0, 1.0), (100, 3.0)])
def test_the_ends_of_percentiles_are_the_lowest_and_the_highest(share: int, value: float) -> None:
    assert percentile([3.0, 1.0, 2.0], share) == value


def test_a_spread_is_the_median_and_the_range() -> None:
    assert spread([5.0, 1.0, 2.0]) == Spread(2.0, 1.0, 5.0)


def test_nothing_has_neither_a_percentile_nor_a_spread() -> None:
    with pytest.raises(ValueError, match="nothing was measured"):
        percentile([], 50)
    with pytest.raises(ValueError, match="nothing was measured"):
        spread([])


def test_latencies_are_told_in_milliseconds() -> None:
    assert milliseconds("first", [0.002]) == {
        "first p50 ms": 2.0,
        "first p95 ms": 2.0,
        "first p99 ms": 2.0,
    }
    assert milliseconds("first", []) == {}
