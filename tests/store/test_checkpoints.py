"""The checkpoint saver: what is put is found and listed, also from other threads."""

import asyncio
import inspect
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.graph import START, StateGraph
from langgraph.pregel._checkpoint import put_writes_accepts_task_path

from operations.database import DiskFull
from orchestration.store.checkpoint_search import UnsafeFilter
from tests.store.checkpointing import (
    State,
    at,
    ids,
    ids_of,
    opened,
    put,
    put_chain,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "masterloop.sqlite"


async def test_the_latest_checkpoint_is_the_one_put_last(path: Path) -> None:
    async with opened(path) as (_, saver):
        first, second = await put_chain(saver, 2)
        found = await saver.aget_tuple(at("t"))
        assert found is not None
        assert (found.config, found.parent_config) == (second, first)


async def test_a_checkpoint_is_found_by_its_id_under_the_config_that_asked(path: Path) -> None:
    async with opened(path) as (_, saver):
        first, _second = await put_chain(saver, 2)
        asked = at("t", checkpoint_id=ids_of([first])[0], extra="1")
        found = await saver.aget_tuple(asked)
        assert found is not None
        assert (found.config, found.metadata["step"], found.parent_config) == (asked, 0, None)


async def test_there_is_no_checkpoint_where_none_was_put(path: Path) -> None:
    async with opened(path) as (_, saver):
        await put(saver, at("t"))
        assert await saver.aget_tuple(at("other")) is None
        assert await saver.aget_tuple(at("t", checkpoint_id="absent")) is None
        assert await saver.aget_tuple(at("t", checkpoint_ns="sub")) is None


async def test_nobody_looks_on_a_thread_that_was_made_just_now(path: Path) -> None:
    async with opened(path) as (database, saver):
        await put(saver, at("t"))
        saver.rows.begin("t")
        assert await saver.aget_tuple(at("t")) is None
        config = await put(saver, at("t"))
        assert await saver.aget_tuple(config) is not None
        found = await saver.aget_tuple(at("t"))
        assert found is not None
        assert found.config["configurable"] == config["configurable"]
        assert database.all("SELECT count(*) FROM checkpoints")[0][0] == 2


async def test_what_is_copied_to_a_thread_made_just_now_is_found(path: Path) -> None:
    async with opened(path) as (_, saver):
        await put(saver, at("t"))
        saver.rows.begin("copy")
        await saver.acopy_thread("t", "copy")
        assert await saver.aget_tuple(at("copy")) is not None


async def test_a_namespace_of_a_subgraph_is_looked_at_on_a_new_thread_too(path: Path) -> None:
    async with opened(path) as (_, saver):
        saver.rows.begin("t")
        await put(saver, at("t", checkpoint_ns="sub"))
        assert await saver.aget_tuple(at("t", checkpoint_ns="sub")) is not None


async def test_the_metadata_hold_what_the_config_says_of_the_run(path: Path) -> None:
    async with opened(path) as (_, saver):
        await put(saver, at("t", run_id="r"))
        found = await saver.aget_tuple(at("t"))
        assert found is not None
        assert found.metadata == {"source": "loop", "step": 0, "run_id": "r"}


async def test_metadata_that_are_not_quite_json_are_kept_as_the_library_keeps_them(
    path: Path,
) -> None:
    async with opened(path) as (_, saver):
        await put(saver, at("t"), big=2**70, torn="a\ud800b")
        found = await saver.aget_tuple(at("t"))
        assert found is not None
        assert {"big": 2**70, "torn": "ab"}.items() <= dict(found.metadata).items()


async def test_a_tasks_writes_are_stored_once_and_its_special_ones_replaced(path: Path) -> None:
    async with opened(path) as (_, saver):
        config = await put(saver, at("t"))
        for value in "ab":
            await saver.aput_writes(config, [("log", value), ("answer", value)], "task")
            await saver.aput_writes(config, [("__resume__", value)], "task")
        found = await saver.aget_tuple(config)
        assert found is not None
        assert found.pending_writes == [
            ("task", "__resume__", "b"),
            ("task", "log", "a"),
            ("task", "answer", "a"),
        ]


async def test_writes_are_read_in_the_order_of_path_task_and_index(path: Path) -> None:
    async with opened(path) as (_, saver):
        config = await put(saver, at("t"))
        await saver.aput_writes(config, [("log", "3")], "a", "~__pregel_pull, y")
        await saver.aput_writes(config, [("log", "2")], "b", "~__pregel_pull, x")
        await saver.aput_writes(config, [("log", "1")], "c")
        found = await saver.aget_tuple(config)
        assert found is not None
        assert [value for _, _, value in found.pending_writes or []] == ["1", "2", "3"]


async def test_langgraph_sees_that_writes_have_a_path(path: Path) -> None:
    async with opened(path) as (_, saver):
        assert put_writes_accepts_task_path(saver.aput_writes)
        parameters = inspect.signature(saver.aput_writes).parameters
        assert [*parameters] == ["config", "writes", "task_id", "task_path"]


async def test_a_saver_made_for_types_is_not_made_again_for_them(path: Path) -> None:
    async with opened(path) as (_, saver):
        types, others = {("tests", "A")}, {("tests", "B")}
        made = saver.with_allowlist(types)
        assert made is not saver
        assert made.with_allowlist(types) is made
        assert made.with_allowlist(others) is not made
        assert saver.with_allowlist(types) is not saver


async def test_a_put_that_finds_the_disk_full_says_so(path: Path) -> None:
    async with opened(path) as (database, saver):
        await database.write(lambda c: c.execute("PRAGMA max_page_count = 20").fetchall())
        checkpoint = empty_checkpoint()
        checkpoint["channel_values"]["big"] = "x" * 1_000_000
        with pytest.raises(DiskFull):
            await saver.aput(at("t"), checkpoint, {}, {})


async def test_settled_returns_when_puts_that_nobody_awaited_are_durable(path: Path) -> None:
    async with opened(path) as (database, saver):
        config = await put(saver, at("t"))
        putting = asyncio.ensure_future(saver.aput_writes(config, [("log", "a")], "task"))
        await asyncio.sleep(0)
        await saver.settled()
        assert database.all("SELECT task_id FROM writes")
        await putting


def test_versions_grow_and_differ_between_forks(path: Path) -> None:
    async def versions() -> tuple[str, str, str, str]:
        async with opened(path) as (_, saver):
            first = saver.get_next_version(None, None)
            return (
                first,
                saver.get_next_version(first, None),
                saver.get_next_version(first, None),
                saver.get_next_version(7, None),
            )

    first, second, fork, eighth = asyncio.run(versions())
    assert first < second < eighth
    assert second != fork


async def test_checkpoints_are_listed_newest_first_page_by_page(path: Path) -> None:
    async with opened(path) as (_, saver):
        chain = ids_of(await put_chain(saver, 70))
        assert await ids(saver.alist(at("t"))) == chain[::-1]


@pytest.mark.parametrize("limit", [0, 1, 32, 33, 64, 100])
async def test_a_limit_is_a_limit(path: Path, limit: int) -> None:
    async with opened(path) as (_, saver):
        chain = ids_of(await put_chain(saver, 64))
        assert await ids(saver.alist(at("t"), limit=limit)) == chain[::-1][:limit]


async def test_a_listing_can_begin_before_a_checkpoint_and_filter_by_metadata(path: Path) -> None:
    async with opened(path) as (_, saver):
        chain = await put_chain(saver, 6)
        names = ids_of(chain)
        assert await ids(saver.alist(at("t"), before=chain[2])) == [names[1], names[0]]
        assert await ids(saver.alist(at("t"), before=at("t"), limit=1)) == [names[5]]
        assert await ids(saver.alist(at("t"), filter={"parity": "odd", "step": 3})) == [names[3]]
        assert (
            await ids(saver.alist(at("t"), filter={"parity": "odd", "absent": None}))
            == (names[5::-2])
        )
        assert await ids(saver.alist(chain[4])) == [names[4]]


async def test_everybodys_checkpoints_are_listed_without_a_config_also_under_one_id(
    path: Path,
) -> None:
    async with opened(path) as (_, saver):
        await put_chain(saver, 40)
        await saver.acopy_thread("t", "copy")
        await put(saver, at("t", checkpoint_ns="sub"))
        found = [one.config async for one in saver.alist(None)]
        assert len({tuple(one["configurable"].values()) for one in found}) == 81


@pytest.mark.parametrize(
    "metadata",
    [
        {"a') OR 1=1 --": 1},
        {'a"': 1},
        {"": 1},
        {"k" * 65: 1},
        {"key\n": 1},
        {"key": ["a"]},
        {"key": {"nested": 1}},
        {str(number): 1 for number in range(17)},
    ],
)
async def test_a_filter_that_is_no_plain_comparison_is_refused(
    path: Path, metadata: dict[str, Any]
) -> None:
    async with opened(path) as (_, saver):
        with pytest.raises(UnsafeFilter):
            await ids(saver.alist(at("t"), filter=metadata))


async def test_a_filters_value_is_never_sql(path: Path) -> None:
    async with opened(path) as (_, saver):
        await put_chain(saver, 2)
        assert await ids(saver.alist(at("t"), filter={"parity": "' OR TRUE --"})) == []


async def test_a_sync_node_reads_and_updates_the_state_from_its_thread(path: Path) -> None:
    async with opened(path) as (_, saver):

        def look(state: State) -> State:
            steps = [(state.metadata or {})["step"] for state in graph.get_state_history(at("t"))]
            graph.update_state(at("side"), {"answer": "noted"})
            return {"log": [f"saw {graph.get_state(at('t')).values['log']} in {steps}"]}

        builder = StateGraph(State)
        builder.add_node("look", look)
        builder.add_edge(START, "look")
        graph = builder.compile(checkpointer=saver)
        result = await graph.ainvoke({"log": ["one"]}, at("t"), durability="sync")
        assert result["log"] == ["one", "saw ['one'] in [0, -1]"]
        assert (await graph.aget_state(at("side"))).values == {"log": [], "answer": "noted"}


async def test_every_sync_method_works_from_another_thread(path: Path) -> None:
    async with opened(path) as (_, saver):
        config = at("t", run_id="r")

        def use() -> list[Any]:
            stored = saver.put(config, empty_checkpoint(), {}, {})
            saver.put_writes(stored, [("log", "a")], "task")
            saver.copy_thread("t", "copy")
            history = saver.get_delta_channel_history(config=stored, channels=["log"])
            saver.delete_thread("t")
            saver.prune(["copy"])
            listed = len(list(saver.list(at("copy"))))
            saver.delete_for_runs(["r"])
            return [history, listed, saver.get_tuple(at("copy"))]

        assert await asyncio.to_thread(use) == [{"log": {"writes": []}}, 1, None]


async def test_a_sync_call_on_the_event_loop_is_refused_instead_of_hanging(path: Path) -> None:
    async with opened(path) as (_, saver):
        with pytest.raises(asyncio.InvalidStateError, match="use the async one"):
            saver.get_tuple(at("t"))
