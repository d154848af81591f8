"""Graphs that LangGraph's clients play with: a chat, questions, a subgraph, a tool, trouble."""

import asyncio
import operator
from collections import defaultdict
from collections.abc import Iterator
from typing import Annotated, Any

from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, AnyMessage, ToolCall
from langchain_core.tools import tool
from langgraph.config import get_stream_writer
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.prebuilt import ToolNode
from langgraph.stream import ProtocolEvent, StreamChannel, StreamTransformer
from langgraph.types import Command, interrupt
from typing_extensions import TypedDict

_gates: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)


class Talk(TypedDict, total=False):
    """A conversation."""

    messages: Annotated[list[AnyMessage], add_messages]
    log: Annotated[list[str], operator.add]


def _saying(text: str) -> GenericFakeChatModel:
    """Return a model that says one thing, word by word."""

    def messages() -> Iterator[AIMessage]:
        yield AIMessage(text)

    return GenericFakeChatModel(messages=messages())


def _said(talk: Talk) -> str:
    return str(talk["messages"][-1].content)


async def _answer(talk: Talk) -> Talk:
    """Answer word by word, and tell how far it is."""
    get_stream_writer()({"progress": 1})
    heard = f"you said {_said(talk)}"
    return {"messages": [await _saying(heard).ainvoke(talk["messages"])]}


async def _ask(talk: Talk) -> Talk:
    answer = interrupt({"question": f"really {_said(talk)}?"})
    return {"messages": [AIMessage(f"answered {answer}")]}


async def _ask_first(_: Talk) -> Talk:
    return {"log": [f"first {interrupt('first?')}"]}


async def _ask_second(_: Talk) -> Talk:
    return {"log": [f"second {interrupt('second?')}"]}


async def _fail(_: Talk) -> Talk:
    raise ValueError("no such luck")


async def _wait(_: Talk) -> Talk:
    """Work until cancelled."""
    await asyncio.Event().wait()
    return {}


async def _hold(talk: Talk) -> Talk:
    """Wait for the gate of the name that was said last."""
    await _gates[_said(talk)].wait()
    return {"messages": [AIMessage("held no longer")]}


async def _open(talk: Talk) -> Talk:
    _gates[_said(talk)].set()
    return {}


async def _begin(_: Talk) -> Talk:
    return {"log": ["begun"]}


class _Redacting(StreamTransformer):
    """Keeps a word out of the stream, and counts the parts that it was shown."""

    required_stream_modes = ("messages", "updates")
    before_builtins = True

    def init(self) -> dict[str, Any]:
        self._count: StreamChannel[int] = StreamChannel("seen")
        return {"seen": self._count}

    def process(self, event: ProtocolEvent) -> bool:
        if event["method"] == "updates":
            self._count.push(1)
            return False
        if event["method"] == "messages":
            delta = event["params"]["data"][0].get("delta", {})
            if delta.get("text") == "hello":
                delta["text"] = "*****"
        return True


async def _hand_on(_: Talk) -> Command[str]:
    said = {"messages": [{"type": "ai", "content": "over to you"}]}
    return Command(graph=Command.PARENT, goto="taker", update=said)


async def _call_tool(_: Talk) -> Talk:
    call = ToolCall(name="add", args={"one": 1, "other": 2}, id="call-1", type="tool_call")
    return {"messages": [AIMessage("", tool_calls=[call])]}


@tool
def add(one: int, other: int) -> int:
    """Add two numbers."""
    return one + other


def _built(*nodes: tuple[str, Any]) -> Any:
    builder: Any = StateGraph(Talk)
    builder.add_sequence(nodes)
    builder.add_edge(START, nodes[0][0])
    builder.add_edge(nodes[-1][0], END)
    return builder


def _side_by_side(**nodes: Any) -> Any:
    builder: Any = StateGraph(Talk)
    for name, node in nodes.items():
        builder.add_node(name, node)
        builder.add_edge(START, name)
    return builder


chat = _built(("answer", _answer))
asking = _built(("ask", _ask))
asking_twice = _side_by_side(first=_ask_first, second=_ask_second)
asking_within = _built(("team", asking.compile()), ("answer", _answer))
teaming = _built(("team", chat.compile()))
asking_later = _built(("hold", _hold), ("ask", _ask))
asking_aside = _side_by_side(first=_ask_first, hold=_hold)
asking_aside_within = _built(("team", asking_aside.compile()))
failing = _built(("begin", _begin), ("fail", _fail))
waiting = _built(("begin", _begin), ("wait", _wait))
holding = _built(("begin", _begin), ("hold", _hold))
opening = _built(("open", _open))
handing = _built(("hand_on", _hand_on))
redacting = _built(("answer", _answer)).compile(transformers=[_Redacting])
adding = _built(("call", _call_tool), ("tools", ToolNode([add])))
