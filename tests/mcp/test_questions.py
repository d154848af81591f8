"""Interrupts: asked of the user on both wires, or left to a model with `run_resume`."""

from pathlib import Path
from typing import Any

import pytest
from mcp_types import ElicitRequestParams, ElicitResult

from orchestration.mcp.questions import questions_in
from tests.api.plays import gates
from tests.mcp.client import NEWEST, OLDER, WIRES, client_of, open_tools, rpc

ELICITS: dict[str, Any] = {"elicitation": {"form": {}}}
ASKED = {"name": "test_tool_with_task", "arguments": {}}


def _says(*answers: dict[str, Any]) -> Any:
    """Return a user who gives one answer after the other, and what they were asked."""
    left, asked = list(answers), []

    async def answer(_: Any, params: ElicitRequestParams) -> ElicitResult:
        asked.append(params)
        return ElicitResult.model_validate(left.pop(0))

    return answer, asked


def _accept(**content: Any) -> dict[str, Any]:
    return {"action": "accept", "content": content}


@pytest.mark.parametrize("wire", WIRES)
async def test_the_user_is_asked_and_the_run_goes_on(tmp_path: Path, wire: str) -> None:
    user, asked = _says(_accept(name="Alice"))
    async with (
        open_tools(tmp_path, "test_tool_with_task") as (_, http),
        client_of(http, wire, elicitation_callback=user) as client,
    ):
        result = await client.call_tool("test_tool_with_task", {})
    assert result.structured_content == {"text": "Hello, Alice!"}
    assert [params.message for params in asked] == ["What is your name?"]
    assert asked[0].requested_schema["required"] == ["name"]


@pytest.mark.parametrize("wire", WIRES)
async def test_each_interrupt_is_asked_by_itself(tmp_path: Path, wire: str) -> None:
    user, asked = _says(_accept(name="x"), _accept(name="x"))
    async with (
        open_tools(tmp_path, "multi_input") as (_, http),
        client_of(http, wire, elicitation_callback=user) as client,
    ):
        result = await client.call_tool("multi_input", {})
    assert {params.message for params in asked} == {"What is a?", "What is b?"}
    assert result.structured_content == {"text": "a is x;b is x;"}


@pytest.mark.parametrize("wire", WIRES)
async def test_an_answer_that_does_not_fit_is_asked_for_again(tmp_path: Path, wire: str) -> None:
    user, asked = _says(_accept(nome="Alice"), _accept(name="Alice"))
    async with (
        open_tools(tmp_path, "test_tool_with_task") as (_, http),
        client_of(http, wire, elicitation_callback=user) as client,
    ):
        result = await client.call_tool("test_tool_with_task", {})
    assert (len(asked), result.structured_content) == (2, {"text": "Hello, Alice!"})


@pytest.mark.parametrize("wire", WIRES)
async def test_a_model_of_pydantic_is_a_form_of_its_fields(tmp_path: Path, wire: str) -> None:
    user, asked = _says(_accept(verdict="worse"), _accept(verdict="bad", why=None))
    async with (
        open_tools(tmp_path, "judge") as (_, http),
        client_of(http, wire, elicitation_callback=user) as client,
    ):
        result = await client.call_tool("judge", {})
    assert result.structured_content == {"text": "bad, for None"}
    assert asked[0].requested_schema["properties"] == {
        "verdict": {"title": "Verdict", "type": "string", "enum": ["good", "bad"]},
        "why": {"title": "Why", "type": "string"},
    }


@pytest.mark.parametrize("wire", WIRES)
async def test_what_fits_into_no_form_is_answered_by_json(tmp_path: Path, wire: str) -> None:
    user, asked = _says(*(_accept(answer=text) for text in ("good", "[1]", '[{"verdict":"good"}]')))
    async with (
        open_tools(tmp_path, "judge_all") as (_, http),
        client_of(http, wire, elicitation_callback=user) as client,
    ):
        result = await client.call_tool("judge_all", {})
    assert (len(asked), result.structured_content) == (3, {"text": "good"})
    assert '"verdict"' in asked[0].requested_schema["properties"]["answer"]["description"]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ({"answer": "yes"}, "'yes' is not of type 'array'"),
        ({"answer": [{"verdict": "fine"}]}, "0/verdict: 'fine' is not one of ['good', 'bad']"),
        ({"answers": {}}, "give answers, an object with the ids of what it asks"),
        ({}, "give answers, an object with the ids of what it asks"),
    ],
)
async def test_a_model_that_answers_wrong_is_told_and_the_run_still_asks(
    tmp_path: Path, answer: dict[str, Any], why: str
) -> None:
    async with open_tools(tmp_path, "judge_all") as (_, http), client_of(http, NEWEST) as client:
        result = await client.call_tool("judge_all", {})
        run = {"run_id": result.meta["masterloop/run_id"]}
        wrong = await client.call_tool("run_resume", {**run, **answer})
        right = await client.call_tool("run_resume", {**run, "answer": [{"verdict": "good"}]})
    assert wrong.is_error
    assert why in wrong.content[0].text
    assert right.structured_content["output"] == {"text": "good"}


async def test_a_model_that_is_to_answer_sees_what_the_graph_wants(tmp_path: Path) -> None:
    async with open_tools(tmp_path, "judge_all") as (_, http), client_of(http, NEWEST) as client:
        result = await client.call_tool("judge_all", {})
        run_id = result.meta["masterloop/run_id"]
        shown = await client.call_tool("run_get", {"run_id": run_id})
    (question,) = shown.structured_content["waits_for"]
    assert question["schema"]["items"] == {"$ref": "#/$defs/Judgement"}


@pytest.mark.parametrize("wire", WIRES)
async def test_a_user_who_declines_leaves_the_run_waiting(tmp_path: Path, wire: str) -> None:
    user, _ = _says({"action": "decline"})
    async with (
        open_tools(tmp_path, "ask_text") as (_, http),
        client_of(http, wire, elicitation_callback=user) as client,
    ):
        result = await client.call_tool("ask_text", {})
        run_id = result.meta["masterloop/run_id"]
        resumed = await client.call_tool("run_resume", {"run_id": run_id, "answer": "later"})
    assert "the user did not answer" in result.content[0].text
    assert resumed.structured_content["output"] == {"text": "You said later"}


@pytest.mark.parametrize("wire", WIRES)
async def test_a_client_that_cannot_ask_is_told_how_to_go_on(tmp_path: Path, wire: str) -> None:
    async with open_tools(tmp_path, "ask_text") as (_, http), client_of(http, wire) as client:
        result = await client.call_tool("ask_text", {})
        run_id = result.meta["masterloop/run_id"]
        shown = await client.call_tool("run_get", {"run_id": run_id})
        question = shown.structured_content["waits_for"][0]
        answers = {question["id"]: "hello"}
        resumed = await client.call_tool("run_resume", {"run_id": run_id, "answers": answers})
        over = await client.call_tool("run_resume", {"run_id": run_id, "answer": "again"})
    assert not result.is_error
    assert f'call run_resume with {{"run_id": "{run_id}"' in result.content[0].text
    assert question["question"] == "Say something"
    assert question["schema"] == {"type": "string"}
    assert resumed.structured_content["output"] == {"text": "You said hello"}
    assert over.is_error
    assert "waits for no answer: success" in over.content[0].text


async def test_a_run_that_waits_is_given_up_as_its_result_says(tmp_path: Path) -> None:
    call = {"name": "ask_text", "arguments": {}}
    async with open_tools(tmp_path, "ask_text") as (_, http):
        asked = await rpc(http, "tools/call", call, able=ELICITS)
        waiting = await rpc(http, "tools/call", call)
        run_ids = [run["run_id"] for run in (await http.get("/runs")).json()]
        given_up = [
            await rpc(http, "tools/call", {"name": "run_cancel", "arguments": {"run_id": run_id}})
            for run_id in run_ids
        ]
        named = {"run_id": waiting["_meta"]["masterloop/run_id"]}
        shown, again, resumed = [
            await rpc(http, "tools/call", {"name": name, "arguments": {**named, **more}})
            for name, more in (("run_get", {}), ("run_cancel", {}), ("run_resume", {"answer": "x"}))
        ]
        answers = dict.fromkeys(asked["inputRequests"], _accept(answer="x"))
        late = {**call, "inputResponses": answers, "requestState": asked["requestState"]}
        answered = await rpc(http, "tools/call", late, able=ELICITS)
    assert "to give it up, leave it, or call run_cancel" in waiting["content"][0]["text"]
    assert [one["structuredContent"]["given_up"] for one in given_up] == [True, True]
    assert shown["structuredContent"]["given_up"]
    assert "waits_for" not in shown["structuredContent"]
    assert "has ended" in again["content"][0]["text"]
    assert "waits for no answer" in resumed["content"][0]["text"]
    assert "was cancelled" in answered["content"][0]["text"]


async def test_what_is_asked_after_a_question_that_was_given_up_is_asked(tmp_path: Path) -> None:
    gates["given up"].opened.set()
    async with open_tools(tmp_path, "ask_twice") as (_, http):
        call = {"name": "ask_twice", "arguments": {"name": "given up"}}
        run = (await rpc(http, "tools/call", call))["_meta"]
        named = {"run_id": run["masterloop/run_id"]}
        await rpc(http, "tools/call", {"name": "run_cancel", "arguments": named})
        resume = {"assistant_id": "ask_twice", "command": {"resume": "yes"}}
        thread = f"/threads/{run['masterloop/thread_id']}"
        await http.post(f"{thread}/runs/wait", json=resume)
        goes_on = {"run_id": (await http.get(f"{thread}/runs")).json()[0]["run_id"]}
        shown, resumed = [
            await rpc(http, "tools/call", {"name": name, "arguments": {**goes_on, **more}})
            for name, more in (("run_get", {}), ("run_resume", {"answer": "no"}))
        ]
    asked = shown["structuredContent"]["waits_for"]
    assert [one["question"] for one in asked] == ["Wipe the disk?"]
    assert resumed["structuredContent"]["output"]["text"] == "draft: yes, disk: no"


@pytest.mark.parametrize(
    ("able", "asked"), [({}, True), ({"form": {}, "url": {}}, True), ({"url": {}}, False)]
)
async def test_only_who_shows_forms_is_sent_one(
    tmp_path: Path, able: dict[str, Any], asked: bool
) -> None:
    call = {"name": "ask_text", "arguments": {}}
    async with open_tools(tmp_path, "ask_text") as (_, http):
        result = await rpc(http, "tools/call", call, able={"elicitation": able})
    assert ("inputRequests" in result, "run_resume" in str(result)) == (asked, not asked)


async def test_a_state_that_was_changed_or_is_of_another_call_is_refused(tmp_path: Path) -> None:
    async with open_tools(tmp_path, "test_tool_with_task", "ask_text") as (_, http):
        asked = await rpc(http, "tools/call", ASKED, able=ELICITS)
        key = next(iter(asked["inputRequests"]))
        answered = {"inputResponses": {key: _accept(name="Eve")}}
        state = asked["requestState"]
        changed = {**ASKED, **answered, "requestState": f"{state[:-4]}AAAA"}
        moved = {"name": "ask_text", "arguments": {}, **answered, "requestState": state}
        refused = [await rpc(http, "tools/call", one, able=ELICITS) for one in (changed, moved)]
        taken = {**ASKED, **answered, "requestState": state}
        result = await rpc(http, "tools/call", taken, able=ELICITS)
    assert [one["message"] for one in refused] == ["Invalid or expired requestState"] * 2
    assert result["structuredContent"] == {"text": "Hello, Eve!"}


async def test_a_state_outlives_the_service_that_sealed_it(tmp_path: Path) -> None:
    async with open_tools(tmp_path, "test_tool_with_task") as (_, http):
        asked = await rpc(http, "tools/call", ASKED, able=ELICITS)
    key = next(iter(asked["inputRequests"]))
    again = {
        **ASKED,
        "inputResponses": {key: _accept(name="Eve")},
        "requestState": asked["requestState"],
    }
    async with open_tools(tmp_path, "test_tool_with_task") as (_, http):
        result = await rpc(http, "tools/call", again, able=ELICITS)
    assert result["structuredContent"] == {"text": "Hello, Eve!"}
    assert (tmp_path / "data/mcp.key").stat().st_mode & 0o077 == 0


def _rest(missing: int) -> str:
    """Return what is below the beginning of a question that is too long."""
    told = f"{missing} more characters are not shown here; all is under interrupts of thread://t"
    return f"…\n\n[{told}]"


@pytest.mark.parametrize(
    ("interrupt", "message", "bare"),
    [
        ({"id": "1", "value": "Go on?"}, "Go on?", True),
        ({"id": "1", "value": {"question": "Go on?"}}, "Go on?", True),
        ({"id": "1", "value": {"prompt": "?", "schema": {"type": "boolean"}}}, "?", True),
        (
            {"id": "1", "value": {"question": "Go on?", "draft": "Hi", "by": ["a"], "why": None}},
            'Go on?\n\ndraft: Hi\n\nby: ["a"]',
            True,
        ),
        ({"id": "1", "value": {"action": "delete"}}, '{"action":"delete"}', True),
        ({"id": "1", "value": "a" * 2_000}, "a" * 2_000, True),
        ({"id": "1", "value": "a" * 2_001}, "a" * 2_000 + _rest(1), True),
        ({"id": "1", "value": ["a" * 2_000]}, '["' + "a" * 1_998 + _rest(4), True),
        ({"id": "1", "value": 7, "response_schema": {"type": "nonsense"}}, "7", True),
        (
            {"id": "1", "value": {"schema": {"type": "object", "properties": {"x": {}}}}},
            '{"schema":{"type":"object","properties":{"x":{}}}}',
            True,
        ),
        (
            {
                "id": "1",
                "value": {
                    "message": "Which?",
                    "schema": {
                        "type": "object",
                        "properties": {
                            "x": {"type": "array", "items": {"enum": ["a"], "type": "string"}}
                        },
                    },
                },
            },
            "Which?",
            False,
        ),
    ],
)
def test_whatever_a_graph_asks_becomes_a_form(
    interrupt: dict[str, Any], message: str, bare: bool
) -> None:
    (question,) = questions_in({"__interrupt__": [interrupt]}, "t")
    assert (question.message, question.bare) == (message, bare)
    assert question.schema["type"] == "object"


async def test_a_run_with_two_questions_wants_its_answers_by_their_ids(tmp_path: Path) -> None:
    async with (
        open_tools(tmp_path, "multi_input") as (_, http),
        client_of(http, OLDER) as client,
    ):
        result = await client.call_tool("multi_input", {})
        run_id = result.meta["masterloop/run_id"]
        one = await client.call_tool("run_resume", {"run_id": run_id, "answer": {"name": "x"}})
        wrong = await client.call_tool("run_resume", {"run_id": run_id, "answers": {"z": 1}})
    assert "give answers, an object with the ids of what it asks" in one.content[0].text
    assert "it asks nothing with the id 'z'" in wrong.content[0].text


def test_the_newest_wire_is_the_one_that_is_tested() -> None:
    from mcp_types.version import MODERN_PROTOCOL_VERSIONS

    assert NEWEST in MODERN_PROTOCOL_VERSIONS
