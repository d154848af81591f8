"""Somebody's own store is to them what a store of theirs alone would be."""

import pytest
from langgraph.store.memory import InMemoryStore

from orchestration.graphs.own_store import OwnStore


@pytest.mark.parametrize(
    "suffix",
    [("diary",), ("*", "diary"), ("ada", "diary"), ("owners", "*", "diary"), ("ada", "ada", "*")],
)
def test_a_suffix_ends_before_the_owner_s_name(suffix: tuple[str, ...]) -> None:
    alone = InMemoryStore()
    own = OwnStore(InMemoryStore(), ("owners", "ada"))
    for store in (alone, own):
        for namespace in [("diary",), ("ada", "diary"), ("ada", "ada", "notes")]:
            store.put(namespace, "k", {})
    assert own.list_namespaces(suffix=suffix) == alone.list_namespaces(suffix=suffix)
