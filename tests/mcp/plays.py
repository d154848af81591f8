"""Graphs that tests see as tools; the first eight are those that the official suite asks for."""

import asyncio
import operator
from enum import Enum
from typing import Annotated, Any, TypedDict

from langchain_core.messages import AIMessage, AnyMessage
from langchain_core.runnables import RunnableConfig
from langgraph.config import get_stream_writer
from langgraph.func import entrypoint
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.types import interrupt
from pydantic import BaseModel

from tests.api.plays import gates


class Named(TypedDict):
    name: str


class Text(TypedDict):
    text: str


class Greeting(Named, Text):
    pass


class Slow(TypedDict):
    seconds: float
    label: str


class Worked(Slow, Text):
    pass


class Nothing(TypedDict, total=False):
    pass


class Kept(TypedDict):
    filename: str


class Deleted(Kept, Text):
    pass


class Numbered(TypedDict):
    numbers: list[int]


class Texts(TypedDict, total=False):
    text: Annotated[str, operator.add]


class Verdict(Enum):
    GOOD = "good"
    BAD = "bad"


class Judgement(BaseModel):
    verdict: Verdict
    why: str | None = None


_LONG = 1.0  # seconds, past those after which a call becomes a task here
_CONFIRM = {
    "type": "object",
    "properties": {"confirm": {"type": "boolean"}},
    "required": ["confirm"],
}
_NAME = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}


def _one(node: Any, *, state: Any = Text, given: Any = Nothing, left: Any = Text) -> Any:
    builder: Any = StateGraph(state, input_schema=given, output_schema=left)
    builder.add_node("work", node)
    builder.add_edge(START, "work")
    builder.add_edge("work", END)
    return builder


async def _greet(state: Greeting) -> Any:
    return {"text": f"Hello, {state['name']}!"}


async def _compute(state: Worked) -> Any:
    writer = get_stream_writer()
    for step in range(1, 5):
        await asyncio.sleep(state["seconds"] / 4)
        writer({"progress": step, "total": 4, "message": f"step {step} of 4"})
    return {"text": f"{state['label']} done"}


async def _count_far(_: Text) -> Any:
    for step in (10**400, 1):
        get_stream_writer()({"progress": step})
    return {"text": "counted"}


async def _fail(_: Text) -> Any:
    raise ValueError("failed on purpose")


async def _fail_late(_: Text) -> Any:
    await asyncio.sleep(_LONG)
    raise ValueError("failed on purpose")


async def _hang(_: Text) -> Any:
    await asyncio.Event().wait()


async def _confirm(state: Deleted) -> Any:
    await asyncio.sleep(_LONG)
    message = f"Delete {state['filename']}?"
    answer = interrupt({"message": message, "schema": _CONFIRM})
    return {"text": f"{'deleted' if answer['confirm'] else 'kept'} {state['filename']}"}


def _asking(name: str) -> Any:
    async def ask(_: Texts) -> Any:
        await asyncio.sleep(_LONG)
        answer = interrupt({"message": f"What is {name}?", "schema": _NAME})
        return {"text": f"{name} is {answer['name']};"}

    return ask


async def _ask_name(_: Text) -> Any:
    answer = interrupt({"message": "What is your name?", "schema": _NAME})
    await asyncio.sleep(_LONG)
    return {"text": f"Hello, {answer['name']}!"}


async def _ask_text(_: Text) -> Any:
    return {"text": f"You said {interrupt('Say something')}"}


async def _judge(_: Text) -> Any:
    found = interrupt("Good?", response_schema=Judgement)
    return {"text": f"{found.verdict.value}, for {found.why}"}


async def _judge_all(_: Text) -> Any:
    found = interrupt("Good?", response_schema=list[Judgement])
    return {"text": " ".join(one.verdict.value for one in found)}


async def _ask_twice(state: Greeting) -> Any:
    draft = interrupt("Delete the draft?")
    gate = gates[state["name"]]
    gate.reached.set()
    await gate.opened.wait()
    return {"text": f"draft: {draft}, disk: {interrupt('Wipe the disk?')}"}


async def _fail_between(state: Greeting) -> Any:
    draft = interrupt("Delete the draft?")
    if not gates[state["name"]].reached.is_set():
        gates[state["name"]].reached.set()
        raise ValueError("failed on purpose")
    return {"text": f"draft: {draft}, disk: {interrupt('Wipe the disk?')}"}


async def _hold(state: Greeting) -> Any:
    gate = gates[state["name"]]
    gate.reached.set()
    await gate.opened.wait()
    return {"text": "held"}


class Chat(TypedDict):
    messages: Annotated[list[AnyMessage], add_messages]


async def _chat(state: Chat) -> Any:
    return {"messages": [AIMessage(f"You said: {state['messages'][-1].content}")]}


class Loose(TypedDict, total=False):
    number: int
    text: str


async def _lie(_: Loose) -> Any:
    return {"number": "seven", "text": "true"}


async def _number(state: Numbered) -> Any:
    return {"numbers": state["numbers"]}


@entrypoint()
async def shout(topic: str) -> str:
    """Take no object, and give none."""
    return topic.upper()


greet = _one(_greet, state=Greeting, given=Named)
count_far = _one(_count_far)
slow_compute = _one(_compute, state=Worked, given=Slow)
failing_job = _one(_fail_late)
protocol_error_job = _one(_hang)
confirm_delete = _one(_confirm, state=Deleted, given=Kept)
multi_input: Any = StateGraph(Texts, input_schema=Nothing)
for _name in ("a", "b"):
    multi_input.add_node(_name, _asking(_name))
    multi_input.add_edge(START, _name)
    multi_input.add_edge(_name, END)
test_tool_with_task = _one(_ask_name)
test_error_handling = _one(_fail)
ask_text = _one(_ask_text)
judge = _one(_judge)
judge_all = _one(_judge_all)
ask_twice = _one(_ask_twice, state=Greeting, given=Named)
fail_between = _one(_fail_between, state=Greeting, given=Named)
hold = _one(_hold, state=Greeting, given=Named)
chat = _one(_chat, state=Chat, given=Chat, left=Chat)
numbered = _one(_number, state=Numbered, given=Numbered, left=Numbered)
lying = _one(_lie, state=Loose, given=Loose, left=Loose)


def made(_: RunnableConfig) -> Any:
    return greet


SUITE = (
    "greet", "slow_compute", "failing_job", "protocol_error_job", "confirm_delete", "multi_input",
    "test_tool_with_task", "test_error_handling",
)  # fmt: skip
MANIFEST: dict[str, Any] = {
    "masterloop": {
        "assistants": {"protocol_error_job": {"timeout": 1.0}},
        "mcp": {
            "task_after": 0.5,
            "tasks": {
                "greet": "forbidden",
                "failing_job": "required",
                "test_tool_with_task": "required",
            },
        },
    }
}
