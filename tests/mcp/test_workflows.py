"""Workflows that are registered, or in a file of the project, as tools."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from mcp_types import ElicitRequestParams, ElicitResult

from tests.mcp.client import WIRES, client_of, open_tools

FILED: dict[str, Any] = {
    "name": "filed",
    "description": "Greets by file",
    "steps": [{"id": "hello", "graph": "greet", "input": {"name": "{{ input.whom }}"}}],
}
APPROVED: dict[str, Any] = {
    "name": "approved",
    "steps": [
        {"id": "hello", "graph": "greet", "input": {"name": "Ada"}, "approval": "Greet Ada?"}
    ],
}
REGISTERED = {**FILED, "name": "registered", "description": "Greets"}


@pytest.mark.parametrize("wire", WIRES)
async def test_a_workflow_is_a_tool_that_takes_what_its_steps_refer_to(
    tmp_path: Path, wire: str
) -> None:
    file = tmp_path / "filed.json"
    file.write_text(json.dumps(FILED))
    manifest = {"masterloop": {"workflows": [str(file)]}}
    async with open_tools(tmp_path, "greet", manifest=manifest) as (_, http):
        (await http.post("/workflows", json={"workflow": REGISTERED})).raise_for_status()
        async with client_of(http, wire) as client:
            listed = {one.title: one for one in (await client.list_tools()).tools}
            called = {
                title: await client.call_tool(listed[title].name, {"whom": title})
                for title in ("filed", "registered")
            }
            wrong = await client.call_tool(listed["filed"].name, {"name": "Ada"})
    assert [listed[title].description for title in called] == ["Greets by file", "Greets"]
    for title, result in called.items():
        assert listed[title].name.startswith(f"{title}_")
        assert listed[title].input_schema == {
            "type": "object",
            "properties": {"whom": {"title": "Whom"}},
            "additionalProperties": False,
        }
        assert not result.is_error
        assert result.structured_content["steps"]["hello"]["output"] == {"text": f"Hello, {title}!"}
    assert wrong.is_error
    assert "('name' was unexpected). Known are: whom. filed_" in wrong.content[0].text


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize(
    ("decision", "status"), [({"decision": "approve"}, "done"), ({"decision": "reject"}, "failed")]
)
async def test_the_approval_of_a_step_is_a_form(
    tmp_path: Path, wire: str, decision: dict[str, Any], status: str
) -> None:
    asked: list[Any] = []

    async def decide(_: Any, params: ElicitRequestParams) -> ElicitResult:
        asked.append(params)
        if len(asked) > 1:
            return ElicitResult(action="decline")
        shown = asked[0].requested_schema["properties"]["hash"]["default"]
        return ElicitResult(action="accept", content={**decision, "hash": shown})

    async with open_tools(tmp_path, "greet") as (_, http):
        (await http.post("/workflows", json={"workflow": APPROVED})).raise_for_status()
        async with client_of(http, wire, elicitation_callback=decide) as client:
            (name,) = (t.name for t in (await client.list_tools()).tools if t.title == "approved")
            result = await client.call_tool(name, {})
    assert [params.message.partition("\n")[0] for params in asked] == ["Greet Ada?"]
    assert result.is_error == (status == "failed")
    if status == "done":
        assert result.structured_content["steps"]["hello"]["output"] == {"text": "Hello, Ada!"}
    else:
        assert "no reason given" in result.content[0].text


@pytest.mark.parametrize("wire", WIRES)
async def test_an_approval_that_is_too_long_to_be_shown_says_so_and_where_all_of_it_is(
    tmp_path: Path, wire: str
) -> None:
    name, read = "Ada" * 1_000, list[str]()
    step = {**APPROVED["steps"][0], "input": {"name": name}}

    async def decide(_: Any, params: ElicitRequestParams) -> ElicitResult:
        read.append(params.message)
        return ElicitResult(action="decline")

    async with open_tools(tmp_path, "greet") as (_, http):
        workflow = {**APPROVED, "steps": [step]}
        (await http.post("/workflows", json={"workflow": workflow})).raise_for_status()
        async with client_of(http, wire, elicitation_callback=decide) as client:
            (tool,) = (t.name for t in (await client.list_tools()).tools if t.title == "approved")
            await client.call_tool(tool, {})
            found = re.search(r"characters are not shown.* (thread://[\w-]+)\]$", read[0])
            assert found is not None
            whole = (await client.read_resource(found[1])).contents[0].text
    assert name not in read[0]
    ((asked,),) = json.loads(whole)["interrupts"].values()
    assert asked["value"]["does"] == [{"graph": "greet", "input": {"name": name}}]


LONG = {**APPROVED, "steps": [{**APPROVED["steps"][0], "input": {"name": "Ada" * 1_000}}]}


async def _hash_in(client: Any, message: str) -> str:
    """Return the hash of a question that is cut, from where its text says that it is."""
    found = re.search(r"and the hash to answer with, is under .* (thread://[\w-]+)\]$", message)
    assert found is not None
    whole = json.loads((await client.read_resource(found[1])).contents[0].text)
    ((asked,),) = whole["interrupts"].values()
    assert asked["value"]["hash"] not in message
    return str(asked["value"]["hash"])


@pytest.mark.parametrize("wire", WIRES)
async def test_what_is_not_shown_whole_is_approved_with_the_hash_that_is_with_the_whole(
    tmp_path: Path, wire: str
) -> None:
    asked: list[Any] = []
    given: list[dict[str, Any]] = [{}, {"hash": "a guess"}]

    async def decide(_: Any, params: ElicitRequestParams) -> ElicitResult:
        asked.append(params)
        if len(asked) > len(given):
            given.append({"hash": await _hash_in(client, params.message)})
        content = {"decision": "approve", **given[len(asked) - 1]}
        return ElicitResult(action="accept", content=content)

    async with open_tools(tmp_path, "greet") as (_, http):
        (await http.post("/workflows", json={"workflow": LONG})).raise_for_status()
        async with client_of(http, wire, elicitation_callback=decide) as client:
            (name,) = (t.name for t in (await client.list_tools()).tools if t.title == "approved")
            result = await client.call_tool(name, {})
    output = result.structured_content["steps"]["hello"]["output"]
    assert output == {"text": f"Hello, {'Ada' * 1_000}!"}
    (right,) = given[2].values()
    assert [right in params.model_dump_json() for params in asked] == [False] * 3
    problems = [re.search("problem: (.*)", params.message) for params in asked]
    assert [found and found[1] for found in problems] == [
        None,
        "to approve takes the hash that stands with all that is to be done",
        "the hash is not that of what is to be done now; look again",
    ]


@pytest.mark.parametrize("workflow", [APPROVED, LONG])
@pytest.mark.parametrize("wire", WIRES)
async def test_to_reject_takes_no_hash(tmp_path: Path, wire: str, workflow: dict[str, Any]) -> None:
    async def reject(_: Any, __: ElicitRequestParams) -> ElicitResult:
        return ElicitResult(action="accept", content={"decision": "reject"})

    async with open_tools(tmp_path, "greet") as (_, http):
        (await http.post("/workflows", json={"workflow": workflow})).raise_for_status()
        async with client_of(http, wire, elicitation_callback=reject) as client:
            (name,) = (t.name for t in (await client.list_tools()).tools if t.title == "approved")
            result = await client.call_tool(name, {})
    assert "no reason given" in result.content[0].text


@pytest.mark.parametrize("wire", WIRES)
async def test_a_model_approves_what_is_not_shown_whole_with_the_hash_only(
    tmp_path: Path, wire: str
) -> None:
    async with open_tools(tmp_path, "greet") as (_, http):
        (await http.post("/workflows", json={"workflow": LONG})).raise_for_status()
        async with client_of(http, wire) as client:
            (name,) = (t.name for t in (await client.list_tools()).tools if t.title == "approved")
            first = await client.call_tool(name, {})
            run_id = first.meta["masterloop/run_id"]
            shown = await client.call_tool("run_get", {"run_id": run_id})
            (waits,) = shown.structured_content["waits_for"]
            right = await _hash_in(client, waits["question"])
            told = [first, shown]
            for given in ({}, {"hash": "a guess"}, {"hash": 1}, {"hash": right}):
                answer = {"decision": "approve", **given}
                again = {"run_id": run_id, "answer": answer}
                told.append(await client.call_tool("run_resume", again))
                run_id = (told[-1].structured_content or {}).get("run_id", run_id)
    *refused, last = told
    assert [right in result.model_dump_json() for result in refused] == [False] * 5
    assert last.structured_content["output"]["steps"]["hello"]["status"] == "done"
