"""Figures of the last minute, hour and day, counted once."""

import orjson
import pytest

from operations.rolling import ACCURACY, Rolling, bin_of, middle_of

NOON = 1_700_000_000.0 // 3_600 * 3_600


def test_each_window_counts_what_happened_in_it() -> None:
    rolling = Rolling()
    for number in range(4_000):  # one every ten seconds, for eleven hours
        rolling.add(NOON + number * 10, 0.5, success=number % 2 == 0)
    figures = rolling.summary(NOON + 39_990)
    # A window ends now and begins with a whole bucket: of 10 s, of 5 min, of 1 h.
    assert [figures[window]["count"] for window in ("1m", "1h", "1d")] == [7, 370, 4_000]
    assert [figures[window]["success"] for window in ("1m", "1h", "1d")] == [3, 185, 2_000]


def test_what_is_over_is_no_longer_counted() -> None:
    rolling = Rolling()
    rolling.add(NOON, 1.0, success=True)
    counts = [
        [figures["count"] for figures in rolling.summary(NOON + later).values()]
        for later in (0, 59, 75, 3_500, 3_950, 86_000, 95_000)
    ]
    assert counts == [
        [1, 1, 1], [1, 1, 1], [0, 1, 1], [0, 1, 1], [0, 0, 1], [0, 0, 1], [0, 0, 0],
    ]  # fmt: skip


def test_percentiles_are_those_of_all_values_within_two_percent() -> None:
    rolling = Rolling()
    for number in range(1, 1_001):
        rolling.add(NOON + number * 3, number / 100, success=True)
    figures = rolling.summary(NOON + 3_000)["1d"]
    assert figures["p50"] == pytest.approx(5.0, rel=2 * ACCURACY)
    assert figures["p95"] == pytest.approx(9.5, rel=2 * ACCURACY)
    assert figures["p99"] == pytest.approx(9.9, rel=2 * ACCURACY)


def test_where_nothing_happened_there_are_no_percentiles() -> None:
    assert Rolling().summary(NOON)["1m"] == {
        "count": 0, "success": 0, "p50": None, "p95": None, "p99": None,
    }  # fmt: skip


def test_they_are_the_same_after_they_were_written_down_and_read() -> None:
    rolling = Rolling()
    for number in range(700):
        rolling.add(NOON + number * 7, number / 10, success=True)
    read = Rolling.load(orjson.loads(orjson.dumps(rolling.dump())))
    assert read.summary(NOON + 4_900) == rolling.summary(NOON + 4_900)
    read.add(NOON + 4_901, 1.0, success=True)
    assert read.summary(NOON + 4_901)["1d"]["count"] == 701


def test_a_clock_that_is_set_back_loses_nothing() -> None:
    rolling = Rolling()
    rolling.add(NOON + 7_200, 1.0, success=True)
    rolling.add(NOON, 1.0, success=True)
    assert rolling.summary(NOON + 7_200)["1d"]["count"] == 2


def test_after_a_clock_was_set_back_the_windows_go_on_to_what_happens_then() -> None:
    rolling = Rolling()
    for number in range(360):  # one every ten seconds, for the hour before noon
        rolling.add(NOON - 3_600 + number * 10, 1.0, success=True)
    back = NOON - 7_200  # two hours before; nothing happens any more
    counts = [
        [figures["count"] for figures in rolling.summary(back + later).values()]
        for later in (0, 100, 3_500, 4_200, 7_200, 90_000)
    ]
    assert counts == [
        [7, 360, 360], [0, 360, 360], [0, 360, 360], [0, 0, 360], [0, 0, 360], [0, 0, 0],
    ]  # fmt: skip


def test_a_clock_that_was_ahead_by_a_year_does_not_stop_the_windows_for_a_year() -> None:
    rolling = Rolling()
    for at in (NOON + 31_536_000, NOON, NOON + 120, NOON + 240):
        rolling.add(at, 1.0, success=True)
    figures = rolling.summary(NOON + 240)
    assert [figures[window]["count"] for window in ("1m", "1h", "1d")] == [1, 4, 4]


@pytest.mark.parametrize("took", [0.0, 1e-9, 0.000_1, 0.003, 1.0, 59.9, 1e6, 1e9])
def test_what_is_counted_at_once_is_counted_as_one_by_one(took: float) -> None:
    singly, at_once = Rolling(), Rolling()
    for number in range(30):
        singly.add(NOON, took, success=number < 20)
    at_once.add(NOON, middle_of(bin_of(took)), success=True, times=20)
    at_once.add(NOON, middle_of(bin_of(took)), success=False, times=10)
    assert at_once.summary(NOON) == singly.summary(NOON)
    assert at_once.summary(NOON)["1m"]["success"] == 20
