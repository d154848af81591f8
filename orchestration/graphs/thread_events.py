"""The events of a run in the log of its thread, in the words of LangGraph's event protocol."""

import dataclasses
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Collection,
    Generator,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import aclosing, contextmanager
from typing import Any

from langchain_core.language_models._compat_bridge import message_to_events
from langchain_core.messages import BaseMessage, BaseMessageChunk
from langgraph.types import Interrupt

from operations.surrogates import without_surrogates
from orchestration.graphs.events import RunEvents
from orchestration.graphs.jsontext import dumps, event_text
from orchestration.graphs.snapshots import INTERRUPT_KEY
from orchestration.graphs.transformers import Factory, Transformers
from orchestration.loop.run import Run
from orchestration.loop.threadlog import ThreadLog

MESSAGE_EVENTS = "__pregel_stream_messages_v2"  # LangGraph's: models tell block by block

_MODES = ("checkpoints", "custom", "messages", "tasks", "tools", "updates", "values")
_TOKENS = frozenset({"messages", "messages-tuple", "events"})
_ROLES = {"human": "human", "system": "system"}

Namespace = tuple[str, ...]


class ThreadEvents(RunEvents):
    """Writes a thread's log, beside what was asked of the run itself.

    Whoever asked for tokens in the older form gets them; the log has none of them then.
    """

    def __init__(
        self,
        run: Run,
        log: ThreadLog,
        modes: Collection[str],
        *,
        nested: bool,
        transformers: Sequence[Factory] = (),
    ) -> None:
        super().__init__(run, modes, nested=True)
        self._log = log
        self._subgraphs_asked = nested
        self._tokens_asked = bool(_TOKENS & self._asked)
        self._held: tuple[Namespace, bytes] | None = None
        self._following = False
        self._writing: dict[str, str] = {}  # a model's call -> the message it writes
        self._tool_calls: dict[str, str] = {}  # a task -> the tool call that it does
        self._typed = False
        self._muted = False  # whether a transformer keeps from others what is being taken
        self._transformers = (
            Transformers(transformers, self._tell_extension)
            if transformers and not self._tokens_asked
            else None
        )
        self._narrators: dict[str, Callable[[Namespace, Any], None]] = {
            "checkpoints": self._tell_checkpoint,
            "custom": self._tell_custom,
            "messages": self._tell_message,
            "tasks": self._tell_task,
            "tools": self._tell_tool,
            "updates": self._tell_updates,
            "values": self._tell_values,
        }

    @property
    def graph_modes(self) -> list[str]:
        """The stream modes to ask LangGraph for."""
        wanted = set() if self._transformers is None else self._transformers.modes
        return sorted({*super().graph_modes, *_MODES, *wanted})

    @property
    def options(self) -> dict[str, Any]:
        """How else LangGraph is to stream."""
        return {} if self._tokens_asked else {"version": "v2"}

    @property
    def complete(self) -> bool:
        """Whether ``state`` can be made of what was seen; it cannot of values of a class."""
        return super().complete and not self._typed

    async def follow(self, chunks: AsyncIterator[Any]) -> None:
        """Take what ``astream`` yields, to its end."""
        with self._to_the_end():
            if self._transformers is None:
                await super().follow(chunks)
                return
            async with aclosing(self._transformed(chunks, self._transformers)) as transformed:
                await super().follow(transformed)

    async def follow_events(self, events: AsyncIterator[Any], run_id: str) -> None:
        """Take what ``astream_events`` yields, to its end."""
        with self._to_the_end():
            await super().follow_events(events, run_id)

    def take(self, namespace: Namespace, mode: str, payload: Any) -> None:
        """Note and publish one chunk, and write it into the log."""
        asked = mode != "messages" or self._tokens_asked
        if asked and (not namespace or self._subgraphs_asked):
            super().take(namespace, mode, payload)
        narrate = self._narrators.get(mode)
        if narrate is None or self._muted:
            return
        if mode != "checkpoints":
            self._release()
        narrate(namespace, payload)
        self._published += 1

    def _take_tuple(self, chunk: Any) -> None:
        if isinstance(chunk, tuple):
            self.take(*chunk)
            return
        payload = chunk["data"]
        if chunk["type"] == "values":
            self._typed = self._typed or not (isinstance(payload, dict) or chunk["ns"])
            if waiting := chunk["interrupts"]:
                payload = {**_fields(payload), INTERRUPT_KEY: waiting}
        self.take(chunk["ns"], chunk["type"], payload)

    async def _transformed(
        self, chunks: AsyncIterator[Any], transformers: Transformers
    ) -> AsyncGenerator[Any]:
        try:
            async for chunk in chunks:
                shown, kept = await transformers.show(chunk)
                self._muted = not kept
                yield shown
            await transformers.aclose()
        except BaseException as error:
            await transformers.afail(error)
            raise

    @contextmanager
    def _to_the_end(self) -> Generator[None]:
        self._following = True
        try:
            yield
        finally:
            self._following = False
            self._release()

    def _release(self) -> None:
        """Publish the values that were held back for their checkpoint to come first."""
        if self._held is not None:
            (namespace, text), self._held = self._held, None
            self._log.publish("values", namespace, text)

    def _tell_values(self, namespace: Namespace, payload: Any) -> None:
        waiting: Collection[Interrupt] = ()
        if isinstance(payload, dict) and INTERRUPT_KEY in payload:
            waiting = payload[INTERRUPT_KEY]
            payload = {key: value for key, value in payload.items() if key != INTERRUPT_KEY}
        if not namespace and self._text is None and not self._typed:
            self._text = dumps(payload)
        text = self._text if not namespace and self._text is not None else dumps(payload)
        self._held = namespace, text
        if waiting or not self._following:  # no checkpoint comes after these
            self._release()
        for interrupt in waiting:
            self._request(namespace, interrupt)

    def _request(self, namespace: Namespace, interrupt: Interrupt) -> None:
        """Ask what a node wants to know; of a subgraph's question its parents tell again."""
        if not self._log.ask(interrupt.id):
            return
        # The protocol says "payload"; LangGraph's client in Python reads "value".
        value = interrupt.value
        asked = {"interrupt_id": interrupt.id, "payload": value, "value": value}
        self._log.publish("input.requested", namespace, dumps(asked), channel="input")

    def _tell_checkpoint(self, namespace: Namespace, payload: Mapping[str, Any]) -> None:
        if self._held is not None and self._held[0] != namespace:
            self._release()
        metadata, parent = payload["metadata"], payload["parent_config"]
        data = {"id": payload["config"]["configurable"]["checkpoint_id"]}
        if parent is not None:
            data["parent_id"] = parent["configurable"]["checkpoint_id"]
        data |= {"step": metadata.get("step"), "source": metadata.get("source")}
        self._log.publish("checkpoints", namespace, dumps(data))
        self._release()

    def _tell_updates(self, namespace: Namespace, payload: Mapping[str, Any]) -> None:
        for node, update in payload.items():
            if node != INTERRUPT_KEY:
                # As the protocol has it, and as LangGraph's clients show it of a local graph.
                data = {node: update, "node": node, "values": update}
                self._log.publish("updates", namespace, event_text(data), node=node)

    def _tell_custom(self, namespace: Namespace, payload: Any) -> None:
        self._log.publish("custom", namespace, event_text({"payload": payload}))

    def _tell_extension(self, name: str, item: Any) -> None:
        data = event_text({"name": name, "payload": item})
        self._log.publish("custom", (), data, channel=f"custom:{name}")

    def _tell_tool(self, namespace: Namespace, payload: Any) -> None:
        self._log.publish("tools", namespace, event_text(payload))

    def _tell_message(self, namespace: Namespace, payload: tuple[Any, Mapping[str, Any]]) -> None:
        message, metadata = payload
        node = metadata.get("langgraph_node")
        if isinstance(message, BaseMessageChunk):
            return
        if isinstance(message, BaseMessage):
            events: Iterable[Mapping[str, Any]] = _retold(message)
        else:
            events = (self._named(message, str(metadata.get("run_id"))),)
        for event in events:
            if event["event"] == "message-start" and node is not None:
                told = {**(event.get("metadata") or {}), "langgraph_node": node}
                event = {**event, "metadata": told}  # noqa: PLW2901 - the same, with its node
            self._log.publish("messages", namespace, dumps(event), node=node)

    def _named(self, event: Mapping[str, Any], call: str) -> Mapping[str, Any]:
        """Return an event of a message with the message's id, for those who follow several."""
        if event["event"] == "message-start":
            self._writing[call] = event.get("id") or event.get("message_id") or call
        named = {**event, "id": self._writing.get(call, call)}
        if event["event"] in ("message-finish", "error"):
            self._writing.pop(call, None)
        return named

    def _tell_task(self, namespace: Namespace, payload: Mapping[str, Any]) -> None:
        if "result" in payload:
            self._close_subgraphs(namespace, payload)
            self._tool_calls.pop(payload["id"], None)
        else:
            self._note_tool_call(payload)
            if namespace and namespace not in self._log.graphs:
                self._open_subgraph(namespace, payload)
        self._log.publish("tasks", namespace, event_text(payload))

    def _note_tool_call(self, task: Mapping[str, Any]) -> None:
        given = task.get("input")
        call = given.get("tool_call") if isinstance(given, dict) else None
        if isinstance(call, dict) and isinstance(call.get("id"), str):
            self._tool_calls[task["id"]] = call["id"]

    def _open_subgraph(self, namespace: Namespace, task: Mapping[str, Any]) -> None:
        name, _, parent = namespace[-1].partition(":")
        agent = (task.get("metadata") or {}).get("lc_agent_name")
        call = self._tool_calls.get(parent)
        cause = None if call is None else {"type": "toolCall", "tool_call_id": call}
        self._log.lifecycle(namespace, "started", graph_name=agent or name, cause=cause)

    def _close_subgraphs(self, namespace: Namespace, task: Mapping[str, Any]) -> None:
        event, error = "completed", None
        if task.get("interrupts"):
            event = "interrupted"
        elif task.get("error"):
            event, error = "failed", without_surrogates(str(task["error"]))
        depth = len(namespace)
        for child, branch in list(self._log.graphs.items()):
            if (
                branch.status == "started"
                and len(child) == depth + 1
                and child[:depth] == namespace
                and child[-1].partition(":")[2] == task["id"]
            ):
                self._log.lifecycle(child, event, error=error)


def _retold(message: BaseMessage) -> Iterable[Mapping[str, Any]]:
    """Return the events of a message that came as a whole."""
    for event in message_to_events(message):
        told = {**event, "id": message.id or ""}
        if event["event"] == "message-start":
            told["role"] = _ROLES.get(message.type, "ai")
        yield told


def _fields(values: Any) -> Mapping[str, Any]:
    """Return the fields of values that a graph gives as an object of its state's class."""
    if isinstance(values, dict):
        return values
    if dataclasses.is_dataclass(values):  # one with slots has its fields nowhere else
        names = [field.name for field in dataclasses.fields(values)]
        found = {name: getattr(values, name) for name in names}
    else:
        found = vars(values)
    return {name: value for name, value in found.items() if not name.startswith("_")}
