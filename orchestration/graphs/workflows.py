"""Declared workflows as graphs of the service: made for each run from the spec in its config."""

import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.config import get_config
from langgraph.runtime import get_runtime

from coordinator.advice import Advisor
from coordinator.caching import AnswerCache
from coordinator.checking import Known, checked, require_known
from coordinator.compilation import CONDUCTOR, Compiled, blank, compiled, picture, require_steps_in
from coordinator.conductor import Circumstances, Conductor, Saver
from coordinator.crew import Crew
from coordinator.errors import CoordinatorError
from coordinator.plan import Plan, digest
from coordinator.step_events import Emit
from coordinator.toolbox import Toolbox
from coordinator.zombies import Zombies
from orchestration.graphs.arguments import CLIENT_KEY
from orchestration.graphs.contexts import fitted
from orchestration.graphs.factories import Equip, Graph, Occasion
from orchestration.graphs.jsontext import as_json
from orchestration.graphs.own_store import Namespace
from orchestration.graphs.registry import GraphNotFound, GraphRegistry
from orchestration.graphs.task_control import TaskControl

WORKFLOW = "_workflow"  # no graph of a project can have this name
SPEC = "workflow"  # where a run's config has its workflow
COMPILED = 256  # workflows that are kept compiled

Kept = Callable[[str], Any]


class NoWorkflow(CoordinatorError):
    """A run is to do a workflow, and nothing says which."""


@dataclass(frozen=True, slots=True)
class _Made:
    plan: Plan
    graph: Compiled


class WorkflowSource:
    """Makes the graph of a workflow; those made last are kept, by the hash of their spec.

    ``kept`` returns the workflow that a thread goes on with: for runs on it that have none of their
    own, and for who looks at the thread.
    """

    def __init__(
        self,
        graphs: GraphRegistry,
        advisor: Advisor,
        emit: Emit,
        *,
        tools: Toolbox | None,
        zombies: Zombies,
        kept: Kept,
    ) -> None:
        self._graphs = graphs
        self._advisor = advisor
        self._emit = emit
        self._tools = tools
        self._zombies = zombies
        self._kept = kept
        self._cache = AnswerCache(time.monotonic)
        self._made: OrderedDict[str, _Made] = OrderedDict()

    @asynccontextmanager
    async def open(self, occasion: Occasion, equip: Equip) -> AsyncGenerator[Graph]:
        """Make the graph for one use; for a run, with what conducts it.

        Without a workflow in the config, and no run on the thread that had one, whoever looks sees
        a graph without steps.

        Raises:
            NoWorkflow: there is none for a run to do.
            WorkflowRefused: it has mistakes; or, for a run, steps that nobody here can do.
        """
        spec = self._spec(occasion.config)
        if spec is None:
            if occasion.access == "threads.create_run":
                raise NoWorkflow(
                    f"no workflow is given: put one in config.configurable.{SPEC}, or in the body "
                    "of POST /workflows/runs"
                )
            yield equip(blank(WORKFLOW))
            return
        made = self._make(spec)
        if occasion.access == "assistants.read":
            yield equip(picture(made.plan))
            return
        graph = equip(made.graph)
        if occasion.access != "threads.create_run":
            yield graph
            return
        require_known(made.plan.workflow, self._known)
        saver = None if isinstance(graph.checkpointer, bool) else graph.checkpointer
        conductor = self._conductor(made.plan, occasion, saver)
        if saver is not None:
            graph.checkpointer = conductor.watching(saver)
            require_steps_in(graph, made.plan)
        graph.config = {"configurable": {CONDUCTOR: conductor}}
        yield graph

    @property
    def _known(self) -> Known:
        """Who can do steps for sure: agents say what they can do only once they have started."""
        tools = () if self._tools is None else self._tools.names
        return Known(tools=tools, graphs=self._graphs.names)

    def _spec(self, config: RunnableConfig) -> Any:
        configurable = config.get("configurable", {})
        spec = configurable.get(SPEC)
        if spec is None and (thread_id := configurable.get("thread_id")) is not None:
            spec = self._kept(thread_id)
        return spec

    def _make(self, spec: Any) -> _Made:
        key = digest(spec)
        made = self._made.get(key)
        if made is None:
            plan = checked(spec, Known())
            made = self._made[key] = _Made(plan, compiled(plan))
            if len(self._made) > COMPILED:
                self._made.popitem(last=False)
        self._made.move_to_end(key)
        return made

    def _conductor(self, plan: Plan, occasion: Occasion, saver: Saver | None) -> Conductor:
        config, graphs = occasion.config, GraphSteps(self._graphs, occasion.owner)
        configurable = config.get("configurable", {})
        agents = configurable.get(CLIENT_KEY)
        # Counted here: LangGraph would count the steps that wait for their turn.
        most = config.pop("max_concurrency", None)
        around = Circumstances(
            crew=Crew(agents=agents, tools=self._tools, graphs=graphs),
            advisor=self._advisor,
            cache=self._cache,
            emit=self._emit,
            zombies=self._zombies,
            run_id=configurable.get("run_id"),
            owner=str(configurable.get("langgraph_auth_user_id", "")),
            priority=5 if agents is None else agents.priority,
            most=most,
            saver=saver,
        )
        return Conductor(plan, around)


class GraphSteps:
    """The graphs of a project as steps of workflows: subgraphs of the node that runs them."""

    def __init__(self, graphs: GraphRegistry, owner: Namespace) -> None:
        self._graphs = graphs
        self._owner = owner

    @property
    def names(self) -> Collection[str]:
        """The graphs of the project."""
        return self._graphs.names

    async def run(self, name: str, given: Any) -> Any:
        """Run a graph within the current node; return its last values as JSON.

        Raises:
            GraphNotFound: the project has no graph of that name.
        """
        if name not in self._graphs.names:  # that of all workflows would begin itself, for ever
            raise GraphNotFound(name, self._graphs.names)
        config = get_config()
        opening = self._graphs.open(name, config, checkpointed=False, owner=self._owner)
        async with opening as graph:
            options: dict[str, Any] = {"control": TaskControl(get_runtime().control)}
            static = fitted(graph.context_schema, None)
            if static is not None:
                options["context"] = static
            return as_json(await graph.ainvoke(given, config, **options))
