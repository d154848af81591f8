"""``masterloop db``, without a service."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from operations.backup import faults_of
from operations.migrations import Migration, migrate
from orchestration.cli import app


@pytest.fixture
def cli(cli: CliRunner) -> CliRunner:
    Path(".masterloop").mkdir()
    with closing(sqlite3.connect(".masterloop/masterloop.db")) as connection:
        migrate(connection, [Migration(1, "runs", "CREATE TABLE runs (run_id TEXT);")])
    return cli


def test_a_backup_is_made_and_can_be_checked(cli: CliRunner) -> None:
    made = cli.invoke(app, ["db", "backup", "copy.db"])
    assert (made.exit_code, made.stdout) == (0, "copy.db: 12288 bytes, checked\n")
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


@pytest.mark.parametrize("table", ["notes (text)", "schema_migrations (version)"])
def test_a_database_of_somebody_else_is_not_called_ok(cli: CliRunner, table: str) -> None:
    with closing(sqlite3.connect("theirs.db")) as connection:
        connection.execute(f"CREATE TABLE {table}")
    checked = cli.invoke(app, ["db", "check", "theirs.db"])
    assert (checked.exit_code, checked.stdout) == (1, "")
    assert "theirs.db is whole, but no database of Masterloop" in checked.stderr


def test_what_cannot_be_looked_at_is_named_and_no_traceback_is_shown(cli: CliRunner) -> None:
    long = f"{'x' * 300}.db"  # as a folder that one may not enter, and for root, too
    checked = cli.invoke(app, ["db", "check", long])
    assert (checked.exit_code, long in checked.stderr) == (1, True)
    assert "cannot be looked at" in checked.stderr
    backed_up = cli.invoke(app, ["db", "backup", long])
    assert (backed_up.exit_code, long in backed_up.stderr) == (1, True)


def test_a_backup_names_the_file_that_is_the_reason_why_there_is_none(cli: CliRunner) -> None:
    nowhere = cli.invoke(app, ["db", "backup", "nowhere/copy.db"])
    reason = "nowhere/copy.db cannot be made: No such file or directory"
    assert (nowhere.exit_code, nowhere.stderr) == (1, f"Error: {reason}\n")
    Path(".masterloop/masterloop.db").write_text("no database " * 500)
    damaged = cli.invoke(app, ["db", "backup", "copy.db"])
    assert (damaged.exit_code, ".masterloop/masterloop.db is damaged" in damaged.stderr) == (
        1,
        True,
    )


def test_where_there_is_no_data_folder_what_names_it_is_said(cli: CliRunner) -> None:
    for command in (["check"], ["backup", "copy.db"]):
        result = cli.invoke(app, ["db", *command], env={"MASTERLOOP_DATA_DIR": "elsewhere"})
        assert (result.exit_code, "MASTERLOOP_DATA_DIR" in result.stderr) == (1, True)
