"""Commands to a thread, in LangGraph's thread protocol: start, answer, look, begin elsewhere."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from http import HTTPStatus
from typing import Any, NoReturn, TypeVar
from uuid import UUID

import orjson
from pydantic import BaseModel, ValidationError
from starlette.responses import Response

from orchestration.api.access import SOMEBODY
from orchestration.api.delays import only_delayed, status_now
from orchestration.api.endpoint import Call, Endpoints, json_response
from orchestration.api.following import keep_events
from orchestration.api.idempotency import Once
from orchestration.api.problems import invalid, problem
from orchestration.api.protocol import (
    METHODS,
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
from orchestration.api.submission import may_run, new_run
from orchestration.api.updates import graph_of
from orchestration.graphs.jsontext import dumps
from orchestration.graphs.states import EMPTY, in_parts
from orchestration.loop.errors import Draining, ThreadNotFound
from orchestration.loop.run import Place, Run
from orchestration.loop.threadlog import ThreadLog

endpoint = Endpoints()
Document = dict[str, Any]
Params = TypeVar("Params", bound=BaseModel)
_ALIASES = {"multitaskStrategy": "multitask_strategy"}  # as LangGraph's client in JavaScript sends
_ASKING = 5.0  # seconds for a run to stop that has asked something
_STATUSES = {"idle": "completed", "busy": "running", "interrupted": "interrupted"}


@dataclass(frozen=True, slots=True)
class Thread:
    """The thread that a command is for, as it is before the command.

    ``asked`` holds the ids of the questions that its latest run has left, whatever works now.
    """

    thread_id: str
    known: bool
    status: str
    metadata: Mapping[str, Any]
    asked: frozenset[str]

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
    once=Once(dict),  # of a run; see `_kept`
)
async def command_thread(call: Call, body: CommandBody) -> Response:
    """Do what a client that follows the thread's events asks for."""
    if call.receipt is not None:
        kept = partial(_kept, body.id)
        call = replace(call, receipt=replace(call.receipt, document=kept))
    try:
        result = await _done(call, body)
    except Exception as error:
        found = problem(error)
        if found.status == HTTPStatus.INTERNAL_SERVER_ERROR:
            raise
        return refuse(found, "", body.id)
    return json_response(_success(body.id, result))


def _success(command: int, result: Document) -> bytes:
    said = {name: value for name, value in result.items() if name != "meta"}
    answer: Document = {"type": "success", "id": command, "result": said}
    return dumps({**answer, "meta": result["meta"]} if "meta" in result else answer)


def _kept(command: int, result: Document) -> tuple[bytes, None]:
    """Return what is kept of a command that makes a run, for who sends it again."""
    return _success(command, result), None


async def _done(call: Call, body: CommandBody) -> Document:
    if body.method not in METHODS:
        known = ", ".join(METHODS)
        _refuse(400, "unknown_command", f"there is no {body.method[:64]!r}; there are {known}")
    thread_id = call.uuid("thread_id")
    given = {_ALIASES.get(name, name): value for name, value in body.params.items()}
    metadata = {} if given.get("metadata") is None else given["metadata"]
    if not isinstance(metadata, dict):  # handlers of the project write into them
        _refuse(400, "invalid_argument", "metadata: must be an object")
    asked = {**given, "metadata": metadata}
    if body.method in _RUNS:
        return await _run(call, thread_id, body.method, asked)
    value = {**asked, "thread_id": UUID(thread_id)}
    call = await call.may("threads", "read", value)
    thread = _thread(call, thread_id)
    if not thread.known:
        raise ThreadNotFound(thread_id)
    return await _LOOKS[body.method](call, thread, {key: value[key] for key in asked})


async def _run(call: Call, thread_id: str, method: str, params: Document) -> Document:
    """Have the run made that a command comes to, once it is allowed as any other run."""
    asks, do = _RUNS[method]
    call, asked = await may_run(call, asks(call, thread_id, params), thread_id)
    if do is not _fork:
        if call.backend.loop.draining:  # what a run has asked that was put back is not known
            raise Draining
        await _all_asked(call, thread_id, answers=do is _respond)
    thread = _thread(call, thread_id)
    if do is not _start and not thread.known:
        raise ThreadNotFound(thread_id)
    return await do(call, thread, asked)


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


def _to_start(_: Call, __: str, params: Document) -> RunCreate:
    return _parsed(RunCreate, {k: v for k, v in params.items() if k in RunCreate.model_fields})


async def _start(call: Call, thread: Thread, body: RunCreate) -> Document:
    """Run on the thread; with questions pending there, the input is the answer."""
    waits = thread.status == "interrupted" and thread.asked
    if waits and body.input is not None and body.command is None and not _elsewhere(body):
        body = body.model_copy(update={"input": None, "command": {"resume": body.input}})
    return await _submit(call, thread, body)


def _elsewhere(body: RunCreate) -> bool:
    """Whether a run begins at a checkpoint of its own."""
    configurable = (body.config or {}).get("configurable") or {}
    return bool(body.checkpoint or body.checkpoint_id or configurable.get("checkpoint_id"))


def _to_respond(call: Call, thread_id: str, params: Document) -> RunCreate:
    given = _parsed(RespondParams, params)
    run = {"command": given.command(), "config": given.config, "metadata": given.metadata}
    return _of_the_assistant(call, thread_id, run)


def _of_the_assistant(call: Call, thread_id: str, run: Document) -> RunCreate:
    """Return a run of the assistant that ran on a thread last, whoever's that is."""
    assistant = _thread(call, thread_id).assistant or ""
    body = _parsed(RunCreate, {**run, "assistant_id": "-"})
    return body.model_copy(update={"assistant_id": assistant})  # no request is to blame for it


async def _respond(call: Call, thread: Thread, body: RunCreate) -> Document:
    answers = tuple((body.command or {}).get("resume") or ())
    log = call.backend.loop.logs.find(thread.thread_id)
    busy = thread.status == "busy"
    pending = _pending(call, thread, log) if busy else await _waiting(call, thread)
    for interrupt_id in answers:
        if interrupt_id not in pending:
            known = ", ".join(sorted(pending)) or "none"
            _refuse(
                404,
                "no_such_interrupt",
                f"{interrupt_id[:64]!r} waits for no answer on this thread; pending: {known}",
            )
    beside = busy or only_delayed(call.backend, thread.thread_id)
    answered = set[str]() if log is None else set(answers) - log.answered
    if log is not None:
        log.answered |= answered
    # Of a run that goes on beside its question the answer waits for the end, and for one that
    # is not due it does not wait. Otherwise a run that works is answering just that.
    strategy = "enqueue" if beside else "reject"
    try:
        return await _submit(call, thread, body.model_copy(update={"multitask_strategy": strategy}))
    except Exception:  # of whatever kind: the answer was not taken
        if log is not None:
            log.answered -= answered
        raise


async def _waiting(call: Call, thread: Thread) -> frozenset[str]:
    """Return the questions that wait for an answer on a thread on which nothing works.

    A task that has failed keeps the answers that it took: another would go to what it asks next.
    """
    graph_id = _graph(call, thread)
    if thread.status != "error" or not thread.asked or graph_id is None:
        return thread.asked
    return thread.asked.intersection(await call.states.unanswered(graph_id, thread.thread_id))


def _pending(call: Call, thread: Thread, log: ThreadLog | None) -> frozenset[str]:
    """Return the questions that wait for an answer on a thread that something works on.

    Runs that only answer some of those that were there leave the others open.
    """
    runs = call.backend.loop.on_thread(thread.thread_id)
    given = [_answers(run) & thread.asked for run in runs if not run.delayed]
    left = thread.asked.difference(*given) if all(given) else frozenset[str]()
    return left if log is None else (left | log.asked) - log.answered


def _answers(run: Run) -> frozenset[str]:
    """Return the ids of the questions that a run answers, as far as it names them."""
    resume = (run.kwargs.get("command") or {}).get("resume")
    return frozenset(resume if isinstance(resume, dict) else ())


def _to_fork(call: Call, thread_id: str, params: Document) -> RunCreate:
    return _of_the_assistant(call, thread_id, _parsed(ForkParams, params).model_dump())


async def _fork(call: Call, thread: Thread, body: RunCreate) -> Document:
    return await _submit(call, thread, body, thread_id=thread.thread_id)


async def _submit(call: Call, thread: Thread, body: RunCreate, **more: Any) -> Document:
    """Submit a run that writes the thread's log, and say where in the log it comes after."""
    loop = call.backend.loop
    body = body.model_copy(update={"if_not_exists": "create"})
    run = await new_run(call, body, thread.thread_id)
    run.kwargs = {**run.kwargs, "protocol": "v2"}
    keep_events(call.backend, run)
    before = loop.logs.open(thread.thread_id, new_thread=not thread.known).number
    told = {"run_id": run.run_id, **more, "meta": {"applied_through_seq": before}}
    if call.receipt is not None:
        told_again = call.receipt.document(told)
        run.receipt = replace(call.receipt, document=lambda _: told_again)
    try:
        await loop.submit(run)
    finally:
        loop.logs.settle(thread.thread_id)
    return told


async def _get_state(call: Call, thread: Thread, params: Document) -> Document:
    given = _parsed(StateParams, params)
    state = await _state(call, thread, {"checkpoint_ns": "|".join(given.namespace)})
    values = state["values"]
    if given.keys is not None and isinstance(values, dict):
        values = {key: value for key, value in values.items() if key in given.keys}
    shown = in_parts({"values": values})
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
    history = call.states.history(
        graph_id,
        thread.thread_id,
        limit=given.limit,
        before=given.before,
        checkpoint={"checkpoint_ns": "|".join(given.namespace)},
    )
    async with aclosing(history) as states:
        return {"checkpoints": [_summary(state) async for state in states]}


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


_RUNS: dict[
    str,
    tuple[
        Callable[[Call, str, Document], RunCreate],
        Callable[[Call, Thread, RunCreate], Awaitable[Document]],
    ],
] = {
    "run.start": (_to_start, _start),
    "input.respond": (_to_respond, _respond),
    "state.fork": (_to_fork, _fork),
}
_LOOKS: dict[str, Callable[[Call, Thread, Document], Awaitable[Document]]] = {
    "input.inject": _refuse_injection,
    "agent.getTree": _get_tree,
    "state.get": _get_state,
    "state.listCheckpoints": _list_checkpoints,
    "subscription.subscribe": _refuse_subscription,
    "subscription.unsubscribe": _refuse_subscription,
    "subscription.reconnect": _refuse_subscription,
}


def _thread(call: Call, thread_id: str) -> Thread:
    row = call.backend.threads.get(thread_id, call.visible)
    if row is None:
        return Thread(thread_id, known=False, status="idle", metadata={}, asked=frozenset())
    status = status_now(call.backend, row)
    stored = orjson.loads(row["interrupts"]).values()
    ids = frozenset(each["id"] for asked in stored for each in asked)
    metadata = orjson.loads(row["metadata"])
    return Thread(thread_id, known=True, status=status, metadata=metadata, asked=ids)


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
