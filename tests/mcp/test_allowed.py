"""Names of assistants in the configuration that nobody has."""

import json
from pathlib import Path

from structlog.testing import capture_logs

from tests.mcp.client import open_tools, rpc, until
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


async def test_names_of_tasks_that_nobody_has_are_warned_of(tmp_path: Path) -> None:
    async with open_tools(tmp_path, "greet") as (_, http):
        body = {"graph_id": "greet", "name": "Made over the API"}
        made = (await http.post("/assistants", json=body)).raise_for_status().json()
        tools = (await rpc(http, "tools/list"))["tools"]
        (tool,) = (one["name"] for one in tools if one.get("title") == body["name"])
    known = ["greet", body["name"], made["assistant_id"], tool]
    tasks = dict.fromkeys(["greets", *known, f"{tool}0", "last"], "required")
    with capture_logs() as logs:
        async with open_tools(tmp_path, "greet", mcp={"tasks": tasks}):
            await until(lambda: any(entry.get("name") == "last" for entry in logs))
    warned = [entry for entry in logs if "name" in entry]
    assert {entry["event"] for entry in warned} == {"masterloop.mcp.tasks names what is not there"}
    assert [(entry["name"], entry["hint"]) for entry in warned] == [
        ("greets", "Did you mean greet?"),
        (f"{tool}0", "Known are: greet."),
        ("last", "Known are: greet."),
    ]
