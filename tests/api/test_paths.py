"""Which of many applications answers at a path."""

from collections.abc import MutableMapping
from typing import Any

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from orchestration.api.app import ENDPOINTS
from orchestration.api.paths import Paths

PATHS = (
    "/ok", "/threads", "/threads/{thread_id}", "/threads/search", "/threads/{thread_id}/runs",
    "/threads/{thread_id}/runs/{run_id}", "/threads/{thread_id}/runs/wait",
)  # fmt: skip


async def _receive() -> MutableMapping[str, Any]:
    return {}


async def _send(_: MutableMapping[str, Any]) -> None:
    pass


async def answered(paths: tuple[str, ...], asked: str) -> tuple[str | None, dict[str, str]]:
    """Return the path that answers, and what stands for its names."""
    seen: list[tuple[str | None, dict[str, str]]] = []

    def at(path: str | None) -> ASGIApp:
        async def app(scope: Scope, _: Receive, __: Send) -> None:
            seen.append((path, scope.get("path_params", {})))

        return app

    app = Paths({path: at(path) for path in paths}, otherwise=at(None))
    await app({"type": "http", "path": asked}, _receive, _send)
    (only,) = seen
    return only


@pytest.mark.parametrize(
    ("asked", "path", "named"),
    [
        ("/ok", "/ok", {}),
        ("/threads/a", "/threads/{thread_id}", {"thread_id": "a"}),
        ("/threads/search", "/threads/search", {}),
        (
            "/threads/a/runs/b",
            "/threads/{thread_id}/runs/{run_id}",
            {"thread_id": "a", "run_id": "b"},
        ),
        ("/threads/a/runs/wait", "/threads/{thread_id}/runs/wait", {"thread_id": "a"}),
        ("/threads/a b\n", "/threads/{thread_id}", {"thread_id": "a b\n"}),
    ],
)
async def test_the_path_that_says_it_most_exactly_answers(
    asked: str, path: str, named: dict[str, str]
) -> None:
    assert await answered(PATHS, asked) == (path, named)


@pytest.mark.parametrize(
    "asked",
    ["", "*", "/", "ok", "/ok/", "/OK", "/ok\n", "/threads/", "/threads//runs", "/threads/a/other"],
)
async def test_what_is_none_of_the_paths_goes_elsewhere(asked: str) -> None:
    assert await answered(PATHS, asked) == (None, {})


@pytest.mark.parametrize("path", sorted({endpoint.path for endpoint in ENDPOINTS}))
async def test_no_path_of_the_service_is_hidden_by_another(path: str) -> None:
    paths = tuple({endpoint.path for endpoint in ENDPOINTS})
    asked = path.replace("{", "").replace("}", "")
    assert (await answered(paths, asked))[0] == path
