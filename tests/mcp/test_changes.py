"""Who is told of other tools: everybody, one after the other, and once of what changes at once."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from orchestration.api.endpoint import Call
from orchestration.mcp import changes as telling
from orchestration.mcp.changes import Changes
from orchestration.mcp.visit import Visit
from tests.mcp.client import until


class _Session:
    """The session of a client that takes what it is told once ``taking`` is set."""

    def __init__(self) -> None:
        self.reached, self.taking = asyncio.Event(), asyncio.Event()
        self.told: list[str] = []

    async def send_tool_list_changed(self) -> None:
        self.reached.set()
        await self.taking.wait()
        self.told.append("tools")

    async def send_prompt_list_changed(self) -> None:
        self.told.append("prompts")

    async def send_resource_list_changed(self) -> None:
        self.told.append("resources")


async def _begun(changes: Changes, name: str) -> _Session:
    async def receive() -> Any:
        raise NotImplementedError

    session = _Session()
    backend = cast("Any", None)
    call = Call(backend, {}, receive, {b"mcp-session-id": name.encode()})
    Visit(call)
    request = SimpleNamespace(scope=call.scope)
    await changes.initialized(cast("Any", SimpleNamespace(request=request, session=session)), None)
    return session


async def test_of_what_changes_while_sessions_are_told_they_are_told_once() -> None:
    changes = Changes()
    first, second = [await _begun(changes, name) for name in ("first", "second")]
    second.taking.set()
    changes.assistants_changed()
    await first.reached.wait()
    for _ in range(100):
        changes.assistants_changed()
    first.taking.set()
    await until(lambda: len(second.told) == 6)
    assert first.told == second.told == ["tools", "prompts", "resources"] * 2


async def test_a_session_that_takes_nothing_is_told_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(telling, "_PATIENCE", 0.01)
    changes = Changes()
    deaf, other = [await _begun(changes, name) for name in ("deaf", "other")]
    other.taking.set()
    changes.assistants_changed()
    await until(lambda: other.told)
    deaf.taking.set()
    changes.assistants_changed()
    await until(lambda: len(other.told) == 6)
    assert deaf.told == []


async def test_after_the_last_round_changes_are_told_again() -> None:
    changes = Changes()
    session = await _begun(changes, "one")
    session.taking.set()
    for number in (1, 2):
        changes.assistants_changed()
        await until(lambda: len(session.told) == 3 * number)  # noqa: B023 - waited for here
    changes.close()
    assert len(session.told) == 6
