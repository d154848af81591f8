"""Searching threads: what is found, and that it costs the same among many as among few."""

import sqlite3
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest

from orchestration.store import bounded, thread_search, value_index
from orchestration.store.bounded import SearchTooWide
from orchestration.store.contains import contains
from orchestration.store.deliveries import page_sql
from orchestration.store.run_lists import DEAD, RESUMABLE, of_all_sql, of_thread_sql
from orchestration.store.thread_search import ThreadQuery, ThreadSearch
from tests.store.crowd import add_run, crowd

SORTS: tuple[Any, ...] = (
    "thread_id", "status", "created_at", "updated_at", "state_updated_at",
)  # fmt: skip
STATUSES = ("idle", "busy", "interrupted", "error")
HALF = {"graph_id": "g0"}
SHAPES: dict[str, ThreadQuery] = {
    **{f"by {sort}": ThreadQuery(sort_by=sort) for sort in SORTS},
    **{f"up by {sort}": ThreadQuery(sort_by=sort, descending=False) for sort in SORTS},
    **{name: ThreadQuery(status=name) for name in STATUSES},
    **{f"idle by {sort}": ThreadQuery(status="idle", sort_by=sort) for sort in SORTS},
    **{f"error by {sort}": ThreadQuery(status="error", sort_by=sort) for sort in SORTS},
    **{f"half by {sort}": ThreadQuery(metadata=HALF, sort_by=sort) for sort in SORTS},
    "one": ThreadQuery(metadata={"tag": "t7"}),
    "one in five": ThreadQuery(metadata={"kind": 3}),
    "two keys, one": ThreadQuery(metadata={"graph_id": "g1", "tag": "t7"}),
    "two keys, many": ThreadQuery(metadata={"graph_id": "g1", "kind": 3}),
    "half, idle": ThreadQuery(metadata=HALF, status="idle"),
    "a list": ThreadQuery(metadata={"tags": ["t7"]}),
    "nested": ThreadQuery(metadata={"deep": {"tag": "t7"}}),
    "none": ThreadQuery(metadata={"tag": "nobody's"}),
    "owner": ThreadQuery(visible={"owner": "u1"}),
    "owner, error": ThreadQuery(visible={"owner": "u1"}, status="error"),
    "owner, one": ThreadQuery(visible={"owner": "u1"}, metadata={"tag": "t7"}),
    "ids": ThreadQuery(ids=["id7", "id8", "id9", "nobody"]),
    "values of one": ThreadQuery(values={"text": "x"}, metadata={"tag": "t7"}),
    "a value of one": ThreadQuery(values={"deep": {"own": 7}}, values_indexed=True),
    "a value of none": ThreadQuery(values={"text": "nobody's"}, values_indexed=True),
    "two values, one": ThreadQuery(values={"text": "x0", "deep": {"own": 7}}, values_indexed=True),
    "a value of some": ThreadQuery(values={"text": "x1"}, values_indexed=True),
    "a value of half": ThreadQuery(values={"half": 1}, values_indexed=True),
}


def _index_values(connection: sqlite3.Connection) -> None:
    while not value_index.advance(connection):
        pass


def _steps(connection: sqlite3.Connection, query: ThreadQuery) -> int:
    """Return how many steps SQLite's machine takes for a page."""
    search, steps = ThreadSearch(query), 0

    def step() -> int:
        nonlocal steps
        steps += 1
        return 0

    connection.set_progress_handler(step, 1)
    sql = search.page_sql(connection)
    connection.execute(sql, search.parameters).fetchall()
    connection.set_progress_handler(None, 0)
    return steps


@pytest.mark.timeout(60)
def test_a_page_costs_the_same_among_many_threads_as_among_few(tmp_path: Path) -> None:
    with crowd(tmp_path, 1_000) as few, crowd(tmp_path, 5_000) as many:
        _index_values(few)
        _index_values(many)
        costs = {name: (_steps(few, query), _steps(many, query)) for name, query in SHAPES.items()}
    counting = 2 * 8 * thread_search.FEW  # to find out that many meet each of two conditions
    grown = {name: cost for name, cost in costs.items() if cost[1] > 2 * cost[0] + counting}
    assert grown == {}


def _plan(connection: sqlite3.Connection, sql: str, parameters: Any) -> str:
    rows = connection.execute(f"EXPLAIN QUERY PLAN {sql}", parameters)
    return "\n".join(row["detail"] for row in rows)


@pytest.mark.timeout(60)
def test_no_search_scans_the_threads_or_sorts_many(tmp_path: Path) -> None:
    sorted_few = {"busy", "ids", "by status", "up by status", "half by status", "a value of some"}
    with crowd(tmp_path, 4_000) as connection:
        _index_values(connection)
        for name, query in SHAPES.items():
            search = ThreadSearch(query)
            plan = _plan(connection, search.page_sql(connection), search.parameters)
            if name in (
                "by thread_id",
                "up by thread_id",
                "idle by thread_id",
                "half by thread_id",
            ):
                assert "SCAN threads\n" in f"{plan}\n", "the primary key is walked in its order"
            else:
                assert "SCAN threads" not in plan, f"{name}:\n{plan}"
            few = "error" in name or "owner" in name or name in sorted_few or "one" in name
            assert few or "TEMP B-TREE" not in plan, f"{name}:\n{plan}"


def test_the_runs_of_a_thread_come_from_an_index_whatever_their_status(tmp_path: Path) -> None:
    parameters = {"thread_id": "id3", "status": "x", "limit": 10, "offset": 0}
    with crowd(tmp_path, 100) as connection:
        add_run(connection, "id3", 1, "success")
        add_run(connection, "id3", 2, "error")
        add_run(connection, "id3", 3, "running")
        for status in (None, "pending", "running", "success", "error", "timeout", "interrupted"):
            sql, asked = of_thread_sql(status), parameters | {"status": status}
            plan = _plan(connection, sql, asked)
            assert "SEARCH runs USING INDEX runs_" in plan
            assert "SCAN" not in plan
            found = [row["status"] for row in connection.execute(sql, asked)]
            wanted = ["running", "error", "success"]
            assert found == [one for one in wanted if status in (None, one)]


@pytest.mark.parametrize(
    ("since", "found"),
    [
        (None, ["id3-2", "id3-4", "id3-1", "id3-3"]),
        ("id3-2", ["id3-2", "id3-4", "id3-1", "id3-3"]),
        ("id3-1", ["id3-4", "id3-1", "id3-3"]),
        ("id3-3", ["id3-4", "id3-3"]),
        ("id3-20", ["id3-4", "id3-3"]),
    ],
)
def test_the_runs_of_a_thread_to_resume_come_from_an_index_in_the_order_of_their_ends(
    tmp_path: Path, since: str | None, found: list[str]
) -> None:
    ends = {1: "07", 2: "05", 3: "03", 4: "06"}  # the third works, the fourth was ended before
    asked = {"thread_id": "id3", "since": since}
    with crowd(tmp_path, 10) as connection:
        for place, end in ends.items():
            add_run(connection, "id3", place, "running" if place == 3 else "success")
            connection.execute(
                "UPDATE runs SET resumable = TRUE, attempt = ?, updated_at = ? WHERE run_id = ?",
                (place != 4, f"2026-01-01T0000{end}", f"id3-{place}"),
            )
        plan = _plan(connection, RESUMABLE, asked)
        rows = connection.execute(RESUMABLE, asked).fetchall()
    assert plan.startswith("SEARCH runs USING INDEX runs_of_thread")
    assert "SCAN runs" not in plan
    assert [row["run_id"] for row in rows] == found


@pytest.mark.parametrize("visible", [False, True])
def test_a_run_s_deliveries_are_found_by_their_run_and_all_by_their_date(
    tmp_path: Path, visible: bool
) -> None:
    parameters = {"run_id": "a", "visible": b"{}", "limit": 10, "offset": 0}
    with crowd(tmp_path, 10) as connection:
        plans = [
            _plan(connection, page_sql(one_run=one_run, visible=visible), parameters)
            for one_run in (True, False)
        ]
    assert plans[0].startswith("SEARCH webhook_deliveries USING INDEX webhook_deliveries_of_run")
    assert plans[1] == "SCAN webhook_deliveries USING INDEX webhook_deliveries_created"


def test_dead_letters_are_walked_by_their_date(tmp_path: Path) -> None:
    with crowd(tmp_path, 10) as connection:
        plan = _plan(connection, DEAD, {"part": None, "limit": 10, "offset": 0})
    assert plan.startswith("SCAN runs USING INDEX runs_dead")
    assert "TEMP B-TREE" not in plan


@pytest.mark.parametrize(
    ("run_id", "status", "begins"),
    [
        (None, None, "SCAN runs"),
        (None, "success", "SCAN runs"),
        ("a", None, "SEARCH runs USING PRIMARY KEY (run_id=?)"),
        ("a", "timeout", "SEARCH runs USING PRIMARY KEY (run_id=?)"),
        (None, "running", "SCAN runs USING INDEX runs_unfinished"),
        (None, "timeout", "SCAN runs USING INDEX runs_failed"),
    ],
)
def test_runs_of_all_threads_are_walked_by_their_ids_or_are_few(
    tmp_path: Path, run_id: str | None, status: str | None, begins: str
) -> None:
    parameters = {"part": None, "limit": 10, "offset": 0, "status": status, "run_id": run_id}
    with crowd(tmp_path, 10) as connection:
        plan = _plan(connection, of_all_sql(run_id, status), parameters)
    assert plan.startswith(begins)
    assert ("TEMP B-TREE" in plan) is ("INDEX" in begins)


def _expected(rows: list[dict[str, Any]], query: ThreadQuery) -> list[str]:
    """Return the ids that a search is to find, found by looking at every row."""
    found = [
        row
        for row in rows
        if (query.ids is None or row["thread_id"] in query.ids)
        and (query.status is None or row["status"] == query.status)
        and contains(row["metadata"], query.metadata or {})
        and contains(row["metadata"], query.visible or {})
        and (not query.values or contains(row["values"], query.values))
    ]

    def key(row: dict[str, Any]) -> tuple[str, ...]:
        first = (row["status"], row["created_at"]) if query.sort_by == "status" else ()
        return (*first, row[query.sort_by] or "", row["thread_id"])

    found.sort(key=key, reverse=query.descending)
    return [row["thread_id"] for row in found[query.offset : query.offset + query.limit]]


def _random_query(rng: Random) -> ThreadQuery:
    absent = {f"no{number}": {"x": 1} for number in range(1_000)}
    parts: tuple[dict[str, Any], ...] = (
        {"graph_id": "g1"}, {"kind": 2}, {"kind": 2, "graph_id": "g0"}, {"tags": ["all"]},
        {"tags": []}, {"deep": {}}, {"deep": {"tag": "t40"}}, {"owner": "u0"}, {"kind": "2"},
        absent,
    )  # fmt: skip
    values: tuple[dict[str, Any], ...] = (
        {"text": "x1"}, {"list": [{"n": 41}]}, {"text": "x1", "list": []}, {'te"xt': 1}, absent,
        {"deep": {"own": 41}}, {"deep": {"own": 41}, "text": "x6"}, {"deep": {}}, {"text": 1},
    )  # fmt: skip

    def maybe(choices: Any) -> Any:
        return rng.choice(choices) if rng.random() < 0.4 else None

    ids = [f"id{rng.randrange(150)}" for _ in range(60)]
    return ThreadQuery(
        ids=maybe([ids, ids[:2], []]),
        status=maybe(STATUSES),
        metadata=maybe(parts),
        visible=maybe(parts),
        values=maybe(values),
        sort_by=rng.choice(SORTS),
        descending=rng.random() < 0.5,
        limit=rng.choice((1, 10, 1_000)),
        offset=rng.choice((0, 0, 1, 20)),
    )


@pytest.mark.parametrize("indexed", [False, True])
@pytest.mark.parametrize("few", [0, 5, 2_000])
def test_a_search_finds_what_looking_at_every_thread_would(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few: int, indexed: bool
) -> None:
    monkeypatch.setattr(thread_search, "FEW", few)  # so that few threads are searched as many are
    rng, found = Random(few), 0
    with crowd(tmp_path, 120) as connection:
        rows = []
        for row in ThreadSearch(ThreadQuery(limit=1_000)).page(connection):
            loaded = {
                "metadata": orjson.loads(row["metadata"]),
                "values": orjson.loads(row["state_values"] or "null"),
                "status": row["shown_status"],
            }
            rows.append({**dict(row), **loaded})
        assert len(rows) == 120
        if indexed:
            _index_values(connection)
        for _ in range(400):
            query = replace(_random_query(rng), values_indexed=indexed)
            page = [row["thread_id"] for row in ThreadSearch(query).page(connection)]
            assert page == _expected(rows, query), query
            everything = replace(query, limit=1_000, offset=0)
            counted = ThreadSearch(query).count(connection)
            assert counted == len(_expected(rows, everything)), query
            found += len(page)
    assert found > 400, "the queries find too little to tell"


def test_a_search_that_takes_too_long_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with crowd(tmp_path, 1_000) as connection:
        wide = ThreadSearch(ThreadQuery(values={"list": [{"n": -1}]}))
        assert wide.page(connection) == []
        monkeypatch.setattr(bounded, "PATIENCE", 0.0)
        with pytest.raises(SearchTooWide, match="given up after 0 s"):
            wide.page(connection)
        with pytest.raises(SearchTooWide):
            wide.count(connection)
        assert len(ThreadSearch(ThreadQuery()).page(connection)) == 10, "others go on"


def test_values_that_nobody_asked_for_are_not_read(tmp_path: Path) -> None:
    with crowd(tmp_path, 100) as connection:
        rows = ThreadSearch(ThreadQuery(with_values=False)).page(connection)
    assert [row["state_values"] for row in rows] == [None] * 10
