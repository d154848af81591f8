"""The official conformance suite of MCP: what needs no fixture, and tasks with graphs for it."""

import re
from pathlib import Path

import pytest

from tests.clients.test_javascript import output, packages
from tests.mcp.client import open_tools
from tests.mcp.plays import MANIFEST, SUITE

FOLDER = Path(__file__).parent / "mcp"
PAGE = (Path(__file__).parents[2] / "docs/mcp.md").read_text()
_ROW = re.compile(r"^\| `([a-z0-9-]+)` \| passes \|", re.MULTILINE)
_SUITE = "node_modules/@modelcontextprotocol/conformance/dist/index.js"


@pytest.mark.process
@pytest.mark.timeout(590)
async def test_every_scenario_passes_that_the_page_says_does(tmp_path: Path) -> None:
    node = await packages(FOLDER)
    wanted = set(_ROW.findall(PAGE))
    async with open_tools(tmp_path, *SUITE, manifest=MANIFEST) as (_, http):
        url = f"{str(http.base_url).rstrip('/')}/mcp"
        _, said = await output(
            *(node, "--import", "./node20.mjs", _SUITE),
            *("server", "--url", url, "--suite", "all"),
            folder=FOLDER,
        )
    passed = set(re.findall(r"^✓ ([a-z0-9-]+):", said, re.MULTILINE))
    assert wanted
    assert wanted - passed == set(), said[-4000:]
