"""The allow-list of tools: names in it that nobody has."""

import json
from pathlib import Path

from structlog.testing import capture_logs

from tests.mcp.client import open_tools, until
from tests.mcp.test_workflows import FILED


async def test_names_of_the_allow_list_that_nobody_has_are_warned_of(tmp_path: Path) -> None:
    file = tmp_path / "filed.json"
    file.write_text(json.dumps(FILED))
    async with open_tools(tmp_path, "greet", "chat") as (_, http):
        body = {"graph_id": "greet", "name": "Made over the API"}
        made = (await http.post("/assistants", json=body)).raise_for_status().json()
    known = ["greet", "filed", body["name"], made["assistant_id"]]
    section = {
        "mcp": {"assistants": ["greets", *known, "Made over", "last"]},
        "workflows": [str(file)],
    }
    with capture_logs() as logs:
        async with open_tools(tmp_path, "greet", "chat", manifest={"masterloop": section}):
            await until(lambda: any(entry.get("name") == "last" for entry in logs))
    warned = {entry["name"]: entry["hint"] for entry in logs if "name" in entry}
    assert warned == {
        "greets": "Did you mean greet?",
        "Made over": "Known are: chat, filed, greet.",
        "last": "Known are: chat, filed, greet.",
    }
