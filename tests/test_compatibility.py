"""The page on compatibility has a row for every endpoint and parameter, and for nothing else."""

import re
from pathlib import Path

from orchestration.api.app import ENDPOINTS
from orchestration.api.run_models import RunCreate

PAGE = (Path(__file__).parent.parent / "docs/compatibility.md").read_text()
ROW = re.compile(
    r"^\| `(?P<endpoint>[A-Z]+ /[^`]*)` \| (?P<parameters>[^|]*)\| (?:yes|differs|ours) \| ",
    re.MULTILINE,
)
FIELD = re.compile(r"^\| `(\w+)` \| (?:yes|differs|ours) \| ", re.MULTILINE)


def _fields_of_a_run() -> set[str]:
    section = PAGE.split("\n## The body of a run\n")[1].split("\n## ")[0]
    return set(FIELD.findall(section))


def _named(parameters: str) -> set[str]:
    """Return the parameters that a cell names; *run* stands for those of a run."""
    named = set(re.findall(r"`(\w+)`", parameters))
    return named | _fields_of_a_run() if "*run*" in parameters else named


def test_every_endpoint_and_parameter_has_its_row_and_no_row_is_about_another() -> None:
    declared = {
        f"{one.method} {one.path}": one.fields.union(one.query.model_fields if one.query else ())
        for one in ENDPOINTS
    }
    rows = {row["endpoint"]: _named(row["parameters"]) for row in ROW.finditer(PAGE)}
    assert rows == declared


def test_no_endpoint_has_two_rows() -> None:
    rows = [row["endpoint"] for row in ROW.finditer(PAGE)]
    assert len(rows) == len(set(rows))


def test_the_body_of_a_run_has_a_row_for_every_field() -> None:
    assert _fields_of_a_run() == set(RunCreate.model_fields)
