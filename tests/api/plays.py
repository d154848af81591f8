"""Graphs that the API's tests serve; `gates` lets a test hold one of their nodes."""

import asyncio
import operator
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any

from langchain_core.messages import AnyMessage
from langchain_core.runnables import RunnableConfig
from langgraph.config import get_stream_writer
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.runtime import Runtime
from langgraph.types import interrupt
from langgraph_sdk.runtime import ServerRuntime
from typing_extensions import TypedDict


@dataclass
class Gate:
    """A place where a node waits until it is opened, and tells that it came there."""

    reached: asyncio.Event = field(default_factory=asyncio.Event)
    opened: asyncio.Event = field(default_factory=asyncio.Event)


gates: defaultdict[str, Gate] = defaultdict(Gate)  # each of a name that only one test uses
cleaned: list[str] = []


class State(TypedDict, total=False):
    text: Any
    log: Annotated[list[Any], operator.add]
    seen: Any


class Talk(TypedDict):
    messages: Annotated[list[AnyMessage], add_messages]


class Tuning(TypedDict, total=False):
    tone: str
    size: int


def _chain(*nodes: tuple[str, Any], state: Any = State, context: Any = None) -> Any:
    builder: Any = StateGraph(state, context_schema=context)
    builder.add_sequence(nodes)
    builder.add_edge(START, nodes[0][0])
    builder.add_edge(nodes[-1][0], END)
    return builder


async def _echo(state: State) -> State:
    return {"log": [state.get("text")]}


async def _nest(state: State) -> State:
    value: Any = {1: "a key that is no text, which orjson does not write by itself"}
    for _ in range(state["text"]):
        value = [value]
    return {"seen": value}


async def _hold(state: State) -> State:
    """Wait at the gate that the input names; clean up when cancelled there."""
    gate = gates[str(state.get("text"))]
    gate.reached.set()
    try:
        await gate.opened.wait()
    except asyncio.CancelledError:
        cleaned.append(str(state.get("text")))
        raise
    return {"log": ["held"]}


async def _stubborn(state: State) -> State:
    """Wait at the gate, whoever cancels; a second time is meant, or no failed test could end."""
    gate = gates[str(state.get("text"))]
    gate.reached.set()
    try:
        await gate.opened.wait()
    except asyncio.CancelledError:
        await gate.opened.wait()
    return {"log": ["late"]}


async def _fail(state: State) -> State:
    raise ValueError(f"refused: {state.get('text')}")


async def _fail_in_half_a_character(_: State) -> State:
    raise ValueError("cannot parse \ud83d")


async def _ask(state: State) -> State:
    return {"log": [interrupt({"question": state.get("text")})]}


async def _ask_and_wait(state: State) -> State:
    answer = interrupt("first?")
    await gates[str(state.get("text"))].opened.wait()
    return {"log": [answer]}


async def _wait_and_ask(state: State) -> State:
    await gates[str(state.get("text"))].opened.wait()
    return {"log": [interrupt("second?")]}


async def _tell(state: State) -> State:
    """Write as many custom events as the input says."""
    writer = get_stream_writer()
    for number in range(int(state.get("text", 0))):
        writer({"number": number, "text": "line\nbreak\r\nevent: forged"})
    return {"log": ["told"]}


async def _look(_: State, config: RunnableConfig, runtime: Runtime[Tuning]) -> State:
    given = config["configurable"]
    shown = {key: value for key, value in given.items() if isinstance(value, str | int | None)}
    return {"seen": {"configurable": shown, "context": runtime.context}}


async def _know(_: State, config: RunnableConfig, runtime: Runtime[Any]) -> State:
    user = config["configurable"]["langgraph_auth_user"]
    info = runtime.server_info
    assert info is not None
    assert info.user is not None
    return {
        "seen": {
            "identity": user.identity,
            "team": user["team"],
            "permissions": config["configurable"]["langgraph_auth_permissions"],
            "server": info.user.identity,
        }
    }


def for_somebody(runtime: ServerRuntime[Any]) -> Any:
    """Make a graph for whoever it is; only Alice has one."""
    assert runtime.ensure_user().identity == "alice"
    return _chain(("echo", _echo)).compile()


async def _remember(state: State, runtime: Runtime[Any]) -> State:
    if runtime.store is None:
        raise RuntimeError("a graph has to have the store")
    await runtime.store.aput(("notes",), "latest", {"text": state.get("text")})
    return {}


async def _claim(_: State) -> State:
    return {"text": "mine"}


def _refuse(_: str, text: str) -> str:
    if text == "mine":
        raise LookupError(text)
    return text


class Refusing(TypedDict):
    text: Annotated[str, _refuse]


async def _answer(state: Talk) -> dict[str, Any]:
    return {"messages": [{"role": "ai", "content": f"{len(state['messages'])} so far"}]}


def _side_by_side(**nodes: Any) -> Any:
    builder: Any = StateGraph(State)
    for name, node in nodes.items():
        builder.add_node(name, node)
        builder.add_edge(START, name)
    return builder


echo = _chain(("echo", _echo))
delving = _chain(("nest", _nest), ("echo", _echo))
holder = _chain(("before", _echo), ("hold", _hold), ("after", _echo))
stubborn = _chain(("hold", _stubborn))
failing = _chain(("fail", _fail))
failing_within = _chain(("inner", _chain(("fail", _fail_in_half_a_character)).compile()))
asking = _chain(("ask", _ask))
asking_later = _chain(
    ("hold", _hold), ("one", _echo), ("two", _echo), ("three", _echo), ("ask", _ask)
)
asking_both = _side_by_side(first=_ask_and_wait, second=_wait_and_ask)
contradicting = _side_by_side(left=_claim, right=_claim)
refusing = _chain(("claim", _claim), state=Refusing)
contradicting_within = _chain(("inner", contradicting.compile()))
asking_within = _chain(("inner", asking_later.compile()))
telling = _chain(("tell", _tell))
knowing = _chain(("know", _know))
looking = _chain(("look", _look), context=Tuning)
noting = _chain(("remember", _remember))
talking = _chain(("answer", _answer), state=Talk)
forging = _chain(("bad\nid\nretry\rdata", _echo), state=State)
inner = _chain(("echo", _echo)).compile()
nesting = _chain(("inner", inner))
_stopping = _chain(("echo", _echo)).compile(interrupt_before=["echo"])


async def _call_hidden(state: State) -> Any:
    return await _hidden[0].ainvoke(state)


def _echo_now(state: State) -> State:
    return {"log": [state["text"]]}


_hidden = [
    _stopping,
    _chain(("echo", _echo_now)).compile(interrupt_before=["echo"]),
]


def _call_hidden_in_a_thread(state: State) -> Any:
    return _hidden[1].invoke(state)


stopping_within = _chain(("inner", _stopping))
stopping_unseen = _chain(("inner", _call_hidden))  # where LangGraph does not find it
stopping_in_a_thread = _chain(("inner", _call_hidden_in_a_thread))


@asynccontextmanager
async def broken(config: RunnableConfig) -> AsyncIterator[Any]:
    """Refuse to be made unless the config has what it needs; for reading it is not asked."""
    if "key" not in config.get("configurable", {}):
        raise LookupError("config.configurable.key is missing")
    yield echo.compile()


@asynccontextmanager
async def asking_by_kind(config: RunnableConfig) -> AsyncIterator[Any]:
    """Make a graph whose nodes are named after the kind in the config; there has to be one."""
    kind = config.get("configurable", {})["kind"]
    yield _chain((f"read_{kind}", _echo), (f"ask_{kind}", _ask)).compile()
