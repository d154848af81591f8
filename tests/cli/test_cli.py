"""The command line, as far as it needs no server."""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from typer.testing import CliRunner

from orchestration.cli import app, main

ROOT = Path(__file__).parents[2]


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def masterloop(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "orchestration", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("command", "default"),
    [
        ("dev", "8123, or the next free one"),
        ("serve", "MASTERLOOP_MAX_CONCURRENT_RUNS, or 100"),
        ("serve", "MASTERLOOP_WORKERS, or 0"),
        ("run", "a new one"),
        ("keys create", "never"),
        ("messages requeue", "all"),
        ("db check", "the service's"),
    ],
)
def test_the_help_says_what_is_taken_where_nothing_is_given(
    cli: CliRunner, command: str, default: str
) -> None:
    shown = cli.invoke(app, [*command.split(), "--help"]).output
    assert f"[default: ({default})]" in " ".join(shown.replace("│", " ").split())


def test_the_version_is_the_one_installed(cli: CliRunner) -> None:
    result = cli.invoke(app, ["--version"])
    assert result.output == f"masterloop {metadata.version('masterloop')}\n"


def test_it_runs_as_a_module() -> None:
    result = masterloop("--version")
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_what_stdout_cannot_take_is_printed_as_json_says_it(encoding: str, tmp_path: Path) -> None:
    there = {"MASTERLOOP_DATA_DIR": str(tmp_path), "PYTHONIOENCODING": encoding}
    masterloop("keys", "create", "--owner", "a→b", **there)
    for_people = masterloop("keys", "ls", **there)
    for_programs = masterloop("keys", "ls", "--json", **there)
    assert (for_people.returncode, for_programs.returncode) == (0, 0), for_people.stderr
    assert r"a\u2192b" in for_people.stdout
    assert [key["owner"] for key in json.loads(for_programs.stdout)] == ["a→b"]


def test_nothing_slow_is_imported_for_the_version() -> None:
    code = "import sys, orchestration.cli; print(*sys.modules)"
    modules = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert set(modules).isdisjoint({"langgraph", "httpx", "pydantic", "starlette", "watchfiles"})


def test_the_console_script_is_main(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["somewhere/else", "runs"])
    with pytest.raises(SystemExit) as exited:
        main()
    assert exited.value.code == 2
    assert "masterloop runs" in "".join(capsys.readouterr())


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [(["dev", "--relod"], "--reload"), (["rnus"], "'runs'"), (["runs", "lst"], "'ls'")],
)
def test_what_is_misspelt_is_answered_with_the_nearest(
    cli: CliRunner, arguments: list[str], hint: str
) -> None:
    result = cli.invoke(app, arguments)
    assert result.exit_code == 2
    assert hint in result.stderr


@pytest.mark.parametrize("command", ["dev", "serve"])
def test_a_setting_that_does_not_exist_ends_with_2(
    cli: CliRunner, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MASTERLOOP_DATA_DRI", "x")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        free = listener.getsockname()[1]
    result = cli.invoke(app, [command, "--port", str(free)])
    assert result.exit_code == 2
    assert "MASTERLOOP_DATA_DRI" in result.stderr
    assert "MASTERLOOP_DATA_DIR" in result.stderr


@pytest.mark.parametrize("command", ["dev", "serve"])
def test_a_port_that_was_asked_for_and_is_taken_ends_with_2(
    cli: CliRunner, command: str, taken_port: int
) -> None:
    result = cli.invoke(app, [command, "--port", str(taken_port)])
    assert result.exit_code == 2
    assert f"port {taken_port} on 127.0.0.1 is in use" in result.stderr


def test_a_port_that_was_not_asked_for_is_the_next_free_one(
    cli: CliRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MASTERLOOP_DATA_DRI", "x")  # it goes no further than the banner
    try:
        listener = socket.create_server(("127.0.0.1", 8123))
    except OSError:  # somebody else has taken it, which does as well
        listener = socket.socket()
    with listener:
        result = cli.invoke(app, ["dev", "--n-jobs-per-worker", "3", "--no-browser"])
    said = re.search(r"Port 8123 is in use; taking (\d+)\.", result.stderr)
    assert said is not None
    assert f"http://127.0.0.1:{said[1]}/docs" in result.stderr


def test_the_banner_brackets_ipv6(cli: CliRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASTERLOOP_DATA_DRI", "x")
    result = cli.invoke(app, ["dev", "--host", "::1"])
    assert "http://[::1]:" in result.stderr


@pytest.mark.parametrize("command", ["dev", "serve"])
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "example.org"])  # noqa: S104 - is refused
def test_strangers_are_refused_unless_it_is_meant(
    cli: CliRunner, tmp_path: Path, command: str, host: str
) -> None:
    config = tmp_path / "langgraph.json"
    config.write_text('{"graphs": {"agent": "./agent.py:graph"}}')
    result = cli.invoke(app, [command, "--host", host, "--config", str(config)])
    assert result.exit_code == 2
    assert "--insecure-open" in result.stderr


def test_a_host_that_is_meant_but_not_ours_ends_with_2(cli: CliRunner) -> None:
    result = cli.invoke(app, ["serve", "--host", "192.0.2.1", "--insecure-open"])
    assert result.exit_code == 2
    assert "cannot listen on 192.0.2.1" in result.stderr


def test_localhost_is_no_stranger(cli: CliRunner, taken_port: int) -> None:
    result = cli.invoke(app, ["serve", "--host", "localhost", "--port", str(taken_port)])
    assert "insecure-open" not in result.stderr


def test_doctor_finds_the_examples_in_order() -> None:
    result = masterloop("doctor", "--config", "examples/langgraph.json", "--json")
    findings = {entry["check"]: entry for entry in json.loads(result.stdout)}
    assert findings["strict msgpack"]["verdict"] == "ok"
    assert "digest" in findings["configuration"]["detail"]
    problems = [name for name, entry in findings.items() if entry["verdict"] == "problem"]
    assert (problems, result.returncode) == ([], 0)


def test_doctor_ends_with_1_when_something_is_wrong(
    cli: CliRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MASTERLOOP_DATA_DRI", "x")
    result = cli.invoke(app, ["doctor"])
    assert result.exit_code == 1
    assert re.search(r"problem +settings +MASTERLOOP_DATA_DRI: there is no such", result.stdout)
    assert re.search(r"problem +configuration +langgraph.json: there is no such", result.stdout)


def test_doctor_looks_into_the_database(cli: CliRunner, tmp_path: Path) -> None:
    (tmp_path / ".masterloop").mkdir()
    (tmp_path / ".masterloop" / "masterloop.db").write_bytes(b"a letter to my aunt" * 100)
    result = cli.invoke(app, ["doctor"], env={"MASTERLOOP_DATA_DIR": ".masterloop"})
    assert result.exit_code == 1
    assert re.search(r"problem +database +\S+masterloop\.db is damaged", result.stdout)


def test_deserialisation_is_strict_whatever_the_environment_says() -> None:
    result = masterloop("doctor", "--json", LANGGRAPH_STRICT_MSGPACK="false")
    verdicts = {entry["check"]: entry["verdict"] for entry in json.loads(result.stdout)}
    assert verdicts["strict msgpack"] == "ok"
