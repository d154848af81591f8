"""API keys: made, known, used, ended, revoked."""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from operations.keys import KeyFolder


def test_a_key_is_known_by_its_token_alone(tmp_path: Path) -> None:
    keys = KeyFolder(tmp_path)
    assert not keys.exists
    key, token = keys.create("alice", "run")
    assert keys.exists
    assert keys.verify(token) == key
    kept = next((tmp_path / "keys").glob("*.json")).read_text()
    assert token not in kept
    assert token.rpartition("_")[2] not in kept


@pytest.mark.parametrize(
    "change",
    [
        lambda token: token[:-1],
        lambda token: token + "A",
        lambda token: token.swapcase(),
        lambda token: token.replace("ml_", "ML_"),
        lambda token: token[:-1] + ("A" if token[-1] != "A" else "B"),
        lambda token: token[:-1] + "\x00",
        lambda token: f" {token}",
        lambda token: "",
        lambda token: "ml_../../../../x_" + "A" * 43,
        lambda token: token.replace(token[3:19], "0" * 16),
    ],
)
def test_what_is_nearly_a_key_is_none(tmp_path: Path, change: object) -> None:
    keys = KeyFolder(tmp_path)
    _, token = keys.create("alice", "run")
    assert callable(change)
    assert keys.verify(change(token)) is None


def test_revoking_counts_at_once_for_every_process(tmp_path: Path) -> None:
    server, command = KeyFolder(tmp_path), KeyFolder(tmp_path)
    key, token = command.create("alice", "run")
    assert server.verify(token) is not None
    assert command.revoke(key.key_id)
    assert server.verify(token) is None
    assert not command.revoke(key.key_id)
    assert not command.revoke("../x")
    assert server.exists


def test_a_key_ends_when_its_time_is_over(tmp_path: Path) -> None:
    keys = KeyFolder(tmp_path)
    _, over = keys.create("alice", "run", datetime.now(UTC) - timedelta(seconds=1))
    _, good = keys.create("alice", "run", datetime.now(UTC) + timedelta(hours=1))
    assert keys.verify(over) is None
    assert keys.verify(good) is not None
    assert [entry.key.expired for entry in keys.all()] == [True, False]


def test_the_last_use_is_noted(tmp_path: Path) -> None:
    keys = KeyFolder(tmp_path)
    _, token = keys.create("alice", "read")
    assert keys.all()[0].last_used_at is None
    keys.verify(token)
    noted = keys.all()[0].last_used_at
    assert noted is not None
    assert abs(datetime.fromisoformat(noted) - datetime.now(UTC)) < timedelta(minutes=1)


def test_files_are_for_their_owner_only_and_not_believed_otherwise(tmp_path: Path) -> None:
    keys = KeyFolder(tmp_path)
    _, token = keys.create("alice", "admin")
    (path,) = (tmp_path / "keys").glob("*.json")
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    path.chmod(0o644)
    assert keys.verify(token) is None


def test_a_file_that_is_no_key_is_passed_over(tmp_path: Path) -> None:
    keys = KeyFolder(tmp_path)
    key, token = keys.create("alice", "run")
    path = tmp_path / "keys" / f"{key.key_id}.json"
    for text in ("{", "[]", json.dumps({"key_id": 1})):
        path.write_text(text)
        os.utime(path)
        assert KeyFolder(tmp_path).verify(token) is None
        assert KeyFolder(tmp_path).all() == []
