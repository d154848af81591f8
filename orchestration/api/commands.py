"""Commands to a thread, in LangGraph's thread protocol: start, answer, look, begin elsewhere."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, NoReturn, TypeVar
from uuid import UUID

import orjson
from pydantic import BaseModel, ValidationError
from starlette.responses import Response

from orchestration.api.access import SOMEBODY, Action
from orchestration.api.delays import only_delayed, status_now
from orchestration.api.endpoint import Call, Endpoints, json_response
from orchestration.api.following import keep_events
from orchestration.api.problems import invalid, problem
from orchestration.api.protocol import (
    WORDING,
    CheckpointsParams,
    CommandBody,
    Done,
    ForkParams,
    Refusal,
    RespondParams,
    StateParams,
    refuse,
)
from orchestration.api.run_models import RunCreate
from orchestration.api.state import current_state
from orchestration.api.submission import new_run
from orchestration.api.updates import graph_of
from orchestration.graphs.jsontext import dumps
from orchestration.graphs.states import EMPTY
from orchestration.loop.errors import Draining, ThreadNotFound
from orchestration.loop.run import Place

endpoint = Endpoints()
Document = dict[str, Any]
Params = TypeVar("Params", bound=BaseModel)
_ALIASES = {"multitaskStrategy": "multitask_strategy"}  # as LangGraph's client in JavaScript sends
_ASKING = 5.0  # seconds for a run to stop that has asked something
_STATUSES = {"idle": "completed", "busy": "running", "interrupted": "interrupted"}


@dataclass(frozen=True, slots=True)
class Thread:
    """The thread that a command is for, as it is before the command."""

    thread_id: str
    known: bool
    status: str
    metadata: Mapping[str, Any]
    interrupts: frozenset[str]

    @property
    def assistant(self) -> str | None:
        """The assistant that ran here last, or the graph."""
        found = self.metadata.get("assistant_id") or self.metadata.get("graph_id")
        return found if isinstance(found, str) else None


# What a command takes to be allowed depends on its method, and is decided before all else.
@endpoint(
    "POST",
    "/threads/{thread_id}/commands",
    access=SOMEBODY,
    body=CommandBody,
    wording=WORDING,
    refuses=(429,),
    gives=Done,
)
async def command_thread(call: Call, body: CommandBody) -> Response:
    """Do what a client that follows the thread's events asks for."""
    try:
        result = await _done(call, body)
    except Exception as error:
        found = problem(error)
        if found.status == HTTPStatus.INTERNAL_SERVER_ERROR:
            raise
        return refuse(found, "", body.id)
    meta = result.pop("meta", None)
    answer: Document = {"type": "success", "id": body.id, "result": result}
    return json_response(dumps(answer if meta is None else {**answer, "meta": meta}))


async def _done(call: Call, body: CommandBody) -> Document:
    if body.method not in _METHODS:
        known = ", ".join(_METHODS)
        _refuse(400, "unknown_command", f"there is no {body.method[:64]!r}; there are {known}")
    action, do = _METHODS[body.method]
    thread_id = call.uuid("thread_id")
    given = {_ALIASES.get(name, name): value for name, value in body.params.items()}
    metadata = {} if given.get("metadata") is None else given["metadata"]
    if not isinstance(metadata, dict):  # handlers of the project write into them
        _refuse(400, "invalid_argument", "metadata: must be an object")
    asked = {**given, "metadata": metadata, "thread_id": UUID(thread_id)}
    call = await call.may("threads", action, asked)
    if do in (_start, _respond):
        if call.backend.loop.draining:  # what a run has asked that was put back is not known
            raise Draining
        await _all_asked(call, thread_id, answers=do is _respond)
    thread = _thread(call, thread_id)
    if do is not _start and not thread.known:
        raise ThreadNotFound(thread_id)
    return await do(call, thread, {key: asked[key] for key in asked if key != "thread_id"})


async def _all_asked(call: Call, thread_id: str, *, answers: bool) -> None:
    """Wait for a run that has asked something to stop there: clients answer at once."""
    runs = call.backend.loop.on_thread(thread_id)
    run = next((run for run in runs if run.place is Place.WORKING), None)
    if run is None or run.done is None:
        return
    log = call.backend.loop.logs.find(thread_id)
    asked = log is not None and bool(log.unanswered)
    if answers and run.log is None and graph_of(call, thread_id) is not None:
        # What it has asked was told by its own stream alone.
        asked = bool((await current_state(call, run.graph_id, thread_id))["interrupts"])
    if asked:
        await asyncio.wait({run.done}, timeout=_ASKING)


async def _start(call: Call, thread: Thread, params: Document) -> Document:
    """Run on the thread; with questions pending there, the input is the answer."""
    body = _parsed(RunCreate, {k: v for k, v in params.items() if k in RunCreate.model_fields})
    answers = thread.interrupts and body.input is not None and body.command is None
    if answers and not _elsewhere(body):
        body = body.model_copy(update={"input": None, "command": {"resume": body.input}})
    return await _submit(call, thread, body)


def _elsewhere(body: RunCreate) -> bool:
    """Whether a run begins at a checkpoint of its own."""
    configurable = (body.config or {}).get("configurable") or {}
    return bool(body.checkpoint or body.checkpoint_id or configurable.get("checkpoint_id"))


async def _respond(call: Call, thread: Thread, params: Document) -> Document:
    given = _parsed(RespondParams, params)
    log = call.backend.loop.logs.find(thread.thread_id)
    busy = thread.status == "busy" and log is not None
    pending = log.unanswered if busy and log is not None else thread.interrupts
    for interrupt_id in given.answers():
        if interrupt_id not in pending:
            known = ", ".join(sorted(pending)) or "none"
            _refuse(
                404,
                "no_such_interrupt",
                f"{interrupt_id[:64]!r} waits for no answer on this thread; pending: {known}",
            )
    beside = busy or only_delayed(call.backend, thread.thread_id)
    answered = set[str]() if log is None else log.unanswered.intersection(given.answers())
    if log is not None:
        log.answered |= answered
    body = {
        "assistant_id": thread.assistant,
        "command": given.command(),
        "config": given.config,
        "metadata": given.metadata,
        # Of a run that goes on beside its question the answer waits for the end, and for one that
        # is not due it does not wait. Otherwise a run that works is answering just that.
        "multitask_strategy": "enqueue" if beside else "reject",
    }
    try:
        return await _submit(call, thread, _parsed(RunCreate, body))
    except Exception:  # of whatever kind: the answer was not taken
        if log is not None:
            log.answered -= answered
        raise


async def _fork(call: Call, thread: Thread, params: Document) -> Document:
    given = _parsed(ForkParams, params)
    body = {
        "assistant_id": thread.assistant,
        "input": given.input,
        "config": given.config,
        "checkpoint_id": given.checkpoint_id,
    }
    started = await _submit(call, thread, _parsed(RunCreate, body))
    return {**started, "thread_id": thread.thread_id}


async def _submit(call: Call, thread: Thread, body: RunCreate) -> Document:
    """Submit a run that writes the thread's log, and say where in the log it comes after."""
    loop = call.backend.loop
    run = await new_run(call, body, thread.thread_id)
    run.kwargs = {**run.kwargs, "protocol": "v2"}
    run.create_thread = True
    keep_events(call.backend, run)
    before = loop.logs.open(thread.thread_id, new_thread=not thread.known).number
    try:
        await loop.submit(run)
    finally:
        loop.logs.settle(thread.thread_id)
    return {"run_id": run.run_id, "meta": {"applied_through_seq": before}}


async def _get_state(call: Call, thread: Thread, params: Document) -> Document:
    given = _parsed(StateParams, params)
    state = await _state(call, thread, {"checkpoint_ns": "|".join(given.namespace)})
    values = state["values"]
    if given.keys is not None and isinstance(values, dict):
        values = {key: value for key, value in values.items() if key in given.keys}
    shown: Document = {"values": values}
    checkpoint = state["checkpoint"]
    if checkpoint is not None:
        shown["checkpoint"] = {
            "id": checkpoint["checkpoint_id"],
            "ns": checkpoint.get("checkpoint_ns", ""),
        }
    return shown


async def _list_checkpoints(call: Call, thread: Thread, params: Document) -> Document:
    given = _parsed(CheckpointsParams, params)
    graph_id = _graph(call, thread)
    if graph_id is None:
        return {"checkpoints": []}
    await current_state(call, graph_id, thread.thread_id)
    states = await call.states.history(
        graph_id,
        thread.thread_id,
        limit=given.limit,
        before=given.before,
        checkpoint={"checkpoint_ns": "|".join(given.namespace)},
    )
    return {"checkpoints": [_summary(state) for state in states]}


def _summary(state: Mapping[str, Any]) -> Document:
    metadata = state["metadata"]
    return {
        "id": state["checkpoint_id"],
        "timestamp": state["created_at"],
        "step": metadata.get("step"),
        "metadata": metadata,
    }


async def _get_tree(call: Call, thread: Thread, params: Document) -> Document:  # noqa: ARG001 - as all
    log = call.backend.loop.logs.find(thread.thread_id)
    graph = str(thread.metadata.get("graph_id") or "")
    root = _leaf((), _STATUSES.get(thread.status, "failed"), graph)
    nodes: dict[tuple[str, ...], Document] = {(): root}
    for namespace, branch in sorted(log.graphs.items() if log is not None else ()):
        node = _leaf(namespace, branch.status, branch.graph_name)
        if not namespace:
            root.update(node)
            continue
        nodes[namespace] = node
        nodes.get(namespace[:-1], root).setdefault("children", []).append(node)
    return {"tree": root}


def _leaf(namespace: tuple[str, ...], status: str, graph_name: str) -> Document:
    return {"namespace": list(namespace), "status": status, "graph_name": graph_name}


async def _refuse_injection(_: Call, __: Thread, ___: Document) -> NoReturn:
    _refuse(400, "not_supported", "a graph that runs takes no input; start another run with it")


async def _refuse_subscription(_: Call, __: Thread, ___: Document) -> NoReturn:
    _refuse(400, "not_supported", "POST to stream/events instead; closing it unsubscribes")


_METHODS: dict[str, tuple[Action, Callable[[Call, Thread, Document], Awaitable[Document]]]] = {
    "run.start": ("create_run", _start),
    "input.respond": ("create_run", _respond),
    "input.inject": ("create_run", _refuse_injection),
    "agent.getTree": ("read", _get_tree),
    "state.get": ("read", _get_state),
    "state.listCheckpoints": ("read", _list_checkpoints),
    "state.fork": ("create_run", _fork),
    "subscription.subscribe": ("read", _refuse_subscription),
    "subscription.unsubscribe": ("read", _refuse_subscription),
    "subscription.reconnect": ("read", _refuse_subscription),
}


def _thread(call: Call, thread_id: str) -> Thread:
    row = call.backend.threads.get(thread_id, call.visible)
    if row is None:
        return Thread(thread_id, known=False, status="idle", metadata={}, interrupts=frozenset())
    status = status_now(call.backend, row)
    pending = orjson.loads(row["interrupts"]) if status == "interrupted" else {}
    ids = frozenset(each["id"] for asked in pending.values() for each in asked)
    metadata = orjson.loads(row["metadata"])
    return Thread(thread_id, known=True, status=status, metadata=metadata, interrupts=ids)


async def _state(call: Call, thread: Thread, checkpoint: Mapping[str, Any]) -> Document:
    graph_id = _graph(call, thread)
    if graph_id is None:
        return EMPTY
    return await current_state(call, graph_id, thread.thread_id, checkpoint)


def _graph(call: Call, thread: Thread) -> str | None:
    graph_id = thread.metadata.get("graph_id")
    return graph_id if isinstance(graph_id, str) and graph_id in call.backend.graphs else None


def _parsed(model: type[Params], given: Mapping[str, Any]) -> Params:
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise invalid(error) from error


def _refuse(status: int, code: Any, message: str) -> NoReturn:
    raise Refusal(status, code, message)
