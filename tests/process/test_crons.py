"""kill -9 around the firing of a cron: it has its run, exactly once."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from tests.process.server import Server, until
from tests.process.witness import integrity, rows

YEARLY = "0 0 1 1 *"


def cron_that_was_missed(server: Server, thread: str | None, **body: object) -> str:
    """Make a cron, and let it have been due while the server was down; return its id."""
    server.start()
    path = "/runs/crons" if thread is None else f"/threads/{thread}/runs/crons"
    given = {"assistant_id": "counter", "schedule": YEARLY, **body}
    answer = server.http.post(path, json={"input": {"name": "cron", "steps": 2}, **given})
    assert answer.is_success, answer.text
    cron_id: str = answer.json()["cron_id"]
    server.kill9()
    at = (datetime.now(UTC) - timedelta(hours=1)).isoformat(timespec="seconds")
    with closing(sqlite3.connect(server.database)) as database, database:
        database.execute("UPDATE crons SET next_run_date = ?", (at,))
    return cron_id


@pytest.mark.parametrize(
    ("failpoint", "completed"),
    [
        ("accept.before_commit", "keep"),
        ("accept.after_commit", "keep"),
        ("accept.after_commit", "delete"),
        ("claim.after_commit", "delete"),
        ("finish.after", "keep"),
        ("finish.after", "delete"),
    ],
)
def test_a_firing_survives_a_kill_and_is_not_repeated(
    server: Server, failpoint: str, completed: str
) -> None:
    cron_id = cron_that_was_missed(server, None, on_run_completed=completed, durability="sync")
    server.launch({"failpoints": f"{failpoint}=kill"})
    assert server.wait() == -9, server.log

    server.start()
    until(lambda: _ended(server), why=lambda: server.log)
    cron = server.http.get(f"/runs/crons/{cron_id}").json()
    assert cron["next_run_date"] > datetime.now(UTC).isoformat()
    assert server.effects.steps("cron") == {1: 1, 2: 1}
    assert len(rows(server.database, "SELECT 1 FROM threads")) == (completed == "keep")
    assert integrity(server.database) == "ok"


def _ended(server: Server) -> bool:
    """Whether the cron has had its run, and that has ended."""
    unfinished = rows(server.database, "SELECT 1 FROM runs WHERE status IN ('pending', 'running')")
    return not unfinished and 2 in server.effects.steps("cron")
