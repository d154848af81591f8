"""What the documents say is what the code does."""

import re
import tomllib
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from operations.ports import DEFAULT_PORT
from operations.settings import Settings
from orchestration.api.app import ENDPOINTS
from orchestration.graphs.manifest import IGNORED_KEYS, Manifest
from orchestration.loop.transitions import diagram
from orchestration.mcp.oauth import WELL_KNOWN

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *ROOT.glob("docs/**/*.md")])
LINK = re.compile(r"\]\((?!https?://|#)([^)#]+)(?:#[^)]*)?\)")
LINK_TO_HEADING = re.compile(r"\]\((?!https?://)([^)#]*)#([^)]+)\)")


def test_the_diagram_of_a_runs_states_is_the_table_in_the_code() -> None:
    page = (ROOT / "docs/architecture.md").read_text()
    assert f"```mermaid\n{diagram()}\n```" in page


def test_the_table_of_settings_names_every_setting_and_no_other() -> None:
    page = (ROOT / "docs/configure.md").read_text()
    table = page.split("<!-- settings: begin")[1].split("<!-- settings: end")[0]
    named = re.findall(r"^\| `MASTERLOOP_(\w+)`", table, re.MULTILINE)
    assert [name.lower() for name in named] == list(Settings.model_fields)


def test_the_tables_of_dependencies_name_each_direct_one_and_no_other() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    page, further = (ROOT / "docs/dependencies.md").read_text().split("## Extras")
    cells = re.findall(r"^\| `.*?` \| (.*?) \|", further, re.MULTILINE)
    assert sorted(re.findall(r"^\| ([a-z].*?) \|", page, re.MULTILINE)) == _names(
        project["dependencies"]
    )
    assert sorted(chain(*(cell.split(", ") for cell in cells))) == _names(chain(*extras))


def test_every_key_of_langgraph_json_is_named() -> None:
    pages = "\n".join(page.read_text() for page in PAGES if page.name != "CHANGELOG.md")
    quoted = " ".join(re.findall(r"```.*?```|`[^`]+`", pages, re.DOTALL))
    named = set(re.findall(r"\w+", quoted))
    assert {*_keys(Manifest), *IGNORED_KEYS} - named == set()


def test_what_is_said_to_be_public_is_and_nothing_else() -> None:
    page = (ROOT / "docs/auth.md").read_text()
    said = page.split("Public are ")[1].split(";")[0]
    public = {one.path for one in ENDPOINTS if one.access.public}
    assert set(re.findall(r"`(/.*?)`", said)) == {*public, f"{WELL_KNOWN}/mcp"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    missing = [link for link in LINK.findall(page.read_text()) if not (page.parent / link).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_a_heading_leads_to_one(page: Path) -> None:
    links = LINK_TO_HEADING.findall(page.read_text())
    missing = [
        f"{file}#{heading}"
        for file, heading in links
        if heading not in _headings(page.parent / file if file else page)
    ]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_whoever_follows_an_example_finds_the_service_there(page: Path) -> None:
    ports = re.findall(r"https?://(?:127\.0\.0\.1|localhost):(\d+)", page.read_text())
    ports += re.findall(r"curl [^\n]*?localhost:(\d+)", page.read_text())
    assert {int(port) for port in ports} <= {DEFAULT_PORT}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_an_example_sends_with_curl_is_said_to_be_json(page: Path) -> None:
    blocks = re.findall(r"^```.*?^```", page.read_text(), re.MULTILINE | re.DOTALL)
    curls = [block for block in blocks if "curl " in block]
    bodies = [block.count(" -d ") for block in curls]
    assert [block.count("content-type: application/json") for block in curls] == bodies


def test_the_readme_is_short_enough_to_be_read() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


def _headings(page: Path) -> set[str]:
    """Return the headings of a page as links name them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in headings}


def _keys(kind: Any) -> Iterator[str]:
    """Return the names of the fields of a model, and of all models below it."""
    for part in get_args(kind):
        yield from _keys(part)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        for name, field in kind.model_fields.items():
            yield name
            yield from _keys(field.annotation)


def _names(requirements: Iterable[str]) -> list[str]:
    return sorted({re.split("[>=]", one)[0] for one in requirements})
