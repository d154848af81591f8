"""The library's format, read and written by both; and files that nobody may trust."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import ormsgpack
import pytest
from langgraph.checkpoint.base import (
    BaseCheckpointSaver,
    CheckpointTuple,
)
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde import jsonplus
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.types import Command

from operations.database import open_database
from orchestration.store.checkpoints import CheckpointSaver
from tests.store.checkpointing import MIGRATIONS, at, ids, opened, put, two_steps


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "masterloop.sqlite"


@dataclass
class Opinion:
    text: str


def plain(found: CheckpointTuple | None) -> Any:
    """What two savers have to agree on."""
    assert found is not None
    return (
        found.config,
        found.checkpoint,
        found.metadata,
        found.parent_config,
        found.pending_writes,
    )


async def test_the_tables_are_the_librarys(path: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "library.sqlite"
    async with opened(path):
        pass
    async with AsyncSqliteSaver.from_conn_string(str(theirs)) as library:
        await library.setup()

    def columns(file: Path) -> Iterator[Any]:
        with closing(sqlite3.connect(file)) as connection:
            for table in ("checkpoints", "writes"):
                yield connection.execute(f"PRAGMA table_info({table})").fetchall()

    assert list(columns(path)) == list(columns(theirs))


async def test_the_librarys_saver_reads_our_file_and_goes_on_with_it(path: Path) -> None:
    async with opened(path) as (_, saver):
        await two_steps(saver).ainvoke({"log": ["one"]}, at("t", run_id="r"))
        ours = [plain(one) async for one in saver.alist({"configurable": {"thread_id": "t"}})]
    async with AsyncSqliteSaver.from_conn_string(str(path)) as library:
        theirs = [plain(one) async for one in library.alist({"configurable": {"thread_id": "t"}})]
        filtered = library.alist(at("t"), filter={"run_id": "r", "source": "input"})
        assert len(await ids(filtered)) == 1
        resumed = await two_steps(library).ainvoke(Command(resume="yes"), at("t"))
    assert ours == theirs
    assert resumed == {"log": ["one", "one", "counted"], "answer": "yes"}


async def test_we_read_the_librarys_file_and_go_on_with_it(path: Path) -> None:
    path.parent.mkdir()
    async with AsyncSqliteSaver.from_conn_string(str(path)) as library:
        await two_steps(library).ainvoke({"log": ["one"]}, at("t", run_id="r"))
        theirs = [plain(one) async for one in library.alist({"configurable": {"thread_id": "t"}})]
    async with opened(path) as (_, saver):
        ours = [plain(one) async for one in saver.alist({"configurable": {"thread_id": "t"}})]
        resumed = await two_steps(saver).ainvoke(Command(resume="yes"), at("t"))
    assert ours == theirs
    assert resumed == {"log": ["one", "one", "counted"], "answer": "yes"}


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
async def test_a_graph_leaves_the_same_history_as_in_memory(path: Path, durability: Any) -> None:
    async def history(saver: BaseCheckpointSaver[str]) -> list[Any]:
        graph = two_steps(saver)
        await graph.ainvoke({"log": ["one"]}, at("t"), durability=durability)
        await graph.ainvoke(Command(resume="yes"), at("t"), durability=durability)
        return [
            (state.values, state.next, [task.name for task in state.tasks], state.metadata)
            async for state in graph.aget_state_history(at("t"))
        ]

    async with opened(path) as (_, saver):
        assert await history(saver) == await history(InMemorySaver())


def crafted(marker: Path) -> list[tuple[str, bytes]]:
    """Values that make a permissive serializer run code."""

    def extension(code: int, *call: Any) -> tuple[str, bytes]:
        return "msgpack", ormsgpack.packb(ormsgpack.Ext(code, ormsgpack.packb(call)))

    constructor = {"lc": 2, "type": "constructor", "id": ["os", "mkdir"], "args": [str(marker)]}
    return [
        extension(jsonplus.EXT_CONSTRUCTOR_SINGLE_ARG, "os", "mkdir", str(marker)),
        extension(jsonplus.EXT_CONSTRUCTOR_POS_ARGS, "os", "mkdir", [str(marker)]),
        extension(jsonplus.EXT_CONSTRUCTOR_KW_ARGS, "os", "mkdir", {"path": str(marker)}),
        extension(jsonplus.EXT_METHOD_SINGLE_ARG, "pathlib", "Path", str(marker), "mkdir"),
        extension(jsonplus.EXT_PYDANTIC_V2, "os", "mkdir", str(marker), "mkdir"),
        ("json", json.dumps(constructor).encode()),
    ]


@pytest.mark.parametrize("number", range(6))
async def test_a_crafted_value_is_data_and_never_code(
    path: Path, tmp_path: Path, number: int
) -> None:
    marker = tmp_path / "executed"
    value = crafted(marker)[number]
    async with opened(path) as (database, saver):
        config = await put(saver, at("t"))
        await saver.aput_writes(config, [("log", "a")], "task")
        await database.write(lambda c: c.execute("UPDATE writes SET type = ?, value = ?", value))
        found = await saver.aget_tuple(at("t"))
        assert found is not None
        assert str(marker) in str(found.pending_writes)
        assert not marker.exists()


async def test_a_pickle_is_refused(path: Path) -> None:
    async with opened(path) as (database, saver):
        await put(saver, at("t"))
        await database.write(lambda c: c.execute("UPDATE checkpoints SET type = 'pickle'"))
        with pytest.raises(NotImplementedError, match="pickle"):
            await saver.aget_tuple(at("t"))


async def test_a_type_that_the_operator_allows_is_read_back_as_itself(path: Path) -> None:
    allowed = [(Opinion.__module__, Opinion.__name__)]
    async with open_database(path, MIGRATIONS) as database:
        config = await put(CheckpointSaver(database), at("t"))
        opinion = Opinion(str(uuid4()))
        await CheckpointSaver(database).aput_writes(config, [("log", opinion)], "task")
        for types, expected in ((allowed, opinion), (None, {"text": opinion.text})):
            saver = CheckpointSaver(database, allowed_types=types)
            found = await saver.aget_tuple(config)
            assert found is not None
            assert found.pending_writes == [("task", "log", expected)]
