"""A graph that has agents do its work, and imports nothing of the server."""

import asyncio
from typing import Any, TypedDict

from langchain_core.runnables import RunnableConfig
from langgraph.config import get_stream_writer
from langgraph.graph import END, START, StateGraph


class State(TypedDict, total=False):
    tasks: list[dict[str, Any]]
    answers: list[Any]


async def ask(state: State, config: RunnableConfig) -> State:
    agents = config["configurable"]["masterloop"]
    write = get_stream_writer()

    async def one(task: dict[str, Any]) -> Any:
        async with agents.lease("play") as agent:
            return await agent.invoke(task, on_event=write)

    return {"answers": await asyncio.gather(*map(one, state["tasks"]))}


asker = StateGraph(State).add_node("ask", ask).add_edge(START, "ask").add_edge("ask", END).compile()
