"""The index of what threads show: made by who asks, and never behind what it is asked for."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest

from operations.database import open_database
from operations.migrations import load_migrations
from orchestration.loop.run import ThreadState
from orchestration.store import migrations, thread_search, value_index
from orchestration.store.thread_search import ThreadQuery, ThreadSearch
from orchestration.store.threads import ThreadStore
from tests.store.crowd import crowd
from tests.store.shelf import open_shelf

TABLES = ("value_terms", "values_changed", "value_index")


def _catch_up(connection: sqlite3.Connection) -> int:
    """Bring the index up to date; return how many transactions that took."""
    transactions = 1
    while not value_index.advance(connection):
        transactions += 1
    return transactions


def _found(connection: sqlite3.Connection, **values: Any) -> set[str]:
    query = ThreadQuery(values=values, values_indexed=True, limit=1_000)
    return {row["thread_id"] for row in ThreadSearch(query).page(connection)}


def _show(connection: sqlite3.Connection, thread_id: str, values: Any) -> None:
    sql = "UPDATE threads SET state_values = ? WHERE thread_id = ?"
    connection.execute(sql, (orjson.dumps(values).decode(), thread_id))


def test_before_anybody_asks_nothing_is_kept_or_noted(tmp_path: Path) -> None:
    with crowd(tmp_path, 100) as connection:
        _show(connection, "id1", {"a": 1})
        connection.execute("DELETE FROM threads WHERE thread_id = 'id2'")
        for table in TABLES:
            assert connection.execute(f"SELECT * FROM {table}").fetchall() == []  # noqa: S608


def test_threads_that_change_again_and_again_are_found_by_what_they_show(tmp_path: Path) -> None:
    rng, shown = Random(4), dict[str, int]()
    with crowd(tmp_path, 200) as connection:
        for _ in range(300):
            thread_id, number = f"id{rng.randrange(200)}", rng.randrange(5)
            match rng.randrange(8):
                case 0:
                    connection.execute("DELETE FROM threads WHERE thread_id = ?", (thread_id,))
                    shown.pop(thread_id, None)
                case 1:
                    value_index.advance(connection)  # maybe not all of it
                case 2:
                    _catch_up(connection)
                    wanted = {one for one, number_ in shown.items() if number_ == number}
                    assert _found(connection, number=number) == wanted
                case _:
                    _show(connection, thread_id, {"number": number})
                    there = "SELECT 1 FROM threads WHERE thread_id = ?"
                    if connection.execute(there, (thread_id,)).fetchone():
                        shown[thread_id] = number
        _catch_up(connection)
        terms = connection.execute("SELECT count(DISTINCT thread_id) FROM value_terms").fetchone()
        with_values = "SELECT count(*) FROM threads WHERE state_values IS NOT NULL"
        assert terms[0] == connection.execute(with_values).fetchone()[0]
        connection.execute("DELETE FROM threads")
        for table in ("value_terms", "values_changed"):
            left = connection.execute(f"SELECT * FROM {table}").fetchall()  # noqa: S608
            assert left == [], "nothing of what is gone"


def test_only_what_has_changed_is_looked_through_again(tmp_path: Path) -> None:
    with crowd(tmp_path, 500) as connection:
        assert _catch_up(connection) > 10
        assert _catch_up(connection) == 1
        changes = connection.total_changes
        assert _catch_up(connection) == 1
        assert connection.total_changes == changes, "nothing is written, so no disk is waited for"
        _show(connection, "id1", {"a": 1})
        assert _catch_up(connection) == 1
        assert _found(connection, a=1) == {"id1"}


@pytest.mark.parametrize("values", [[1, 2], "text", None])
def test_values_that_are_no_object_are_found_by_nothing(tmp_path: Path, values: Any) -> None:
    with crowd(tmp_path, 20) as connection:
        _show(connection, "id1", values)
        _catch_up(connection)
        assert _found(connection, text="x1") == {"id8"}


def test_a_thread_that_shows_very_much_is_found_by_all_of_it(tmp_path: Path) -> None:
    values = {f"key{number}": number for number in range(value_index.MOST + 1)}
    with crowd(tmp_path, 20) as connection:
        _show(connection, "id1", values)
        _catch_up(connection)
        assert _found(connection, key0=0) == {"id1"}
        assert _found(connection, **{f"key{value_index.MOST}": value_index.MOST}) == {"id1"}
        assert _found(connection, key0=1) == set()


async def _search(threads: ThreadStore, **values: Any) -> list[str]:
    query = ThreadQuery(values=values)
    found = [row["thread_id"] for row in await threads.search(query)]
    assert await threads.count(query) == len(found)
    return found


async def _show_both(threads: ThreadStore) -> None:
    for thread_id in ("first", "second"):
        await threads.create(thread_id, {})
        await threads.show(thread_id, ThreadState(orjson.dumps({"own": thread_id})))


@pytest.fixture
def among_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thread_search, "FEW", 0)


@pytest.mark.usefixtures("among_many")
async def test_a_search_finds_what_was_shown_before_it(tmp_path: Path) -> None:
    async with open_shelf(tmp_path) as shelf:
        await _show_both(shelf.threads)
        assert await _search(shelf.threads, own="first") == ["first"]
        await shelf.threads.show("second", ThreadState(b'{"own":"first"}'))
        assert await _search(shelf.threads, own="first") == ["second", "first"]
        await shelf.threads.copy("first", "third")
        assert await shelf.threads.delete("first")
        assert await _search(shelf.threads, own="first") == ["third", "second"]
        rows = await shelf.database.read(
            lambda c: c.execute("SELECT * FROM value_terms").fetchall()
        )
        assert len(rows) == 2


async def test_a_search_among_few_makes_no_index(tmp_path: Path) -> None:
    async with open_shelf(tmp_path) as shelf:
        await _show_both(shelf.threads)
        query = ThreadQuery(values={"own": "first"}, ids=["first", "second"])
        assert len(await shelf.threads.search(query)) == 1
        assert shelf.database.get("SELECT * FROM value_index") is None


@pytest.mark.usefixtures("among_many")
@pytest.mark.parametrize("values", [{"list": ["x"]}, {"deep": {}}])
async def test_a_search_that_no_index_could_answer_makes_none(
    tmp_path: Path, values: dict[str, Any]
) -> None:
    async with open_shelf(tmp_path) as shelf:
        await shelf.threads.create("first", {})
        await shelf.threads.show("first", ThreadState(orjson.dumps(values)))
        assert await _search(shelf.threads, **values) == ["first"]
        assert shelf.database.get("SELECT * FROM value_index") is None


def test_a_transaction_takes_no_more_than_there_is_room_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with crowd(tmp_path, 100) as connection:
        few = _catch_up(connection)
        for number in range(100):
            _show(connection, f"id{number}", {"number": number})
        assert _catch_up(connection) == few == 100 // value_index._SOME + 1  # noqa: SLF001 - the test's own
        monkeypatch.setattr(value_index, "_ROOM", 5)
        for number in range(10):
            _show(connection, f"id{number}", {"number": number})
        assert _catch_up(connection) == 10 + 1
        assert _found(connection, number=7) == {"id7"}


@pytest.mark.usefixtures("among_many")
async def test_those_who_search_at_once_look_through_what_has_changed_once(tmp_path: Path) -> None:
    async with open_shelf(tmp_path) as shelf:
        await _show_both(shelf.threads)
        searches = (_search(shelf.threads, own="first") for _ in range(20))
        assert await asyncio.gather(*searches) == [["first"]] * 20


@pytest.mark.usefixtures("among_many")
async def test_an_index_that_takes_too_long_is_done_without_and_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(value_index, "PATIENCE", 0.0)
    monkeypatch.setattr(value_index, "_SOME", 1)
    async with open_shelf(tmp_path) as shelf:
        await _show_both(shelf.threads)
        for _ in range(3):
            assert await _search(shelf.threads, own="second") == ["second"]
        assert shelf.database.get("SELECT place FROM value_index")["place"] is None  # type: ignore[index]


@pytest.mark.usefixtures("among_many")
async def test_where_nothing_can_be_written_a_search_does_without(tmp_path: Path) -> None:
    schema = load_migrations(migrations.__name__)
    async with open_database(tmp_path / "test.db", schema, busy_timeout=0.01) as database:
        threads = ThreadStore(database)
        await _show_both(threads)
        assert await _search(threads, own="first") == ["first"]
        await threads.show("second", ThreadState(b'{"own":"first"}'))
        with closing(sqlite3.connect(tmp_path / "test.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            assert await _search(threads, own="first") == ["second", "first"]
