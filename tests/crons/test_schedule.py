"""When a schedule is due: in UTC, in a time zone, over the changes to and from summer time."""

import time
from datetime import UTC, datetime
from itertools import pairwise

import pytest

from orchestration.crons.schedule import BadSchedule, parse_schedule


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def dues(expression: str, zone: str | None, start: str, count: int) -> list[str]:
    schedule, at, found = parse_schedule(expression, zone), utc(start), list[str]()
    for _ in range(count):
        due = schedule.after(at)
        assert due is not None
        found.append(f"{due:%m-%d %H:%M}")
        at = due
    return found


def test_without_a_time_zone_it_is_utc() -> None:
    assert dues("30 5 * * *", None, "2026-01-01 05:30", 2) == ["01-02 05:30", "01-03 05:30"]


def test_a_time_zone_moves_with_its_summer_time() -> None:
    found = dues("0 9 * * *", "America/New_York", "2026-03-07 00:00", 2)
    assert found == ["03-07 14:00", "03-08 13:00"]


def test_what_a_gap_skips_is_due_at_its_end_and_once() -> None:
    found = dues("30 2 * * *", "Europe/Berlin", "2026-03-28 12:00", 2)
    assert found == ["03-29 01:00", "03-30 00:30"]  # 03:00 and 02:30 in Berlin


def test_what_comes_twice_is_due_the_first_time_only() -> None:
    found = dues("30 2 * * *", "Europe/Berlin", "2026-10-24 12:00", 2)
    assert found == ["10-25 00:30", "10-26 01:30"]


def test_within_the_second_of_two_hours_nothing_is_due_that_is_over() -> None:
    due = parse_schedule("30 2 * * *", "Europe/Berlin").after(utc("2026-10-25 01:10"))
    assert due == utc("2026-10-26 01:30")


@pytest.mark.parametrize("start", ["2026-03-28 22:00", "2026-10-24 22:00"])
def test_what_follows_the_time_that_passes_never_waits_longer(start: str) -> None:
    schedule, at = parse_schedule("*/30 * * * *", "Europe/Berlin"), utc(start)
    found = [at]
    for _ in range(20):
        at = schedule.after(at) or at
        found.append(at)
    assert {(after - before).total_seconds() for before, after in pairwise(found)} == {1800.0}


def test_nothing_is_due_after_the_end() -> None:
    schedule = parse_schedule("0 0 * * *", None)
    at, end = utc("2026-01-01 12:00"), utc("2026-01-02 00:00")
    assert schedule.after(at, end) == end
    assert schedule.after(end, end) is None


def test_the_usual_names_are_known() -> None:
    assert dues("@Daily", None, "2026-01-01 12:00", 1) == ["01-02 00:00"]


BAD = {
    "six fields": ("* * * * * *", "five fields"),
    "one word": ("whenever", "five fields"),
    "nothing": ("", "five fields"),
    "a start of the machine": ("@reboot", "there are @yearly"),
    "the 30th of February": ("0 0 30 2 *", "day-of-month"),
    "minute 60": ("60 * * * *", "minute"),
    "a million minutes": ("0-1000000 * * * *", "minute"),
    "a million terms": ("0," * 1_000_000 + "0 * * * *", "255 characters"),
    "a step of nothing": ("*/0 * * * *", "minute"),
    "steps of steps": ("*/2/2/2 * * * *", "minute"),
    "digits of another script": ("٣ * * * *", "ASCII"),
    "NUL": ("\0 * * * *", "minute"),
}


@pytest.mark.parametrize(("expression", "said"), BAD.values(), ids=BAD.keys())
def test_a_bad_schedule_is_refused_at_once(expression: str, said: str) -> None:
    began = time.thread_time()
    with pytest.raises(BadSchedule, match=r"^schedule: ") as error:
        parse_schedule(expression, "Europe/Berlin")
    assert time.thread_time() - began < 0.1
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("zone", "said"),
    [
        ("Europe/Berln", "did you mean 'Europe/Berlin'"),
        ("../../etc/passwd", "no time zone"),
        ("/etc/passwd", "no time zone"),
        ("America", "no time zone"),
        ("", "no time zone"),
        ("\0", "no time zone"),
        ("x" * 10_000, "no time zone"),
    ],
)
def test_a_time_zone_that_there_is_not_is_refused(zone: str, said: str) -> None:
    with pytest.raises(BadSchedule, match=said) as error:
        parse_schedule("* * * * *", zone)
    assert len(str(error.value)) < 300
