"""``masterloop keys``, without a service."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from operations.keys import KeyFolder
from operations.telemetry.trail import FOLDER, read_trail
from orchestration.cli import app

DATA = Path(".masterloop")
UNNAMED = 54_321  # a uid that no account has


@pytest.fixture
def _unnamed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Be somebody whom no account names, as in a container that is started with a uid."""
    if os.geteuid() != 0:
        pytest.skip("only root can be somebody else")
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    user = os.getuid()
    os.setreuid(UNNAMED, -1)
    yield
    os.setreuid(user, -1)


def test_a_key_is_printed_once_and_listed_without_its_secret(cli: CliRunner) -> None:
    made = cli.invoke(app, ["keys", "create", "--owner", "alice"])
    token = made.stdout.strip()
    assert KeyFolder(DATA).verify(token) is not None
    assert "from its next start on" in made.stderr
    listed = cli.invoke(app, ["keys", "ls"]).stdout
    assert "alice" in listed
    assert "run" in listed
    assert token not in listed


def test_programs_get_json(cli: CliRunner) -> None:
    options = ["--owner", "ci", "--scope", "admin", "--expires", "90d", "--json"]
    made = json.loads(cli.invoke(app, ["keys", "create", *options]).stdout)
    key = KeyFolder(DATA).verify(made["key"])
    assert key is not None
    assert (key.owner, key.scope, key.expires_at) == ("ci", "admin", made["expires_at"])
    (listed,) = json.loads(cli.invoke(app, ["keys", "ls", "--json"]).stdout)
    assert "key" not in listed
    assert listed["key_id"] == made["key_id"]


def test_a_key_is_revoked_by_its_id(cli: CliRunner) -> None:
    made = json.loads(cli.invoke(app, ["keys", "create", "--owner", "a", "--json"]).stdout)
    assert cli.invoke(app, ["keys", "revoke", made["key_id"]]).exit_code == 0
    assert KeyFolder(DATA).verify(made["key"]) is None
    again = cli.invoke(app, ["keys", "revoke", made["key_id"]])
    assert again.exit_code == 1
    assert "masterloop keys ls" in again.stderr


@pytest.mark.usefixtures("_unnamed")
def test_whoever_has_no_name_is_told_by_their_uid(cli: CliRunner) -> None:
    made = json.loads(cli.invoke(app, ["keys", "create", "--owner", "a", "--json"]).stdout)
    assert KeyFolder(DATA).verify(made["key"]) is not None
    assert cli.invoke(app, ["keys", "revoke", made["key_id"]]).exit_code == 0
    assert [entry["account"] for entry in read_trail(DATA / FOLDER)] == [f"uid {UNNAMED}"] * 2


@pytest.mark.parametrize("command", [["create", "--owner", "a"], ["revoke", "0" * 16]])
def test_a_folder_that_cannot_be_used_is_told(
    cli: CliRunner, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    Path("file").touch()
    monkeypatch.setenv("MASTERLOOP_DATA_DIR", "file/data")
    result = cli.invoke(app, ["keys", *command])
    assert result.exit_code == 1
    assert (
        "the keys cannot be changed: [Errno 20] Not a directory: 'file/data/keys" in result.stderr
    )


def test_a_folder_that_cannot_be_looked_at_is_told(
    cli: CliRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MASTERLOOP_DATA_DIR", "x" * 300)
    result = cli.invoke(app, ["keys", "create", "--owner", "a"])
    assert (result.exit_code, "the keys cannot be changed" in result.stderr) == (1, True)


@pytest.mark.parametrize("command", [["audit"], ["keys", "ls"], ["keys", "ls", "--json"]])
@pytest.mark.parametrize("folder", ["nowhere", "file", "file/data"])
def test_a_data_folder_that_is_not_there_is_not_taken_for_an_empty_one(
    cli: CliRunner, monkeypatch: pytest.MonkeyPatch, command: list[str], folder: str
) -> None:
    Path("file").touch()
    monkeypatch.setenv("MASTERLOOP_DATA_DIR", folder)
    result = cli.invoke(app, command)
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"Error: there is no data folder {folder}. MASTERLOOP_DATA_DIR" in result.stderr


@pytest.mark.parametrize("command", [["audit"], ["keys", "ls"]])
def test_where_there_are_none_is_said(cli: CliRunner, command: list[str]) -> None:
    DATA.mkdir()
    result = cli.invoke(app, command)
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == f"There are none in {DATA / command[0]}.\n"


@pytest.mark.parametrize(
    ("command", "said"),
    [(["audit"], "this is not all"), (["keys", "ls"], "the keys cannot be read")],
)
def test_what_is_no_folder_within_the_data_folder_is_told(
    cli: CliRunner, command: list[str], said: str
) -> None:
    DATA.mkdir()
    (DATA / command[0]).touch()
    result = cli.invoke(app, command)
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"Error: {said}: [Errno 20] Not a directory: '{DATA / command[0]}'" in result.stderr


@pytest.mark.parametrize("expires", ["soon", "1y", "2001-01-01"])
def test_an_end_that_is_none_is_refused(cli: CliRunner, expires: str) -> None:
    result = cli.invoke(app, ["keys", "create", "--owner", "a", "--expires", expires])
    assert result.exit_code == 2
    assert not KeyFolder(DATA).exists


def test_with_a_key_the_service_may_be_reached_from_elsewhere(cli: CliRunner) -> None:
    Path("langgraph.json").write_text('{"graphs": {"agent": "./agent.py:graph"}}')
    cli.invoke(app, ["keys", "create", "--owner", "a"])
    result = cli.invoke(app, ["serve", "--host", "192.0.2.1"])
    assert "insecure-open" not in result.stderr
    assert "cannot listen on 192.0.2.1" in result.stderr
