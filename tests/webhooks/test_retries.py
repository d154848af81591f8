"""When a delivery is tried again."""

from datetime import UTC, datetime
from random import Random

import pytest

from orchestration.webhooks.retries import JITTER, WAITS, asked_wait, next_wait

NOW = datetime(2026, 7, 28, 12, 0, tzinfo=UTC)
DAY = 86_400.0


@pytest.mark.parametrize(("attempts", "wait"), list(enumerate(WAITS, start=1)))
def test_each_wait_is_that_of_the_schedule_and_a_little_more(attempts: int, wait: float) -> None:
    waits = [next_wait(attempts, 0.0, Random(seed)) or 0.0 for seed in range(50)]
    assert wait <= min(waits) < max(waits) <= wait * (1 + JITTER)


def test_the_tenth_attempt_is_the_last() -> None:
    assert next_wait(10, 0.0, Random(1)) is None


def test_a_receiver_can_ask_for_a_longer_wait_and_not_for_a_shorter_one() -> None:
    assert next_wait(1, 60.0, Random(1)) == 60.0
    assert (next_wait(2, 60.0, Random(1)) or 0.0) >= 300


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, 0.0),
        ("120", 120.0),
        ("-5", 0.0),
        ("999999999999999999999999999", DAY),
        ("Tue, 28 Jul 2026 12:01:00 GMT", 60.0),
        ("Tue, 28 Jul 2026 12:01:00 -0000", 60.0),
        ("Mon, 27 Jul 2026 12:01:00 GMT", 0.0),
        ("Wed, 28 Jul 2027 12:00:00 GMT", DAY),
        ("Mon, 01 Jan 3000000000 00:00:00 GMT", 0.0),
        ("Mon, 01 Jan 99999999999999999999 00:00:00 GMT", 0.0),
        ("Tue, 28 Jul 2026 12:01:00 +99999999999999999999", 0.0),
        ("soon", 0.0),
        ("", 0.0),
    ],
)
def test_retry_after_is_a_number_or_a_date(header: str | None, seconds: float) -> None:
    assert asked_wait(header, NOW) == seconds
