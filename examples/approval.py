"""The graph ``approval``: an announcement is drafted, and goes out only if a human says so.

Input: ``{"title": "Masterloop 0.2", "changes": ["feat: ...", "fix: ...", ...]}``, where a change
begins with its kind as in Conventional Commits. The run stops with an interrupt that shows the
draft. Resume it with ``"approve"``, ``{"decision": "edit", "text": "..."}`` or
``{"decision": "reject", "reason": "..."}``; anything else is asked again.
"""

import re
from typing import Any, Literal, TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt

HEADINGS = {"feat": "New", "fix": "Fixed", "perf": "Faster", "docs": "Documented"}
KIND = re.compile(r"(\w+)(?:\([^)]*\))?(!?):\s*(.+)", re.DOTALL)


class Request(TypedDict):
    """What to announce."""

    title: str
    changes: list[str]


class Result(TypedDict):
    """What became of it: the text that went out, or the reason why none did."""

    status: Literal["published", "rejected"]
    text: str | None
    reason: str | None


class State(Request, Result):
    """What the nodes share."""

    draft: str
    problem: str | None


def write(state: Request) -> dict[str, Any]:
    """Draft the announcement: the changes under headings, breaking ones first."""
    sections: dict[str, list[str]] = {"Breaking": []}
    sections |= {heading: [] for heading in HEADINGS.values()} | {"Also": []}
    for change in state["changes"]:
        match = KIND.fullmatch(change.strip())
        kind, breaking, text = match.groups() if match else ("", "", change.strip())
        heading = "Breaking" if breaking else HEADINGS.get(kind.lower(), "Also")
        sections[heading].append(text[:1].upper() + text[1:])
    parts = [
        f"## {heading}\n" + "\n".join(f"- {line}" for line in lines)
        for heading, lines in sections.items()
        if lines
    ]
    return {"draft": "\n\n".join([f"# {state['title']}", *parts]), "problem": None}


def review(state: State) -> Command[Literal["review", "publish", "discard"]]:
    """Wait for the decision of a human."""
    answer = interrupt(
        {
            "question": "Publish this announcement?",
            "draft": state["draft"],
            "options": ["approve", "edit", "reject"],
            "problem": state["problem"],
        }
    )
    decision = answer if isinstance(answer, dict) else {"decision": answer}
    match decision:
        case {"decision": "approve"}:
            return Command(goto="publish")
        case {"decision": "edit", "text": str(text)} if text.strip():
            return Command(goto="publish", update={"draft": text})
        case {"decision": "reject"}:
            reason = str(decision.get("reason", "no reason given"))
            return Command(goto="discard", update={"reason": reason})
        case _:
            problem = "answer approve, edit (with a text) or reject"
            return Command(goto="review", update={"problem": problem})


def publish(state: State) -> Result:
    """Let the text out. This is where a real one would send it."""
    return {"status": "published", "text": state["draft"], "reason": None}


def discard(state: State) -> dict[str, Any]:
    """Keep it in."""
    return {"status": "rejected", "text": None, "reason": state["reason"]}


builder = StateGraph(State, input_schema=Request, output_schema=Result)
builder.add_node("write", write)
builder.add_node("review", review)
builder.add_node("publish", publish)
builder.add_node("discard", discard)
builder.add_edge(START, "write")
builder.add_edge("write", "review")
builder.add_edge("publish", END)
builder.add_edge("discard", END)
graph = builder.compile()
