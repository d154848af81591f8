"""What LangGraph is called with, made of what a client submitted."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, TypeVar, cast
from uuid import UUID

from langchain_core.runnables import RunnableConfig
from langgraph.pregel import Pregel
from langgraph.types import Command, Send

from orchestration.graphs.contexts import fitted
from orchestration.graphs.users import auth_configurable
from orchestration.loop.run import Run

Graph = Pregel[Any, Any, Any, Any]
T = TypeVar("T")

ASSISTANT_METADATA = "assistant_metadata"  # of the assistant of a run, among its arguments
CLIENT_KEY = "masterloop"  # where nodes find what the service lends them
RESERVED_KEYS = frozenset(
    (
        CLIENT_KEY,
        "assistant_id",
        "checkpoint_id",
        "checkpoint_map",
        "checkpoint_ns",
        "graph_id",
        "run_id",
        "thread_id",
    )
)
RESERVED_PREFIXES = ("__", "langgraph_auth", "langgraph_request")

_PASSED_ON = ("tags", "recursion_limit", "max_concurrency", "run_name")
_UNKNOWN = 20  # nodes or values of a command that a graph does not have, of which LangGraph is told
_STRICT_RESUME = "__pregel_strict_resume"


@dataclass(slots=True)
class Call:
    """One call of a graph: its input, its config and its other arguments by name."""

    input: Any
    config: RunnableConfig
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def configurable(self) -> dict[str, Any]:
        """The part of the config that addresses the thread and its checkpoints."""
        return self.config.get("configurable", {})

    @property
    def breakpoints(self) -> bool:
        """Whether the caller asked to stop before or after certain nodes."""
        return "interrupt_before" in self.options or "interrupt_after" in self.options


def checkpointed(run: Run) -> bool:
    """Whether the run keeps checkpoints: on a thread that stays, or because it asked to."""
    return not run.ephemeral or run.kwargs.get("durability") is not None


def reserved(key: str) -> bool:
    """Whether only the server may set this key of ``config.configurable``."""
    return key in RESERVED_KEYS or key.startswith(RESERVED_PREFIXES)


def thread_config(run: Run) -> RunnableConfig:
    """Return the config that addresses the latest checkpoint of the run's thread."""
    return {"configurable": {"thread_id": run.thread_id, "checkpoint_ns": ""}}


def run_config(run: Run) -> RunnableConfig:
    """Return the config of a run: the client's, with what only the server may say in its place."""
    given: Mapping[str, Any] = run.kwargs.get("config") or {}
    configurable = client_configurable(run)
    for key, value in (run.kwargs.get("context") or {}).items():
        if not reserved(key):
            configurable.setdefault(key, value)
    ids = {
        "run_id": run.run_id,
        "thread_id": run.thread_id,
        "graph_id": run.graph_id,
        "assistant_id": run.assistant_id,
    }
    configurable.update(ids)
    configurable.update(auth_configurable(run.principal))
    if run.kwargs.get("strict_resume"):
        configurable[_STRICT_RESUME] = True
    config: dict[str, Any] = {key: given[key] for key in _PASSED_ON if given.get(key) is not None}
    config["configurable"] = configurable
    config["metadata"] = {
        **(run.kwargs.get(ASSISTANT_METADATA) or {}),
        **run.thread_metadata,
        **(given.get("metadata") or {}),
        **run.metadata,
        **ids,
        "run_attempt": run.attempt,
    }
    config["run_id"] = UUID(run.run_id)
    return cast("RunnableConfig", config)


def client_configurable(run: Run) -> dict[str, Any]:
    """Return what the client itself put into ``config.configurable``."""
    given = (run.kwargs.get("config") or {}).get("configurable") or {}
    return {key: value for key, value in given.items() if not reserved(key)}


def prepare(run: Run, graph: Graph, config: RunnableConfig) -> Call:
    """Return the call that executes ``run`` on ``graph`` from its start.

    Raises:
        ValueError: the command is not one that LangGraph knows.
    """
    kwargs = run.kwargs
    call = Call(_input(kwargs, graph), config)
    options = call.options
    context = fitted(graph.context_schema, kwargs.get("context") or client_configurable(run))
    if context is not None:
        options["context"] = context
    for name in ("interrupt_before", "interrupt_after"):
        if nodes := kwargs.get(name):
            options[name] = nodes
    if checkpointed(run):
        if durability := kwargs.get("durability"):
            options["durability"] = durability
        call.configurable.update(_checkpoint(kwargs))
    return call


def _checkpoint(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return which checkpoint to start from, as configurable keys; empty for the latest."""
    given: Mapping[str, Any] = kwargs.get("checkpoint") or {}
    keys = ("checkpoint_id", "checkpoint_ns", "checkpoint_map")
    point = {key: given[key] for key in keys if given.get(key)}
    if checkpoint_id := kwargs.get("checkpoint_id"):
        point["checkpoint_id"] = checkpoint_id
    return point


def _input(kwargs: Mapping[str, Any], graph: Graph) -> Any:
    command: Mapping[str, Any] | None = kwargs.get("command")
    if not command:
        return kwargs.get("input")
    return as_command(command, graph)


def as_command(command: Mapping[str, Any], graph: Graph) -> "Command[Any]":
    """Return the command for ``graph`` that a client has sent.

    Of what is for nodes and values that the graph does not have, most is left out where that is
    much: LangGraph takes none of it, and logs each at every look at the state.
    """
    update, goto = _update(command.get("update")), _goto(command.get("goto"))
    if isinstance(update, dict):
        update = dict(_mostly(update.items(), lambda pair: pair[0] in graph.channels))
    elif isinstance(update, list):
        update = _mostly(update, lambda pair: not _is_pair(pair) or pair[0] in graph.channels)
    if isinstance(goto, list):
        goto = _mostly(goto, lambda target: _is_there(target, graph))
    return Command(update=update, resume=command.get("resume"), goto=goto)


def _mostly(given: Collection[T], is_known: Callable[[T], bool]) -> list[T]:
    """Return all that is known of what is given, and the first of the rest."""
    unknown = count()
    return [each for each in given if is_known(each) or next(unknown) < _UNKNOWN]


def _is_pair(update: Any) -> bool:
    return isinstance(update, tuple) and len(update) == 2  # noqa: PLR2004 - a pair


def _is_there(target: str | Send, graph: Graph) -> bool:
    if isinstance(target, Send):
        return target.node in graph.nodes
    return f"branch:to:{target}" in graph.channels


def _update(update: Any) -> Any:
    """Return an update as LangGraph takes it; JSON has no tuples, so pairs come as lists."""
    match update:
        case [[str(), _], *_]:
            return [tuple(pair) for pair in update]
        case _:
            return update


def _goto(target: Any) -> str | Send | Sequence[str | Send]:
    match target:
        case None:
            return ()
        case str():
            return target
        case {"node": str(node)}:
            return Send(node, target.get("input"))
        case list():
            return [cast("str | Send", _goto(each)) for each in target]
        case _:
            raise ValueError(f"goto names a node or sends to one, and {target!r} does neither")
