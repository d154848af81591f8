"""Loading the graphs of a manifest: what may be named, and what is said about the rest."""

import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.store.memory import InMemoryStore

from operations.errors import ConfigurationError
from orchestration.graphs.manifest import apply_environment, load_manifest
from orchestration.graphs.registry import GraphNotFound, GraphRegistry, load_graphs

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig

Load = Callable[..., Awaitable[GraphRegistry]]

CODE = """
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.graph import START, StateGraph
from langgraph.store.memory import InMemoryStore
from langgraph_sdk.runtime import ServerRuntime
from pydantic import BaseModel
from typing_extensions import TypedDict

class Part(BaseModel):
    text: str = ""

class State(TypedDict):
    part: Part

def builder(text):
    def node(state):
        return {"part": Part(text=text)}
    built = StateGraph(State)
    built.add_node("node", node)
    built.add_edge(START, "node")
    return built

uncompiled = builder("uncompiled")
compiled = builder("compiled").compile(checkpointer=None, store=InMemoryStore())
model = StateGraph(Part)
model.add_node("node", lambda state: {})
model.add_edge(START, "node")
incomplete = StateGraph(State)
number = 3
events = []

def bare():
    return builder("bare")

def by_config(config: RunnableConfig):
    return builder(config["configurable"]["text"]).compile()

def by_dict(anything: dict):
    return builder(anything["configurable"]["text"]).compile()

def by_first(anything):
    return builder(anything["configurable"]["text"]).compile()

def by_mapping(anything: dict[str, Any]):
    return builder(anything["configurable"]["text"]).compile()

async def by_runtime(server: "ServerRuntime[dict]"):
    running = server.execution_runtime
    context = running and running.context
    return builder(f"{server.access_context} {context} {server.store is not None}")

def by_both(runtime: ServerRuntime, *args, config=None, depth: int = 1, **kwargs):
    return builder(f"{runtime.access_context} {config['configurable']['text']} {depth}").compile()

@asynccontextmanager
async def held(config):
    events.append("open")
    yield builder("held").compile()
    events.append("closed")

@contextmanager
def held_sync():
    events.append("open")
    yield builder("held_sync").compile()
    events.append("closed")

def nothing():
    return None

def demanding(config, database: str):
    return compiled

def positional(config, /):
    return compiled
"""


@pytest.fixture(autouse=True)
def same_imports(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Load the graphs of a manifest beside ``kinds.py``, which has the code above."""
    (tmp_path / "kinds.py").write_text(CODE)

    async def load(graphs: dict[str, Any], **given: Any) -> GraphRegistry:
        file = tmp_path / "langgraph.json"
        file.write_text(json.dumps({"graphs": graphs}))
        manifest = load_manifest(file)
        apply_environment(manifest)
        return await load_graphs(
            manifest, **{"checkpointer": InMemorySaver(), "store": InMemoryStore()} | given
        )

    return load


@pytest.fixture
def refusal(load: Load, tmp_path: Path) -> Callable[[str], Awaitable[str]]:
    """Return why a graph is refused, without the folder."""

    async def refusal(reference: str) -> str:
        with pytest.raises(ConfigurationError) as error:
            await load({"agent": reference})
        return str(error.value).replace(f"{tmp_path}/", "").replace(str(tmp_path), "FOLDER")

    return refusal


async def text_of(registry: GraphRegistry, **occasion: Any) -> str:
    config: RunnableConfig = {"configurable": {"text": "asked", "thread_id": "1"}}
    async with registry.open("agent", config, checkpointed=True, owner=(), **occasion) as graph:
        state = await graph.ainvoke({}, config)
    text: str = state["part"].text
    return text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("compiled", "compiled"),
        ("uncompiled", "uncompiled"),
        ("bare", "bare"),
        ("by_config", "asked"),
        ("by_dict", "asked"),
        ("by_first", "asked"),
        ("by_mapping", "asked"),
        ("by_runtime", "threads.create_run {'who': 'me'} True"),
        ("by_both", "threads.create_run asked 1"),
        ("held", "held"),
        ("held_sync", "held_sync"),
    ],
)
async def test_a_target_may_be_a_graph_or_make_one(load: Load, name: str, text: str) -> None:
    registry = await load({"agent": f"./kinds.py:{name}"})
    assert await text_of(registry, context={"who": "me"}) == text


async def test_a_factory_is_told_what_the_graph_is_wanted_for(load: Load) -> None:
    registry = await load({"agent": "./kinds.py:by_runtime"})
    assert await text_of(registry, access="assistants.read") == "assistants.read None True"


@pytest.mark.parametrize("name", ["held", "held_sync"])
async def test_a_context_manager_is_held_until_the_graph_is_given_back(
    load: Load, name: str
) -> None:
    registry = await load({"agent": f"./kinds.py:{name}"})
    events = sys.modules["kinds"].events
    async with registry.open("agent", {}, checkpointed=True, owner=()):
        events.append("in use")
    assert events == ["open", "in use", "closed"]


async def test_a_graph_without_factory_is_ready_before_its_first_use(load: Load) -> None:
    registry = await load({"agent": "./kinds.py:compiled"})
    fixed = registry.fixed("agent", checkpointed=True, owner=())
    async with registry.open("agent", {}, checkpointed=True, owner=()) as graph:
        assert graph is fixed


async def test_a_graph_that_a_factory_makes_is_not_fixed(load: Load) -> None:
    registry = await load({"agent": "./kinds.py:bare"})
    assert registry.fixed("agent", checkpointed=True, owner=()) is None


async def test_a_graph_is_equipped_and_the_users_object_is_not_changed(load: Load) -> None:
    store = InMemoryStore()
    registry = await load({"agent": "./kinds.py:compiled"}, store=store)
    graph = registry.fixed("agent", checkpointed=True, owner=())
    plain = registry.fixed("agent", checkpointed=False, owner=())
    own = sys.modules["kinds"].compiled
    assert graph is not None
    assert plain is not None
    assert isinstance(graph.checkpointer, InMemorySaver)
    assert (graph.store, graph.name, plain.checkpointer) == (store, "agent", None)
    assert (own.checkpointer, own.name, own.store is store) == (None, "LangGraph", False)


async def test_without_a_store_of_ours_a_graph_keeps_its_own(load: Load) -> None:
    registry = await load({"agent": "./kinds.py:compiled"}, store=None, checkpointer=None)
    graph = registry.fixed("agent", checkpointed=True, owner=())
    assert graph is not None
    assert (graph.store, graph.checkpointer) == (sys.modules["kinds"].compiled.store, None)


@pytest.mark.parametrize("name", ["compiled", "bare"])
async def test_classes_of_the_state_come_back_from_a_checkpoint(load: Load, name: str) -> None:
    saver = InMemorySaver(serde=JsonPlusSerializer(allowed_msgpack_modules=None))
    registry = await load({"agent": f"./kinds.py:{name}"}, checkpointer=saver)
    config: Any = {"configurable": {"thread_id": "1"}}
    async with registry.open("agent", config, checkpointed=True, owner=()) as graph:
        await graph.ainvoke({}, config)
        state = await graph.aget_state(config)
    assert state.values["part"] == sys.modules["kinds"].Part(text=name)


async def test_a_state_of_a_class_is_given_as_that_class_by_the_new_wire(load: Load) -> None:
    registry = await load({"agent": "./kinds.py:model"})
    graph = registry.fixed("agent", checkpointed=False, owner=())
    assert graph is not None
    output = await graph.ainvoke({"text": "a"}, version="v2")
    assert output.value == sys.modules["kinds"].Part(text="a")


async def test_names_and_descriptions_are_those_of_the_manifest(load: Load) -> None:
    registry = await load(
        {
            "b": {"path": "./kinds.py:compiled", "description": "Compiled."},
            "a": "./kinds.py:uncompiled",
        }
    )
    assert (registry.names, registry.description("b"), registry.description("a")) == (
        ("b", "a"),
        "Compiled.",
        None,
    )
    assert "a" in registry
    assert "c" not in registry


async def test_an_unknown_graph_is_not_found(load: Load) -> None:
    registry = await load({"agent": "./kinds.py:compiled"})
    with pytest.raises(GraphNotFound, match=r"no graph 'agnet'. Did you mean agent\?"):
        registry.open("agnet", {}, checkpointed=True, owner=())


async def test_what_a_factory_raises_reaches_the_user_of_the_graph(load: Load) -> None:
    registry = await load({"agent": "./kinds.py:by_config"})
    with pytest.raises(KeyError, match="configurable"):
        async with registry.open("agent", {}, checkpointed=True, owner=()):
            pass


async def test_a_factory_that_makes_no_graph_is_named_for_it(load: Load) -> None:
    registry = await load({"agent": "./kinds.py:nothing"})
    with pytest.raises(TypeError, match="found NoneType, which is not a graph"):
        async with registry.open("agent", {}, checkpointed=True, owner=()):
            pass


async def test_two_graphs_of_one_file_share_its_module(load: Load, tmp_path: Path) -> None:
    (tmp_path / "not-importable").mkdir()
    (tmp_path / "not-importable" / "two.py").write_text(CODE + "\nsame = compiled\n")
    registry = await load(
        {"a": "./not-importable/two.py:compiled", "b": "./not-importable/two.py:same"}
    )
    a, b = (
        registry.fixed("a", checkpointed=True, owner=()),
        registry.fixed("b", checkpointed=True, owner=()),
    )
    assert a is not None
    assert b is not None
    assert a.nodes["node"] is b.nodes["node"]


ABLE = "It has to be importable by this Python, with what it needs installed."
OFFER = "and can be given config: RunnableConfig and runtime: ServerRuntime"
NOWHERE = "ModuleNotFoundError: No module named 'nowhere'"
KINDS = "Name a compiled graph, a StateGraph, or a function that makes one."


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        (
            "./missing.py:graph",
            'there is no file "missing.py" in FOLDER. Create it, or name another.',
        ),
        (
            "nowhere.agent:graph",
            f"importing 'nowhere.agent' failed with {NOWHERE}. {ABLE}",
        ),
        (
            "./kinds.py:number",
            f"./kinds.py:number: found int, which is not a graph. {KINDS}",
        ),
        (
            "./kinds.py:State",
            f"./kinds.py:State: found _TypedDictMeta, which is not a graph. {KINDS}",
        ),
        (
            "./kinds.py:demanding",
            f"./kinds.py:demanding: the function asks for 'database: str', {OFFER}. {KINDS}",
        ),
        (
            "./kinds.py:positional",
            f"./kinds.py:positional: the function asks for 'config', {OFFER}. {KINDS}",
        ),
    ],
)
async def test_a_wrong_target_is_refused(
    refusal: Callable[[str], Awaitable[str]], reference: str, message: str
) -> None:
    assert await refusal(reference) == f"langgraph.json: graphs.agent: {message}"


async def test_a_graph_that_does_not_compile_is_refused(
    refusal: Callable[[str], Awaitable[str]],
) -> None:
    assert (await refusal("./kinds.py:incomplete")).startswith(
        "langgraph.json: graphs.agent: ./kinds.py:incomplete: Graph must have an entrypoint"
    )
