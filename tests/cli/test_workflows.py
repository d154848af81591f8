"""``masterloop workflow``: mistakes told before anything runs."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from orchestration.cli import app

STEP = {"id": "a", "agent": "summarize", "input": "{{ input.text }}"}
GRAPHS = {"digest": "./digest.py:graph"}


def workflow(*steps: dict[str, Any]) -> None:
    Path("w.json").write_text(json.dumps({"name": "w", "steps": steps}))


def configure(**pools: Any) -> None:
    document = {"graphs": GRAPHS, "masterloop": {"agents": pools}}
    Path("langgraph.json").write_text(json.dumps(document))


def test_check_says_that_there_are_no_mistakes(cli: CliRunner) -> None:
    workflow(STEP)
    configure(readers={"kind": "graph", "graph": "digest", "capabilities": ["summarize"]})
    result = cli.invoke(app, ["workflow", "check", "w.json"])
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "w.json: no mistakes\n")


def test_check_names_the_place_of_each_mistake(cli: CliRunner) -> None:
    workflow(STEP | {"agent": "summarise"}, {"id": "b", "graph": "digets", "needs": ["c"]})
    configure(readers={"kind": "graph", "graph": "digest", "capabilities": ["summarize"]})
    result = cli.invoke(app, ["workflow", "check", "w.json"])
    assert result.exit_code == 1
    assert [line.split(": ")[1] for line in result.stdout.splitlines()] == [
        "/steps/0/agent", "/steps/1/needs/0", "/steps/1/graph",
    ]  # fmt: skip


def test_check_has_json_for_programs(cli: CliRunner) -> None:
    workflow({**STEP, "needs": ["a"]})
    result = cli.invoke(app, ["workflow", "check", "w.json", "--json"])
    assert (result.exit_code, json.loads(result.stdout)) == (
        1,
        [
            {
                "pointer": "/steps/0/needs",
                "detail": "steps wait for each other: a needs a. Cut one off.",
            }
        ],
    )
    assert "no langgraph.json here" in result.stderr


def test_what_agents_say_only_when_they_have_started_is_not_missed(cli: CliRunner) -> None:
    workflow(STEP)
    configure(readers={"kind": "process", "argv": ["python"]})
    assert cli.invoke(app, ["workflow", "check", "w.json"]).exit_code == 0


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "w.json: it cannot be read (No such file or directory)"),
        (b"{", "w.json:1:2: this is not JSON"),
        (b"\xff\xfe", "w.json: this is not JSON in UTF-8"),
        (b"[" * 100_000, "w.json: this is not JSON in UTF-8"),
        (b'{"name": "\\ud800"}', "w.json: this is not JSON in UTF-8"),
    ],
)
def test_a_file_that_is_no_json_is_misuse(
    cli: CliRunner, content: bytes | None, complaint: str
) -> None:
    if content is not None:
        Path("w.json").write_bytes(content)
    result = cli.invoke(app, ["workflow", "check", "w.json"])
    assert result.exit_code == 2
    assert complaint in result.stderr
