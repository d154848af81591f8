"""Small graphs for the executor's tests."""

import asyncio
import operator
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.config import get_stream_writer
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.runtime import Runtime
from langgraph.types import Send, interrupt
from typing_extensions import TypedDict

from orchestration.graphs.arguments import Graph


class State(TypedDict, total=False):
    text: str
    reply: str
    log: Annotated[list[Any], operator.add]


class Text(TypedDict, total=False):
    text: str
    reply: Any


class Messages(TypedDict):
    messages: Annotated[list[AnyMessage], add_messages]


@dataclass
class Gate:
    """A place where a node waits until it is opened, and tells that it came there."""

    reached: asyncio.Event = field(default_factory=asyncio.Event)
    opened: asyncio.Event = field(default_factory=asyncio.Event)

    async def wait(self) -> None:
        self.reached.set()
        await self.opened.wait()


def chain(
    *nodes: tuple[str, Any], state: Any = State, context: Any = None, **compiling: Any
) -> Graph:
    """Return a graph of nodes one after the other."""
    builder: Any = StateGraph(state, context_schema=context)
    builder.add_sequence(nodes)
    builder.add_edge(START, nodes[0][0])
    builder.add_edge(nodes[-1][0], END)
    compiled: Graph = builder.compile(**compiling)
    return compiled


async def _echo(state: Text) -> Text:
    return {"reply": f"echo:{state.get('text', '')}"}


def echo() -> Graph:
    return chain(("echo", _echo), state=Text)


def logging(*names: str, **compiling: Any) -> Graph:
    """Return a chain of nodes that each write their name to the log."""

    def node(name: str) -> Any:
        async def log(_: State) -> State:
            return {"log": [name]}

        return log

    return chain(*((name, node(name)) for name in names), **compiling)


def failing(error: BaseException) -> Graph:
    """Return a graph whose second node raises."""

    async def first(_: State) -> State:
        return {"log": ["first"]}

    async def second(_: State) -> State:
        raise error

    return chain(("first", first), ("second", second))


def gated(gate: Gate, log: list[str]) -> Graph:
    """Return a graph of a step, a wait at ``gate``, and a side effect in ``log`` after it."""

    async def begin(_: State) -> State:
        log.append("begin")
        return {"log": ["begin"]}

    async def work(_: State) -> State:
        await gate.wait()
        log.append("work")
        return {"log": ["work"]}

    return chain(("begin", begin), ("work", work))


def adding(gate: Gate) -> Graph:
    """Return a graph whose state is a sum, to which its node adds 1 after ``gate``."""

    async def add(_: int) -> int:
        await gate.wait()
        return 1

    builder: Any = StateGraph(Annotated[int, operator.add])  # type: ignore[arg-type]
    builder.add_node("add", add)
    builder.add_edge(START, "add")
    compiled: Graph = builder.compile()
    return compiled


def asking(*questions: str) -> Graph:
    """Return a graph whose one node asks its questions in turn."""

    async def ask(_: State) -> State:
        return {"log": [interrupt(question) for question in questions]}

    return chain(("ask", ask))


def fan(name: str, node: Any, packets: Sequence[dict[str, Any]]) -> Graph:
    """Return a graph that does ``node`` once for each packet, side by side."""

    def spread(_: State) -> list[Send]:
        return [Send(name, packet) for packet in packets]

    builder: Any = StateGraph(State)
    builder.add_node(name, node)
    builder.add_conditional_edges(START, spread, [name])
    compiled: Graph = builder.compile()
    return compiled


def asking_in_parallel(questions: Sequence[str]) -> Graph:
    """Return a graph that asks all its questions at once."""

    async def ask(state: dict[str, str]) -> State:
        return {"log": [interrupt(state["question"])]}

    return fan("ask", ask, [{"question": question} for question in questions])


def nested(inner: Graph) -> Graph:
    """Return a graph with ``inner`` as its node ``child``."""
    return chain(("child", inner))


def calling(inner: Graph) -> Graph:
    """Return a graph that calls ``inner`` in its node ``call``, where LangGraph sees it."""

    async def call(state: State) -> Any:
        return await inner.ainvoke(state)

    return chain(("call", call))


def talking() -> Graph:
    """Return a graph whose node asks a model that answers letter by letter."""

    async def model(state: Messages) -> dict[str, Any]:
        return {"messages": [await FakeListChatModel(responses=["hey"]).ainvoke(state["messages"])]}

    builder: Any = StateGraph(Messages)
    builder.add_node("model", model)
    builder.add_edge(START, "model")
    compiled: Graph = builder.compile()
    return compiled


def reciting() -> Graph:
    """Return a graph whose node returns whole messages."""

    async def recite(_: Messages) -> dict[str, Any]:
        return {"messages": [AIMessage("a", id="1"), HumanMessage("b", id="2")]}

    builder: Any = StateGraph(Messages)
    builder.add_node("recite", recite)
    builder.add_edge(START, "recite")
    compiled: Graph = builder.compile()
    return compiled


def writing(*values: Any) -> Graph:
    """Return a graph whose node writes custom events."""

    async def write(_: Text) -> None:
        writer = get_stream_writer()
        for value in values:
            writer(value)

    return chain(("write", write), state=Text)


def confiding(context: Any = None) -> Graph:
    """Return a graph whose node replies with its config and its context."""

    async def tell(_: Text, runtime: Runtime[Any], config: RunnableConfig) -> dict[str, Any]:
        told = {
            "context": runtime.context,
            "configurable": {k: v for k, v in config["configurable"].items() if k[:2] != "__"},
            "strict": config["configurable"].get("__pregel_strict_resume"),
            "metadata": dict(config["metadata"]),
            "tags": config.get("tags"),
        }
        return {"reply": told}

    return chain(("tell", tell), state=Text, context=context)
