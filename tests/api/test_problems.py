"""What each error is to a client."""

import pytest

from operations.errors import StorageFull, StorageUnavailable
from orchestration.api.problems import Problem, problem, respond
from orchestration.loop import errors
from orchestration.store.assistants import AssistantExists
from orchestration.store.threads import ThreadExists


@pytest.mark.parametrize(
    ("error", "status", "retry_after"),
    [
        (errors.QueueFull(5, 1.2), 503, "2"),
        (errors.RateLimited("me", 1.0, 7.0), 429, "7"),
        (errors.Draining(), 503, "5"),
        (StorageFull("no room on /secret/path"), 507, None),
        (StorageUnavailable("/secret/path is locked"), 503, "5"),
        (errors.ThreadBusy("t"), 409, None),
        (errors.ThreadNotFound("t"), 404, None),
        (ThreadExists("t"), 409, None),
        (AssistantExists("a"), 409, None),
        (RuntimeError("/secret/path"), 500, None),
        (Problem(418, "tea"), 418, None),
    ],
)
def test_an_error_has_its_status_and_says_when_to_come_back(
    error: Exception, status: int, retry_after: str | None
) -> None:
    found = problem(error)
    assert (found.status, found.headers.get("retry-after")) == (status, retry_after)
    assert "/secret/path" not in found.detail


def test_every_answer_has_an_id_to_find_it_by() -> None:
    bodies = {bytes(respond(Problem(404, "gone"), "/x").body) for _ in range(2)}
    assert len(bodies) == 2
