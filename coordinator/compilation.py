"""From a plan to a LangGraph graph with one node per step."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import Annotated, Any, NoReturn, TypedDict, cast

from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.graph import Graph
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.pregel import Pregel
from langgraph.runtime import get_runtime
from langgraph.types import Command

from coordinator.conductor import READ, Conductor
from coordinator.errors import StepFailed
from coordinator.place import BEGINS, RESULTS, require_steps
from coordinator.plan import Plan
from coordinator.results import Results, merged
from coordinator.spec import Step
from coordinator.tasks import retry_policy
from coordinator.work import Work

CONDUCTOR = "__masterloop_conductor"  # where nodes find the run's, in their config
_DURABILITY = "__pregel_durability"  # where LangGraph says when it writes
_SEND = "__pregel_send"  # and by what a node writes channels
Compiled = CompiledStateGraph[Any, Any, Any, Any]


def compiled(plan: Plan) -> Compiled:
    """Return the graph that does the steps of ``plan``, one after the other or side by side.

    Sequential: each step is a super-step, and begins the next one. Otherwise all steps are nodes
    of one super-step and wait for their turn: a super-step is a barrier, and a slow step would hold
    up others that do not need it. Either way a step's result is recorded when its node returns.
    """
    builder, names = _builder(plan.inputs), list(plan.order)
    sequential = plan.workflow.mode == "sequential"
    for name in names:
        step = plan.steps[name]
        once = step.map is not None or step.retry.attempts == 1  # or its items are tried again
        builder.add_node(name, StepNode(step), retry_policy=None if once else retry_policy(step))
    first = names[:1] if sequential else names

    async def begin(_: Any, config: RunnableConfig) -> Sequence[str]:
        configurable = config.get("configurable", {})
        _clear(configurable)
        _begin(first, (), configurable)
        return ()

    # A branch, and not an edge for each, which would take three times as long to compile.
    builder.add_conditional_edges(START, begin, first)
    graph: Compiled = builder.compile(name=plan.workflow.name)
    if sequential:
        for place in range(1, len(names)):
            graph.nodes[names[place - 1]].writers.append(_Following(names, place))
    return graph


def picture(plan: Plan) -> Compiled:
    """Return the graph as people see it: an edge from each step to those that need it."""
    graph = compiled(plan)

    async def aget_graph(*_: Any, **__: Any) -> Graph:
        return _drawing(plan, graph)

    # LangGraph would go through all super-steps for it: with 20,000 edges, for 20 s.
    vars(graph)["aget_graph"] = aget_graph
    return graph


def require_steps_in(graph: Pregel[Any, Any, Any, Any], plan: Plan) -> None:
    """Have ``graph``, for one run, fail if it goes on and leaves out steps of ``plan``."""
    saver, stream = graph.checkpointer, graph.astream
    if saver is None or isinstance(saver, bool):
        return

    async def going_on(parts: AsyncGenerator[Any], config: Any) -> AsyncGenerator[Any]:
        async with aclosing(parts):
            saved = await saver.aget_tuple(config)
            if saved is not None:
                require_steps(plan, saved)
            async for part in parts:
                yield part

    def astream(given: Any, config: Any = None, **options: Any) -> AsyncIterator[Any]:
        parts = cast("AsyncGenerator[Any]", stream(given, config, **options))
        goes_on = given is None or (isinstance(given, Command) and not given.goto)
        within = (config or {}).get("configurable", {}).get("checkpoint_ns")
        return going_on(parts, config) if goes_on and not within else parts

    vars(graph)["astream"] = astream


def blank(name: str) -> Compiled:
    """Return what people see of a workflow that is not given yet: it has no steps."""
    builder = _builder(())
    builder.add_edge(START, END)
    graph: Compiled = builder.compile(name=name)
    return graph


class StepNode(Runnable[Mapping[str, Any], Any]):
    """The node of a step. A Runnable, and not a function, whose signature LangGraph would read."""

    def __init__(self, step: Step) -> None:
        self.name = step.id
        self._step = step

    def invoke(self, *_: Any, **__: Any) -> NoReturn:
        """Workflows are async."""
        raise TypeError("a workflow works on the event loop: use ainvoke or astream")

    async def ainvoke(
        self,
        input: Mapping[str, Any],  # noqa: A002 - the base's
        config: RunnableConfig | None = None,
        **_: Any,
    ) -> Any:
        """Wait for the step's turn, do it, and return what is to be kept."""
        configurable = (config or {}).get("configurable", {})
        conductor = cast("Conductor", configurable[CONDUCTOR])
        conductor.durability = configurable.get(_DURABILITY, "")
        runtime, step = get_runtime(), self._step
        arrived = conductor.now()
        async with conductor.turn(step.id, input, runtime):
            names = _names(conductor, input)
            work = Work(conductor, step, names, conductor.now() - arrived)
            try:
                result = await work.result()
            except StepFailed as failed:
                raise await conductor.fail(failed) from failed.__cause__
        conductor.end(step.id, result)
        return {RESULTS: {step.id: result}}


class _Following(Runnable[Any, Any]):
    """Begins the step at a ``place``, once all before it are done.

    It is among what writes for the step before, and not for that itself to do: to update the state
    as if by a step is to begin the next one, too.
    """

    def __init__(self, order: Sequence[str], place: int) -> None:
        self._step, self._past = order[place], order[:place]

    def invoke(self, *_: Any, **__: Any) -> NoReturn:
        """Workflows are async."""
        raise TypeError("a workflow works on the event loop: use ainvoke or astream")

    async def ainvoke(
        self,
        input: Any,  # noqa: A002 - the base's
        config: RunnableConfig | None = None,
        **_: Any,
    ) -> Any:
        """Begin it; return what is written, for who writes after this."""
        _begin((self._step,), self._past, (config or {}).get("configurable", {}))
        return input


def _builder(inputs: Iterable[str]) -> Any:
    taken = dict.fromkeys(inputs, Any)
    given = cast("Any", TypedDict)("Input", taken, total=False)
    kept = {**taken, RESULTS: Annotated[Results, merged]}
    state = cast("Any", TypedDict)("State", kept, total=False)
    return StateGraph(state, input_schema=given)


def _drawing(plan: Plan, graph: Compiled) -> Graph:
    drawing, order = Graph(), set(plan.order)
    nodes = {START: drawing.add_node(graph.nodes[START].bound, START)}
    for step in plan.workflow.steps:
        nodes[step.id] = drawing.add_node(StepNode(step), step.id)
    nodes[END] = drawing.add_node(None, END)
    edges = set[tuple[str, str, str | None]]()
    for name in plan.order:
        edges |= {(need, name, None) for need in plan.needs[name] & order or {START}}
        if (aside := plan.steps[name].compensation) is not None:
            edges.add((name, aside, "failed"))
    needed = {source for source, _, _ in edges}
    edges |= {(name, END, None) for name in plan.steps if name not in needed}
    for source, target, label in sorted(edges, key=str):
        drawing.add_edge(nodes[source], nodes[target], label, conditional=label is not None)
    return drawing


def _names(conductor: Conductor, state: Mapping[str, Any]) -> dict[str, Any]:
    """Return what expressions may refer to."""
    given = {name: state[name] for name in conductor.plan.inputs if name in state}
    return {"input": given, "steps": dict(conductor.results)}


def _begin(steps: Iterable[str], past: Sequence[str], configurable: Mapping[str, Any]) -> None:
    """Have steps begin, and keep with the checkpoint which ones their run has come past."""
    configurable[_SEND]([(f"{BEGINS}{step}", list(past)) for step in steps])


def _clear(configurable: Mapping[str, Any]) -> None:
    """Take away the results that the run before has left on the thread."""
    if left := configurable[READ](RESULTS):
        configurable[_SEND]([(RESULTS, dict.fromkeys(left))])
