"""``masterloop db``, without a service."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from operations.backup import faults_of
from orchestration.cli import app


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> CliRunner:
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("MASTERLOOP_"):
            monkeypatch.delenv(name)
    Path(".masterloop").mkdir()
    with closing(sqlite3.connect(".masterloop/masterloop.db")) as connection:
        connection.execute("CREATE TABLE runs (run_id TEXT)")
    return CliRunner(env={"TERM": "dumb", "COLUMNS": "200"})


def test_a_backup_is_made_and_can_be_checked(cli: CliRunner) -> None:
    made = cli.invoke(app, ["db", "backup", "copy.db"])
    assert (made.exit_code, made.stdout) == (0, "copy.db: 8192 bytes, checked\n")
    assert faults_of(Path("copy.db")) == []
    again = cli.invoke(app, ["db", "backup", "copy.db"])
    assert (again.exit_code, "is there already" in again.stderr) == (1, True)
    assert cli.invoke(app, ["db", "check", "copy.db"]).stdout == "copy.db: ok\n"


def test_what_is_wrong_is_told_with_an_exit_code(cli: CliRunner) -> None:
    assert cli.invoke(app, ["db", "check"]).exit_code == 0
    Path("text").write_text("no database " * 500)
    checked = cli.invoke(app, ["db", "check", "text"])
    assert (checked.exit_code, checked.stderr) == (
        1,
        "Error: text is damaged: file is not a database\n",
    )
    Path("folder").mkdir()
    unread = cli.invoke(app, ["db", "check", "folder"])
    assert (unread.exit_code, "it is not known whether" in unread.stderr) == (1, True)
    assert cli.invoke(app, ["db", "check", "missing.db"]).exit_code == 1
