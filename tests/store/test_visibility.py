"""What a caller sees of what others made."""

from pathlib import Path

import pytest

from orchestration.store.assistants import AssistantQuery, AssistantStore
from orchestration.store.thread_search import ThreadQuery
from orchestration.store.visibility import sees, stamped
from tests.store.shelf import open_shelf

ALICE, BOB = {"owner": "alice"}, {"owner": "bob"}


@pytest.mark.parametrize(
    ("visible", "metadata", "seen"),
    [
        (None, {}, True),
        ({}, {}, True),
        (ALICE, {"owner": "alice", "more": 1}, True),
        (ALICE, {"owner": "Alice"}, False),
        (ALICE, {}, False),
        ({"readers": ["a"]}, {"readers": ["b", "a"]}, True),
        ({"readers": ["a", "c"]}, {"readers": ["b", "a"]}, False),
        ({"readers": ["a"]}, {"readers": "a"}, False),
    ],
)
def test_metadata_decide_what_is_seen(
    visible: dict[str, object] | None, metadata: dict[str, object], seen: bool
) -> None:
    assert sees(visible, metadata) is seen


def test_a_stamp_replaces_what_a_client_wrote_and_fills_lists_up() -> None:
    stamp = {"owner": "alice", "readers": ["a"]}
    given = {"owner": "bob", "readers": ["b"], "kept": 1}
    assert stamped(given, stamp) == {"owner": "alice", "readers": ["b", "a"], "kept": 1}


async def test_a_thread_of_another_is_not_there(tmp_path: Path) -> None:
    async with open_shelf(tmp_path) as shelf:
        threads = shelf.threads
        await threads.create("t", ALICE)
        assert threads.get("t", BOB) is None
        assert not await threads.patch("t", {"owner": "bob"}, BOB)
        assert not await threads.delete("t", BOB)
        assert await threads.among(["t", "x"], BOB) == frozenset()
        assert await threads.count(ThreadQuery(visible=BOB)) == 0
        assert await threads.count(ThreadQuery(visible=BOB, metadata=ALICE)) == 0
        assert await threads.among(["t", "x"], ALICE) == {"t"}
        assert len(await threads.search(ThreadQuery(visible=ALICE))) == 1
        assert await threads.delete("t", ALICE)


async def test_an_assistant_of_another_is_not_there(tmp_path: Path) -> None:
    async with open_shelf(tmp_path) as shelf:
        assistants = AssistantStore(shelf.database)
        await assistants.create("a", {"graph_id": "g", "name": "n", "metadata": ALICE})
        assert assistants.get("a", BOB) is None
        assert assistants.get("a", ALICE) is not None
        assert await assistants.search(AssistantQuery(visible=BOB)) == []
        assert await assistants.count(AssistantQuery(visible=ALICE)) == 1
