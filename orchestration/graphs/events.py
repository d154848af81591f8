"""The events of a run on the wire: LangGraph's chunks, named and written as its clients expect."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from langchain_core.messages import BaseMessage, BaseMessageChunk, message_chunk_to_message

from orchestration.graphs.arguments import CLIENT_KEY
from orchestration.graphs.jsontext import dumps, event_text
from orchestration.graphs.snapshots import INTERRUPT_KEY, answer
from orchestration.loop.run import Run, ThreadState

if TYPE_CHECKING:
    from langgraph.types import Interrupt

_BURST = 100  # events published before others get their turn
_PRIVATE = ("__", "langgraph_")
_POINT = ("checkpoint_id", "thread_id", "checkpoint_ns", "checkpoint_map")


class RunEvents:
    """Publishes the modes that were asked for, and remembers the values that came last.

    ``nested`` says that events of subgraphs come too, named by their namespace.
    """

    def __init__(self, run: Run, modes: Collection[str], *, nested: bool) -> None:
        self._run = run
        self._stream = run.stream
        self._asked = frozenset(modes)
        self.nested = nested
        self.detailed = "events" in self._asked
        self._bare = not nested and not self._asked - {"values"}
        self._partial: dict[str, BaseMessageChunk] = {}
        self._introduced: set[str] = set()
        self._published = 0
        self._values: Any = {}
        self._text: bytes | None = None
        self._interrupts: list[Interrupt] = []
        self.seen = False

    @property
    def graph_modes(self) -> str | list[str]:
        """The stream modes to ask LangGraph for: a string for values alone, the cheapest."""
        if self._bare:
            return "values"
        modes = {_GRAPH_MODES.get(mode, mode) for mode in self._asked if mode != "events"}
        return sorted(modes | {"values"})

    @property
    def options(self) -> Mapping[str, Any]:
        """How else LangGraph is to stream."""
        return {}

    @property
    def complete(self) -> bool:
        """Whether ``state`` can be made of what was seen."""
        return self.seen

    @property
    def interrupted(self) -> bool:
        """Whether a node stopped to ask something."""
        return bool(self._interrupts)

    @property
    def state(self) -> ThreadState:
        """What the values that came last make of the thread; right unless work remains.

        Raises:
            NotSerialisable: the values have no JSON text.
        """
        text = dumps(self._values) if self._text is None else self._text
        return ThreadState(
            text, interrupted=self.interrupted, output=answer(self._values, self._interrupts)
        )

    def publish(self, name: str, payload: Any) -> None:
        """Publish one event, if anybody listens."""
        if self._stream.wanted:
            self._stream.publish(name, event_text(payload))
            self._published += 1

    async def follow(self, chunks: AsyncIterator[Any]) -> None:
        """Take what ``astream`` yields for ``graph_modes``, to its end."""
        async for chunk in chunks:
            self._obey()
            if self._bare:
                self.take((), "values", chunk)
            else:
                self._take_tuple(chunk)
            if self._published >= _BURST or self._stream.full:
                await self._pause()

    async def follow_events(self, events: AsyncIterator[Any], run_id: str) -> None:
        """Take what ``astream_events`` yields, to its end; ``run_id`` names the root's own."""
        async for event in events:
            self._obey()
            if event["event"] == "on_chain_stream" and event["run_id"] == run_id:
                self._take_tuple(event["data"]["chunk"])
            else:
                self.publish("events", event)
            if self._published >= _BURST or self._stream.full:
                await self._pause()

    def take(self, namespace: tuple[str, ...], mode: str, payload: Any) -> None:
        """Note and publish one chunk."""
        if mode == "messages":
            self._take_message(namespace, *payload)
        elif mode == "values" and not namespace:
            self._take_values(payload)
        elif mode in self._asked:
            self.publish(_named(mode, namespace), _REWRITTEN.get(mode, _same)(payload))

    def _take_tuple(self, chunk: Any) -> None:
        if self.nested:
            self.take(*chunk)
        else:
            self.take((), *chunk)

    def _obey(self) -> None:
        """Go no further with a run that was told to stop, though a node swallowed that."""
        if self._run.ending is not None:
            raise asyncio.CancelledError

    async def _pause(self) -> None:
        """Let readers read: a burst must not fill their places before they had a turn.

        Events that are kept go no faster than they can be.
        """
        self._published = 0
        await asyncio.sleep(0)
        await self._stream.room()

    def _take_values(self, payload: Any) -> None:
        self.seen = True
        text = None
        if self._stream.wanted and "values" in self._asked:
            text = dumps(payload)
            self._stream.publish("values", text)
            self._published += 1
        if isinstance(payload, dict) and INTERRUPT_KEY in payload:
            self._interrupts.extend(payload[INTERRUPT_KEY])
            payload = {key: value for key, value in payload.items() if key != INTERRUPT_KEY}
            text = None
        self._values, self._text = payload, text

    def _take_message(
        self, namespace: tuple[str, ...], message: BaseMessage, metadata: Mapping[str, Any]
    ) -> None:
        if "messages-tuple" in self._asked:
            self.publish(_named("messages", namespace), (message, metadata))
            return
        key = message.id or ""
        if key not in self._introduced:
            self._introduced.add(key)
            self.publish(_named("messages/metadata", namespace), {key: {"metadata": metadata}})
        if not isinstance(message, BaseMessageChunk):
            self.publish(_named("messages/complete", namespace), [message])
            return
        before = self._partial.get(key)
        merged = message if before is None else before + message
        self._partial[key] = merged
        self.publish(_named("messages/partial", namespace), [message_chunk_to_message(merged)])


def _named(name: str, namespace: tuple[str, ...]) -> str:
    return "|".join((name, *namespace))


def _same(payload: Any) -> Any:
    return payload


def _public(config: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return a checkpoint's config without what is the server's own business."""
    if config is None:
        return None
    configurable = config["configurable"].items()
    public = {k: v for k, v in configurable if k != CLIENT_KEY and not k.startswith(_PRIVATE)}
    return {"configurable": public}


def _checkpoint(payload: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **payload,
        "config": _public(payload["config"]),
        "parent_config": _public(payload["parent_config"]),
    }


def _debug(payload: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a debug event whose checkpoints and tasks also say where they are to be found."""
    if payload["type"] != "checkpoint":
        return payload
    inner = _checkpoint(payload["payload"])
    inner["tasks"] = [_located(task) for task in inner["tasks"]]
    inner["checkpoint"] = _point(inner["config"])
    inner["parent_checkpoint"] = _point(inner["parent_config"])
    return {**payload, "payload": inner}


def _located(task: Mapping[str, Any]) -> Mapping[str, Any]:
    state = task.get("state")
    if not isinstance(state, Mapping):
        return task
    return {**{k: v for k, v in task.items() if k != "state"}, "checkpoint": state["configurable"]}


def _point(config: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if config is None:
        return None
    configurable = config["configurable"]
    return {key: configurable[key] for key in _POINT if key in configurable}


_GRAPH_MODES = {"messages-tuple": "messages"}
_REWRITTEN: dict[str, Callable[[Any], Any]] = {"checkpoints": _checkpoint, "debug": _debug}
