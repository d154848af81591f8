"""The command line in a folder of its own, with no settings."""

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> CliRunner:
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("MASTERLOOP_"):
            monkeypatch.delenv(name)
    return CliRunner(env={"TERM": "dumb", "COLUMNS": "200"})
