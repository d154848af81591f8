"""Functions that make a graph for one use."""

import inspect
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal, cast

from langchain_core.runnables import RunnableConfig
from langgraph.graph import StateGraph
from langgraph.pregel import Pregel
from langgraph.store.base import BaseStore

# What the type alias ServerRuntime stands for; the SDK has no public way to make one.
from langgraph_sdk.runtime import (
    AccessContext,
    _ExecutionRuntime,  # pyright: ignore[reportPrivateUsage]
    _ReadRuntime,  # pyright: ignore[reportPrivateUsage]
)

from orchestration.graphs.own_store import Namespace

Graph = Pregel[Any, Any, Any, Any]
Equip = Callable[[Graph], Graph]
Ask = Literal["config", "runtime"]


@dataclass(frozen=True, slots=True)
class Occasion:
    """What a factory may ask for: the config of the use, and the server's view of it.

    ``access`` says in LangGraph's words what the graph is wanted for; only a run has a ``context``.
    ``owner`` is whose the items in the ``store`` are.
    """

    config: RunnableConfig
    access: AccessContext
    context: Any
    store: BaseStore | None
    owner: Namespace

    @property
    def runtime(self) -> Any:
        """The ``ServerRuntime`` of the SDK."""
        store = cast("BaseStore", self.store)
        user = self.config.get("configurable", {}).get("langgraph_auth_user")
        if self.access == "threads.create_run":
            return _ExecutionRuntime(
                access_context=self.access, user=user, store=store, context=self.context
            )
        return _ReadRuntime(access_context=self.access, user=user, store=store)


class Factory:
    """A function that returns or yields a graph, sync or async, and what it asks for."""

    def __init__(self, function: Callable[..., Any]) -> None:
        """Read the signature of ``function``.

        Raises:
            ValueError: it asks for something that is not there to be given.
        """
        self._function = function
        self._asks = _asks(function)

    @asynccontextmanager
    async def open(self, occasion: Occasion, equip: Equip) -> AsyncGenerator[Graph]:
        """Call the function and hold what it made, equipped, until the end of the block.

        Raises:
            TypeError: what it made is not a graph.
            Exception: whatever the function raised.
        """
        made = self._function(**{name: getattr(occasion, ask) for name, ask in self._asks.items()})
        if inspect.isawaitable(made):
            made = await made
        if isinstance(made, AbstractAsyncContextManager):
            async with made as graph:
                yield equip(as_graph(graph))
        elif isinstance(made, AbstractContextManager):
            with made as graph:
                yield equip(as_graph(graph))
        else:
            yield equip(as_graph(made))


def as_graph(value: object) -> Graph:
    """Return a compiled graph, compiling a ``StateGraph``.

    Raises:
        TypeError: ``value`` is neither.
        ValueError: the ``StateGraph`` cannot be compiled.
    """
    if isinstance(value, StateGraph):
        return value.compile()
    if isinstance(value, Pregel):
        return value
    raise TypeError(f"found {type(value).__name__}, which is not a graph")


def _asks(function: Callable[..., Any]) -> dict[str, Ask]:
    """Return what each argument of ``function`` is for; one with a default may be for nothing."""
    asks: dict[str, Ask] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind in {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}:
            continue
        ask = _ask(parameter)
        if ask is not None and ask not in asks.values():
            asks[name] = ask
        elif parameter.default is inspect.Parameter.empty:
            raise ValueError(
                f"the function asks for {str(parameter)!r}, and can be given "
                "config: RunnableConfig and runtime: ServerRuntime"
            )
    return asks


def _ask(parameter: inspect.Parameter) -> Ask | None:
    if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
        return None
    # As text, since an annotation may be a string that nothing can resolve any more.
    annotation = str(parameter.annotation)
    if parameter.name == "runtime" or "Runtime" in annotation:
        return "runtime"
    if parameter.name == "config" or "RunnableConfig" in annotation:
        return "config"
    required = parameter.default is inspect.Parameter.empty
    unnamed = parameter.annotation in {inspect.Parameter.empty, dict, Any}
    return "config" if required and (unnamed or annotation.startswith("dict[")) else None
