"""The graphs of the manifest, loaded once and ready to use."""

import copy
from collections.abc import AsyncGenerator, Mapping
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    nullcontext,
)
from dataclasses import dataclass
from functools import partial
from inspect import isclass
from typing import Any, Protocol

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.pregel import Pregel
from langgraph.store.base import BaseStore
from langgraph_sdk.runtime import AccessContext

from operations.errors import ConfigurationError, nearest
from orchestration.graphs.factories import Equip, Factory, Graph, Occasion, as_graph
from orchestration.graphs.manifest import Manifest
from orchestration.graphs.own_store import Namespace, own_store
from orchestration.graphs.targets import load_target

KINDS = "a compiled graph, a StateGraph, or a function that makes one"


class GraphNotFound(LookupError):
    """The manifest has no graph of that name (any more)."""

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        super().__init__(f"there is no graph {name!r}. {nearest(name, known)}")
        self.name = name


class GraphNotMade(Exception):
    """The function that makes a graph failed while the graph was to be looked at, not run."""

    def __init__(self, name: str, error: Exception) -> None:
        super().__init__(
            f"graph {name!r} could not be made: its function raised {type(error).__name__}: {error}"
        )


@dataclass(frozen=True, slots=True)
class Equipment:
    """What every graph of a service is given: where to keep its state and its memories."""

    checkpointer: BaseCheckpointSaver[Any] | None
    store: BaseStore | None

    def give_to(
        self, graph: Graph, name: str, *, checkpointed: bool, owner: Namespace = ()
    ) -> Graph:
        """Return a copy of ``graph`` under ``name``, with this in place of what it brought."""
        # Not Pregel.copy: it loses what compiling noted about the classes of the state.
        ready = copy.copy(graph)
        ready.name = name
        ready.store = own_store(self.store or graph.store, owner)
        ready.checkpointer = self.checkpointer if checkpointed else None
        allowed = getattr(graph, "_serde_allowlist", None)
        if ready.checkpointer is not None and allowed is not None:
            # Merged here, or LangGraph makes the serializer anew for each run (28 us).
            ready.checkpointer = ready.checkpointer.with_allowlist(allowed)
        return ready


class Source(Protocol):
    """What makes a graph for each use of it."""

    def open(self, occasion: Occasion, equip: Equip) -> AbstractAsyncContextManager[Graph]:
        """Make a graph and equip it; what it takes is held until the end of the block."""
        ...


class GraphRegistry:
    """Graphs by name; those that are not made for each use are ready before the first one.

    Whoever asks for one says whose items it is to see: those of the ``owner``, all if that is
    empty.
    """

    def __init__(
        self,
        sources: Mapping[str, Graph | Source],
        descriptions: Mapping[str, str | None],
        equipment: Equipment,
    ) -> None:
        self._descriptions = descriptions
        self._equipment = equipment
        self._sources: dict[str, Source] = {
            name: source for name, source in sources.items() if not isinstance(source, Pregel)
        }
        self._fixed = {
            (name, checkpointed): equipment.give_to(source, name, checkpointed=checkpointed)
            for name, source in sources.items()
            if isinstance(source, Pregel)
            for checkpointed in (True, False)
        }
        self.names = tuple(sources)

    def __contains__(self, name: object) -> bool:
        return name in self.names or name in self._sources

    def add(self, name: str, source: Source) -> None:
        """Serve what ``source`` makes, too; the ``names`` are the project's own graphs."""
        self._sources[name] = source

    def description(self, name: str) -> str | None:
        """Return what the manifest says the graph is for."""
        return self._descriptions.get(name)

    def fixed(self, name: str, *, checkpointed: bool, owner: Namespace) -> Graph | None:
        """Return the ready graph; None if a factory makes it, or if there is none of that name."""
        graph = self._fixed.get((name, checkpointed))
        if graph is None or not owner:
            return graph
        theirs = copy.copy(graph)
        theirs.store = own_store(graph.store, owner)
        return theirs

    def open(
        self,
        name: str,
        config: RunnableConfig,
        *,
        checkpointed: bool,
        owner: Namespace,
        access: AccessContext = "threads.create_run",
        context: Any = None,
    ) -> AbstractAsyncContextManager[Graph]:
        """Return the graph for one use, which a factory makes from ``config`` and the rest.

        Raises:
            GraphNotFound: there is no graph of that name.
            GraphNotMade: (on entering) the factory failed. For a run, its error comes as it is.
        """
        if (graph := self.fixed(name, checkpointed=checkpointed, owner=owner)) is not None:
            return nullcontext(graph)
        if (source := self._sources.get(name)) is None:
            raise GraphNotFound(name, self.names)
        store = own_store(self._equipment.store, owner)
        occasion = Occasion(config, access, context, store, owner)
        return self._make(source, occasion, name, checkpointed=checkpointed)

    @asynccontextmanager
    async def _make(
        self, source: Source, occasion: Occasion, name: str, *, checkpointed: bool
    ) -> AsyncGenerator[Graph]:
        equip = partial(
            self._equipment.give_to, name=name, checkpointed=checkpointed, owner=occasion.owner
        )
        async with AsyncExitStack() as stack:
            try:
                graph = await stack.enter_async_context(source.open(occasion, equip))
            except Exception as error:
                if occasion.access == "threads.create_run":
                    raise
                raise GraphNotMade(name, error) from error
            yield graph


async def load_graphs(
    manifest: Manifest,
    *,
    checkpointer: BaseCheckpointSaver[Any] | None,
    store: BaseStore | None,
) -> GraphRegistry:
    """Import every graph of ``manifest``, in its order, and equip them.

    What the imports need has to be in place: see ``apply_environment``.

    Raises:
        ConfigurationError: a graph cannot be imported, or is not one.
    """
    sources = {
        name: _load(spec.path, manifest, f"{manifest.file}: graphs.{name}")
        for name, spec in manifest.graphs.items()
    }
    descriptions = {name: spec.description for name, spec in manifest.graphs.items()}
    return GraphRegistry(sources, descriptions, Equipment(checkpointer, store))


def _load(reference: str, manifest: Manifest, where: str) -> Graph | Factory:
    target = load_target(reference, folder=manifest.folder, where=where)
    try:
        # A class is callable and makes no graph: most likely the state was named, not the graph.
        if callable(target) and not isclass(target):
            return Factory(target)
        return as_graph(target)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(where, f"{reference}: {error}", f"Name {KINDS}.") from error
