"""What a command writes, tried before it is stored."""

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from langgraph.checkpoint.base import (
    BaseCheckpointSaver,
    CheckpointTuple,
    DeltaChannelHistory,
    PendingWrite,
)

from orchestration.graphs.arguments import Graph

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig


async def try_writes(
    graph: Graph,
    saver: BaseCheckpointSaver[Any],
    config: "RunnableConfig",
    writes: Sequence[PendingWrite],
) -> None:
    """Return if ``writes`` can be put together with the state at the checkpoint of ``config``.

    LangGraph stores those of a command first. What cannot be read is in the way of every run then.

    Raises:
        Exception: they cannot, as when a reducer refuses one; whatever that raised.
    """
    tried = copy.copy(graph)
    tried.checkpointer = _Having(saver, writes)
    await tried.aget_state(config)


class _Having(BaseCheckpointSaver[Any]):
    """Shows checkpoints as if they had some writes more."""

    def __init__(self, saver: BaseCheckpointSaver[Any], writes: Sequence[PendingWrite]) -> None:
        super().__init__(serde=saver.serde)
        self._saver = saver
        self._writes = writes

    async def aget_tuple(self, config: "RunnableConfig") -> CheckpointTuple | None:
        saved = await self._saver.aget_tuple(config)
        if saved is None:
            return None
        return saved._replace(pending_writes=[*(saved.pending_writes or ()), *self._writes])

    async def aget_delta_channel_history(
        self, *, config: "RunnableConfig", channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        return await self._saver.aget_delta_channel_history(config=config, channels=channels)
