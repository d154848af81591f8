"""The wall clock, as text."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from operations.clock import iso, iso_now, iso_of, utc_now

MICROSECOND = timedelta(microseconds=1)


@given(st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1)))  # noqa: DTZ001 - hypothesis asks for it
def test_seconds_are_written_as_the_time_that_they_are(naive: datetime) -> None:
    at = naive.replace(tzinfo=UTC)
    text = iso_of(at.timestamp())
    assert abs(datetime.fromisoformat(text) - at) <= MICROSECOND
    assert len(text) == len(iso(at))


def test_a_fraction_that_rounds_up_to_a_second_is_one() -> None:
    assert iso_of(59.9999999) == "1970-01-01T00:01:00.000000+00:00"


def test_the_present_is_between_what_was_before_and_what_is_after() -> None:
    before = iso(utc_now() - MICROSECOND)
    now = iso_now()
    assert before <= now <= iso(utc_now() + MICROSECOND)
