"""Checkpoints to put, graphs to run, and a saver to do it with."""

import operator
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, TypedDict, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    BaseCheckpointSaver,
    CheckpointMetadata,
    CheckpointTuple,
    create_checkpoint,
    empty_checkpoint,
)
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import interrupt

from operations.database import Database, open_database
from operations.migrations import load_migrations
from orchestration.store.checkpoints import CheckpointSaver

Graph = CompiledStateGraph[Any, Any, Any, Any]
MIGRATIONS = load_migrations("orchestration.store.migrations")[:1]


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    answer: str


@asynccontextmanager
async def opened(path: Path) -> AsyncGenerator[tuple[Database, CheckpointSaver]]:
    async with open_database(path, MIGRATIONS) as database:
        yield database, CheckpointSaver(database)


def at(thread_id: str, run_id: str | None = None, **configurable: str) -> RunnableConfig:
    config: RunnableConfig = {
        "configurable": {"thread_id": thread_id, "checkpoint_ns": "", **configurable}
    }
    if run_id is not None:
        config["metadata"] = {"run_id": run_id}
    return config


def at_checkpoint(config: RunnableConfig, run_id: str) -> RunnableConfig:
    return {**config, "metadata": {"run_id": run_id}}


async def put(
    saver: BaseCheckpointSaver[str], config: RunnableConfig, *, step: int = 0, **metadata: Any
) -> RunnableConfig:
    checkpoint = create_checkpoint(empty_checkpoint(), None, step)
    entries = cast("CheckpointMetadata", {"source": "loop", "step": step, **metadata})
    return await saver.aput(config, checkpoint, entries, {})


async def put_chain(saver: BaseCheckpointSaver[str], length: int) -> list[RunnableConfig]:
    config, chain = at("t"), []
    for step in range(length):
        config = await put(saver, config, step=step, parity="odd" if step % 2 else "even")
        chain.append(config)
    return chain


async def ids(found: AsyncIterator[CheckpointTuple]) -> list[str]:
    return [one.config["configurable"]["checkpoint_id"] async for one in found]


def ids_of(chain: Sequence[RunnableConfig]) -> list[str]:
    return [config["configurable"]["checkpoint_id"] for config in chain]


def two_steps(saver: BaseCheckpointSaver[str]) -> Graph:
    """A graph with a subgraph that keeps state of its own, and an interrupt."""
    inner = StateGraph(State)
    inner.add_node("count", lambda _: {"log": ["counted"]})
    inner.add_edge(START, "count")
    outer = StateGraph(State)
    outer.add_node("inner", inner.compile(checkpointer=True))
    outer.add_node("ask", lambda _: {"answer": interrupt("sure?")})
    outer.add_edge(START, "inner")
    outer.add_edge("inner", "ask")
    outer.add_edge("ask", END)
    return outer.compile(checkpointer=saver)
