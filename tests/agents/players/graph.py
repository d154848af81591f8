"""A graph for the tests of the kinds `graph` and `remote`."""

import asyncio
from typing import TypedDict

from langgraph.config import get_stream_writer
from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt

from orchestration.graphs.node_tasks import whereabouts


class State(TypedDict, total=False):
    do: str
    text: str
    count: int
    said: str
    number: int


async def perform(state: State) -> State:
    write = get_stream_writer()
    match state["do"]:
        case "fail":
            raise ValueError("it failed on purpose")
        case "hang":
            write("begun")
            await asyncio.Event().wait()
        case "events":
            for step in range(state["count"]):
                write({"step": step})
        case "ask":
            interrupt("may I?")
        case "number":
            return {"number": int(state["text"])}
        case "tell_number":
            write({"number": int(state["text"])})
        case "trace":
            return {"said": whereabouts()["trace_id"]}
        case _:
            pass
    return {"said": state.get("text", "")}


play = (
    StateGraph(State)
    .add_node("perform", perform)
    .add_edge(START, "perform")
    .add_edge("perform", END)
    .compile()
)
