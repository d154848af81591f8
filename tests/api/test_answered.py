"""How requests are reported that were answered."""

import asyncio

from orchestration.api.answered import Answered
from orchestration.api.events import Event, RequestsAnswered


async def test_requests_are_reported_together_by_what_they_have_in_common() -> None:
    told: list[Event] = []
    answered = Answered(told.append)
    answered.add("/runs", "POST", 200, 0.1)
    answered.add("/runs", "POST", 503, 0.2)
    answered.add("/runs", "POST", 200, 0.3)
    answered.add("/runs", "GET", 200, 0.4)
    assert told == []
    answered.tell()
    assert told == [
        RequestsAnswered("/runs", "POST", 200, (0.1, 0.3)),
        RequestsAnswered("/runs", "POST", 503, (0.2,)),
        RequestsAnswered("/runs", "GET", 200, (0.4,)),
    ]
    answered.tell()
    assert len(told) == 3


async def test_requests_are_reported_by_themselves_and_so_are_those_after_them() -> None:
    told: asyncio.Queue[Event] = asyncio.Queue()
    answered = Answered(told.put_nowait)
    for took in (0.1, 0.2):
        answered.add("/runs", "POST", 200, took)
        assert await told.get() == RequestsAnswered("/runs", "POST", 200, (took,))
