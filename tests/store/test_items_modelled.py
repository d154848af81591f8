"""Whatever is done to the store, it shows what a dictionary and a clock would."""

import asyncio
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.store.items import Shop, open_items

MINUTE = 60.0

namespaces = st.sampled_from([("a",), ("a", "b"), ("a", "b", "c"), ("ab",), ("b",)])
keys = st.sampled_from(["k", "l"])
ttls = st.sampled_from([None, None, 10, 30])
actions = st.one_of(
    st.tuples(st.just("put"), namespaces, keys, st.integers(0, 3), ttls),
    st.tuples(st.just("delete"), namespaces, keys),
    st.tuples(st.just("get"), namespaces, keys, st.booleans()),
    st.tuples(st.just("search"), namespaces | st.just(()), st.booleans()),
    st.tuples(st.just("find"), st.integers(0, 3)),
    st.tuples(st.just("list"), st.none() | st.integers(1, 2)),
    st.tuples(st.just("wait"), st.sampled_from([1, 5, 10, 20])),
    st.tuples(st.just("sweep")),
)


@dataclass
class Kept:
    number: int
    ttl: float | None
    expires: float
    put: int


@dataclass
class Model:
    """What the store is meant to be."""

    items: dict[tuple[tuple[str, ...], str], Kept] = field(default_factory=dict)
    at: float = 0.0
    puts: int = 0

    def live(self) -> dict[tuple[tuple[str, ...], str], Kept]:
        return {name: kept for name, kept in self.items.items() if kept.expires > self.at}

    def refresh(self, *found: Kept) -> None:
        for kept in found:
            if kept.ttl is not None:
                kept.expires = self.at + kept.ttl * MINUTE

    def newest(self, prefix: tuple[str, ...]) -> list[tuple[tuple[str, ...], str]]:
        below = {n: k for n, k in self.live().items() if n[0][: len(prefix)] == prefix}
        return sorted(below, key=lambda name: -below[name].put)

    def do(self, action: tuple[Any, ...]) -> Any:
        match action:
            case "put", namespace, key, number, ttl:
                self.puts += 1
                expires = float("inf") if ttl is None else self.at + ttl * MINUTE
                self.items[namespace, key] = Kept(number, ttl, expires, self.puts)
            case "delete", namespace, key:
                self.items.pop((namespace, key), None)
            case "get", namespace, key, refresh:
                kept = self.live().get((namespace, key))
                if kept is not None and refresh:
                    self.refresh(kept)
                return kept and kept.number
            case "search", prefix, refresh:
                found = self.newest(prefix)
                if refresh:
                    self.refresh(*(self.items[name] for name in found))
                return found
            case "find", number:
                return [name for name in self.newest(()) if self.items[name].number >= number]
            case "list", depth:
                return sorted({namespace[:depth] for namespace, _ in self.live()})
            case "wait", minutes:
                self.at += minutes * MINUTE
            case _:
                self.items = self.live()
        return None


async def _do(shop: Shop, action: tuple[Any, ...]) -> Any:
    store = shop.store
    match action:
        case "put", namespace, key, number, ttl:
            await store.aput(namespace, key, {"n": number}, ttl=ttl)
        case "delete", namespace, key:
            await store.adelete(namespace, key)
        case "get", namespace, key, refresh:
            item = await store.aget(namespace, key, refresh_ttl=refresh)
            return item and item.value["n"]
        case "search", prefix, refresh:
            found = await store.asearch(prefix, refresh_ttl=refresh)
            return [(item.namespace, item.key) for item in found]
        case "find", number:
            asked = {"n": {"$gte": number}}
            found = await store.asearch((), filter=asked, refresh_ttl=False)
            return [(item.namespace, item.key) for item in found]
        case "list", depth:
            return sorted(await store.alist_namespaces(max_depth=depth))
        case "wait", minutes:
            shop.clock.at += minutes * MINUTE
        case _:
            await store.sweep()
    await shop.database.settled()
    return None


async def _compare(done: list[tuple[Any, ...]]) -> None:
    model = Model()
    with tempfile.TemporaryDirectory() as folder:
        async with open_items(Path(folder)) as shop:
            for action in done:
                assert await _do(shop, action) == model.do(action), action
                await shop.database.settled()  # what a read prolongs, it does not wait for
            assert await shop.rows("items") >= len(model.live())


@settings(max_examples=25, deadline=None)
@given(st.lists(actions, max_size=25))
def test_the_store_is_a_dictionary_with_a_clock(done: list[tuple[Any, ...]]) -> None:
    asyncio.run(_compare(done))
