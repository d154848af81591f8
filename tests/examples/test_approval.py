"""The example graph `approval`."""

from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from examples import approval

REQUEST: Any = {
    "title": "Masterloop 0.2",
    "changes": ["fix: a leak", "feat(api): batches", "feat!: a new format", "tidied up", "x: y"],
}
DRAFT = """# Masterloop 0.2

## Breaking
- A new format

## New
- Batches

## Fixed
- A leak

## Also
- Tidied up
- Y"""


async def decided(*answers: Any) -> dict[str, Any]:
    graph = approval.builder.compile(InMemorySaver())
    config: Any = {"configurable": {"thread_id": "1"}}
    result = await graph.ainvoke(REQUEST, config)
    for answer in answers:
        result = await graph.ainvoke(Command(resume=answer), config)
    return result


async def test_it_stops_and_shows_the_draft() -> None:
    question = (await decided())["__interrupt__"][0].value
    assert question["draft"] == DRAFT
    assert question["options"] == ["approve", "edit", "reject"]


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ("approve", {"status": "published", "text": DRAFT, "reason": None}),
        (
            {"decision": "edit", "text": "Shorter."},
            {"status": "published", "text": "Shorter.", "reason": None},
        ),
        (
            {"decision": "reject", "reason": "too early"},
            {"status": "rejected", "text": None, "reason": "too early"},
        ),
        ("reject", {"status": "rejected", "text": None, "reason": "no reason given"}),
    ],
)
async def test_the_decision_is_applied(answer: Any, outcome: dict[str, Any]) -> None:
    assert await decided(answer) == outcome


async def test_an_answer_that_is_none_is_asked_again() -> None:
    again = (await decided("maybe"))["__interrupt__"][0].value
    assert again["problem"] == "answer approve, edit (with a text) or reject"
    assert (await decided({"decision": "edit", "text": " "}, "approve"))["text"] == DRAFT
