"""Where a run goes on that was cut off before, so that nothing committed is done twice."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from langgraph.checkpoint.serde.types import RESUME, TASKS
from langgraph.constants import START
from langgraph.pregel import Pregel
from langgraph.types import Command, Send, StateSnapshot

from orchestration.graphs.arguments import Call, Graph, thread_config
from orchestration.graphs.breakpoints import has_breakpoints, subgraphs
from orchestration.graphs.questions import KEPT_BEFORE, MEANT, find_questions, is_by_question
from orchestration.graphs.snapshots import read_state
from orchestration.graphs.trial import try_writes
from orchestration.loop.run import Run

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig
    from langgraph.checkpoint.base import BaseCheckpointSaver

_Breakpoints = tuple[str | Sequence[str], str | Sequence[str]]  # before these nodes, after those

# A write of our own beside LangGraph's: the interrupts that a run's answers were meant for.
_ANSWERED = "masterloop:answered"
_NO_TASK = "00000000-0000-0000-0000-000000000000"  # whose writes are a command's


class StartGone(Exception):
    """The checkpoint at which a run was to begin has been deleted since it was submitted."""

    def __init__(self, checkpoint_id: str) -> None:
        super().__init__(
            f"checkpoint {checkpoint_id}, at which this run was to begin, is no longer there: the "
            "run that made it was undone, or the thread was pruned"
        )


def may_have_begun(run: Run, call: Call, *, stops: bool) -> bool:
    """Whether the thread has to be read first to know where the run starts.

    ``stops`` says that there are breakpoints in its graph or its call.

    Plain input needs no look: LangGraph itself goes on where it finds a checkpoint of the same
    run. It would walk past a breakpoint then, and it repeats commands and forks.
    """
    return (
        run.resuming
        or isinstance(call.input, Command)
        or stops
        or "checkpoint_id" in call.configurable
        or "checkpoint_map" in call.configurable
    )


async def find_place(run: Run, graph: Graph, call: Call) -> StateSnapshot | None:
    """Make ``call`` go on where the run was cut off, if it was.

    Returns the state of the thread if nothing is left to do: the run had finished, or had come to
    a breakpoint or a question, and only the news of it was lost.

    Raises:
        StartGone: the checkpoint at which it is to begin is no longer there.
    """
    snapshot = await read_state(graph, thread_config(run))
    if await _stopped_within(run, graph, graph, snapshot):
        return snapshot
    if (snapshot.metadata or {}).get("run_id") == run.run_id:
        if await _had_stopped(graph, call, snapshot):
            return snapshot
        call.input = None
        call.configurable.update(checkpoint_ns="")
        call.configurable.pop("checkpoint_id", None)
        call.configurable.pop("checkpoint_map", None)
        return None
    await _require_start(graph, call)
    if isinstance(call.input, Command) and snapshot.metadata is not None:
        return await _find_place_of_command(run, graph, call, snapshot)
    return None


async def _require_start(graph: Graph, call: Call) -> None:
    """Refuse a start that went while the run waited: LangGraph would begin from nothing."""
    names = ("thread_id", "checkpoint_ns", "checkpoint_id")
    place = {name: call.configurable[name] for name in names if name in call.configurable}
    if "checkpoint_id" not in place:
        return
    saver = cast("BaseCheckpointSaver[Any]", graph.checkpointer)
    if await saver.aget_tuple({"configurable": {"checkpoint_ns": "", **place}}) is None:
        raise StartGone(place["checkpoint_id"])


async def _had_stopped(graph: Graph, call: Call, snapshot: StateSnapshot) -> bool:
    """Whether this checkpoint of the run itself is one that the run was to stop at."""
    return (
        # Not `next`: that is empty, too, when all tasks of a step are done whose end is not stored.
        not snapshot.tasks
        or _only_questions(snapshot)
        or await _at_breakpoint(graph, snapshot, _breakpoints(graph, call.options))
    )


def _only_questions(snapshot: StateSnapshot) -> bool:
    """Whether every task that is not done waits for an answer."""
    undone = [task for task in snapshot.tasks if task.result is None]
    return bool(undone) and all(task.interrupts for task in undone)


async def _stopped_within(run: Run, root: Graph, graph: Graph, snapshot: StateSnapshot) -> bool:
    """Whether the run itself has come to a breakpoint of a subgraph, at whatever depth.

    It may have without a checkpoint of its own around that one, if it began inside the subgraph.
    """
    inside = subgraphs(graph)
    for task in snapshot.tasks:
        inner = inside.get(task.name)
        if inner is None or task.result is not None or not has_breakpoints(inner):
            continue
        state = await read_state(root, cast("RunnableConfig", task.state))
        own = (state.metadata or {}).get("run_id") == run.run_id
        if own and await _at_breakpoint(root, state, _breakpoints(inner, {})):
            return True
        if await _stopped_within(run, root, inner, state):
            return True
    return False


async def _at_breakpoint(graph: Graph, snapshot: StateSnapshot, breakpoints: _Breakpoints) -> bool:
    """Whether a graph stopped at this checkpoint of it; ``graph`` is the root."""
    if (snapshot.metadata or {}).get("source") != "loop":
        return False  # a fork or an input: the run began here, and did not stop
    before, after = breakpoints
    if _names(before, [task.name for task in snapshot.tasks]):
        return True
    if not after or snapshot.parent_config is None:
        return False
    parent = await graph.aget_state(snapshot.parent_config)
    return _names(after, [task.name for task in parent.tasks])


def _breakpoints(graph: Graph, options: Mapping[str, Any]) -> _Breakpoints:
    """Return before and after which nodes a graph stops that is called with these options."""
    before = options.get("interrupt_before") or graph.interrupt_before_nodes
    return before, options.get("interrupt_after") or graph.interrupt_after_nodes


def _names(nodes: str | Sequence[str], candidates: Sequence[str]) -> bool:
    visible = (name for name in candidates if name != START)
    return any(nodes == "*" or name in nodes for name in visible)


async def _find_place_of_command(
    run: Run, graph: Graph, call: Call, snapshot: StateSnapshot
) -> StateSnapshot | None:
    """Give a command's answers to the interrupts they were meant for, and what it writes once.

    No checkpoint of the run exists yet, but its command may be stored, or answered a question
    already whose node then asked another: that one must not get the same answer again.
    """
    saver = cast("BaseCheckpointSaver[Any]", graph.checkpointer)
    saved = await saver.aget_tuple(thread_config(run))
    writes = (saved.pending_writes if saved else None) or []
    marks = {task: value for task, channel, value in writes if channel == _ANSWERED}
    command = cast("Command[Any]", call.input)
    head = snapshot.config.get("configurable", {}).get("checkpoint_id")
    if command.resume is not None and call.configurable.get("checkpoint_id") == head:
        # The same to LangGraph as naming none; but begun again, it would be a fork.
        for name in ("checkpoint_id", "checkpoint_map"):
            call.configurable.pop(name, None)
    # A subgraph shows what its task asks once for each task around that.
    pending = [*dict.fromkeys(interrupt.id for interrupt in snapshot.interrupts)]
    answered = marks.get(run.run_id)
    stored = [(channel, value) for task, channel, value in writes if task == _NO_TASK]
    if answered is None:
        await _try_command(graph, call, snapshot)
        call.input, answered = _addressed(run, command, pending, call)
        questions = await find_questions(graph, snapshot)
        mark = [(_ANSWERED, answered), (KEPT_BEFORE, questions.kept_before(answered))]
        await saver.aput_writes(snapshot.config, mark, run.run_id)
        if any(each in before for before in marks.values() for each in answered):
            # LangGraph takes the id of a task's first question for that of any: also of the next.
            unanswered = [each for each in answered if each in questions.unanswered]
            call.input = _remaining(call.input, answered, unanswered, stored=())
    else:
        asked = (await find_questions(graph, snapshot)).unanswered
        unanswered = [each for each in answered if each in asked]
        call.input = _remaining(command, answered, unanswered, stored)
        if call.input is None and asked == pending and _only_questions(snapshot):
            return snapshot
    resume: Any = None if call.input is None else call.input.resume
    first = all(each == pending for each in marks.values())
    alone = is_by_question(resume) and len(pending) == 1 and [*resume] == pending
    if alone and await _asked_anew(graph, graph, snapshot, first=first):
        call.input = _bare(cast("Command[Any]", call.input))
    if any(channel == RESUME for channel, _ in stored):
        # A bare answer that was given before: whatever is asked after this would be given it.
        await saver.aput_writes(snapshot.config, [(RESUME, None)], _NO_TASK)
    return None


async def _try_command(graph: Graph, call: Call, snapshot: StateSnapshot) -> None:
    """Refuse an update that cannot be applied where the command begins, before it is stored."""
    command = cast("Command[Any]", call.input)
    if not command.update or call.configurable.get("checkpoint_ns"):
        return
    head = snapshot.config.get("configurable", {})
    place = {"thread_id": head["thread_id"], "checkpoint_ns": ""}
    place["checkpoint_id"] = call.configurable.get("checkpoint_id", head["checkpoint_id"])
    writes = [(_NO_TASK, *write) for write in _writes(command)]
    saver = cast("BaseCheckpointSaver[Any]", graph.checkpointer)
    await try_writes(graph, saver, {"configurable": place}, writes)


async def _asked_anew(root: Graph, graph: Graph, snapshot: StateSnapshot, *, first: bool) -> bool:
    """Whether the one pending question has another id when its subgraph goes on and asks it.

    The state of that was changed meanwhile, or it keeps none. One that keeps none begins anew: what
    it asks then is what is pending only if it had no answer before, if this is the ``first``.
    """
    for task in snapshot.tasks:
        if not task.interrupts:
            continue
        node = graph.nodes[task.name].bound
        if isinstance(node, Pregel) and node.checkpointer is False:
            return first
        inner = subgraphs(graph).get(task.name)
        if inner is None:
            return False
        state = await read_state(root, cast("RunnableConfig", task.state))
        if state.interrupts:
            return await _asked_anew(root, inner, state, first=first)
        return (state.metadata or {}).get("source") == "update"
    return False


def _bare(command: "Command[Any]") -> "Command[Any]":
    """Return a command with its one answer for whichever question comes next, if it can be."""
    [answer] = cast("dict[str, Any]", command.resume).values()
    return command if answer is None or is_by_question(answer) else replace(command, resume=answer)


def _addressed(
    run: Run, command: "Command[Any]", pending: Sequence[str], call: Call
) -> tuple["Command[Any]", list[str]]:
    """Return the command with its answer addressed, and the interrupts it answers.

    LangGraph stores a bare answer for whichever question comes next, even one that is asked only
    after a crash; so an answer to the only pending interrupt is given its id.
    """
    resume = command.resume
    if resume is None:
        return command, []
    if is_by_question(resume):
        return command, list(resume)
    meant = run.kwargs.get(MEANT) or (pending[0] if len(pending) == 1 else None)
    if meant is None or "checkpoint_id" in call.configurable:
        return command, []
    return Command(resume={meant: resume}, update=command.update, goto=command.goto), [meant]


def _remaining(
    command: "Command[Any]",
    answered: Sequence[str],
    unanswered: Sequence[str],
    stored: Sequence[tuple[str, Any]],
) -> "Command[Any] | None":
    """Return what is still to be told of a command that was begun; None if all of it was."""
    resume: Any = command.resume
    if answered:
        resume = {
            each: resume[each] if is_by_question(resume) else resume for each in unanswered
        } or None
    writes = _writes(command)
    if all(write in stored for write in writes):
        return None if resume is None else Command(resume=resume)
    return Command(resume=resume, update=command.update, goto=command.goto)


def _writes(command: "Command[Any]") -> list[tuple[str, Any]]:
    """Return the writes in which LangGraph stores a command's update and its goto."""
    goto = command.goto if isinstance(command.goto, list | tuple) else [command.goto]
    writes: list[tuple[str, Any]] = [
        (TASKS, target) if isinstance(target, Send) else (f"branch:to:{target}", START)
        for target in goto
    ]
    match command.update:
        case None:
            return writes
        case Mapping() as update:
            return [*writes, *update.items()]
        case [(str(), _), *_] as update:
            return [*writes, *update]
        case update:
            return [*writes, ("__root__", update)]
