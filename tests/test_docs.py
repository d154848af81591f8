"""What the documents say is what the code does."""

import re
from pathlib import Path

import pytest

from operations.ports import DEFAULT_PORT
from operations.settings import Settings
from orchestration.loop.transitions import diagram

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *ROOT.glob("docs/**/*.md")])
LINK = re.compile(r"\]\((?!https?://|#)([^)#]+)(?:#[^)]*)?\)")


def test_the_diagram_of_a_runs_states_is_the_table_in_the_code() -> None:
    page = (ROOT / "docs/architecture.md").read_text()
    assert f"```mermaid\n{diagram()}\n```" in page


def test_the_table_of_settings_names_every_setting_and_no_other() -> None:
    page = (ROOT / "docs/configure.md").read_text()
    table = page.split("<!-- settings: begin")[1].split("<!-- settings: end")[0]
    named = re.findall(r"^\| `MASTERLOOP_(\w+)`", table, re.MULTILINE)
    assert [name.lower() for name in named] == list(Settings.model_fields)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    missing = [link for link in LINK.findall(page.read_text()) if not (page.parent / link).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_whoever_follows_an_example_finds_the_service_there(page: Path) -> None:
    ports = re.findall(r"https?://(?:127\.0\.0\.1|localhost):(\d+)", page.read_text())
    ports += re.findall(r"curl [^\n]*?localhost:(\d+)", page.read_text())
    assert {int(port) for port in ports} <= {DEFAULT_PORT}


def test_the_readme_is_short_enough_to_be_read() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150
