"""What each error is to a client."""

import gc
from pathlib import Path

import pytest

from operations.errors import StorageFull, StorageUnavailable
from orchestration.api.problems import Problem, problem, respond
from orchestration.loop import errors
from orchestration.loop.rate import Allowance
from orchestration.store.assistants import AssistantExists
from orchestration.store.threads import ThreadExists
from tests.api.client import open_client


@pytest.mark.parametrize(
    ("error", "status", "retry_after"),
    [
        (errors.QueueFull(5, 1.2), 503, range(2, 3)),
        (errors.RateLimited("me", 1.0, 7.0, Allowance(1, 1.0, 0, 1.0)), 429, range(7, 8)),
        (errors.AskedTwice(), 409, range(1, 3)),
        (errors.Draining(), 503, range(5, 11)),
        (StorageFull("no room on /secret/path"), 507, None),
        (StorageUnavailable("/secret/path is locked"), 503, range(5, 11)),
        (errors.ThreadBusy("t"), 409, None),
        (errors.ThreadNotFound("t"), 404, None),
        (ThreadExists("t"), 409, None),
        (AssistantExists("a"), 409, None),
        (RuntimeError("/secret/path"), 500, None),
        (Problem(418, "tea"), 418, None),
    ],
)
def test_an_error_has_its_status_and_says_when_to_come_back(
    error: Exception, status: int, retry_after: range | None
) -> None:
    found = problem(error)
    assert found.status == status
    asked = found.headers.get("retry-after")
    assert asked is None if retry_after is None else int(asked or 0) in retry_after
    assert "/secret/path" not in found.detail


def test_not_everybody_is_told_to_come_back_at_once() -> None:
    waits = {problem(errors.Draining()).headers["retry-after"] for _ in range(100)}
    assert len(waits) > 2


def test_every_answer_has_an_id_to_find_it_by() -> None:
    bodies = {bytes(respond(Problem(404, "gone"), "/x").body) for _ in range(2)}
    assert len(bodies) == 2


async def test_what_was_refused_leaves_nothing_for_the_garbage_collector(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo") as client:
        gc.disable()
        try:
            assert (await client.get("/threads/none")).status_code == 422
            left = [one for one in gc.get_objects() if type(one) is Problem and one.status == 422]
            assert left == []
        finally:
            gc.enable()
