"""The events of a run: their names, their order, what they say."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import pytest
from langgraph.config import get_stream_writer
from langgraph.types import interrupt

from orchestration.graphs.arguments import Graph
from orchestration.graphs.jsontext import DEPTH_LIMIT, NotSerialisable
from orchestration.loop.run import Run
from orchestration.loop.streams import StreamEvent
from orchestration.loop.threadlog import ThreadLog
from tests.graphs import plays
from tests.graphs.stage import Stage, new_run, record

CHAT = {"messages": [{"role": "user", "content": "hi"}]}


def names(events: list[tuple[str, Any]]) -> list[str]:
    return [name for name, _ in events]


async def played(stage: Stage, run: Run) -> list[tuple[str, Any]]:
    events = record(run)
    await stage.play(run)
    return events


async def test_metadata_comes_first_and_names_the_run() -> None:
    run = new_run("echo", {})
    events = await played(Stage(echo=plays.echo()), run)
    assert events[0] == ("metadata", {"run_id": run.run_id, "attempt": 1})


async def test_values_are_the_whole_state_after_each_step() -> None:
    events = await played(Stage(log=plays.logging("a", "b")), new_run("log", {"log": []}))
    assert events[1:] == [
        ("values", {"log": []}),
        ("values", {"log": ["a"]}),
        ("values", {"log": ["a", "b"]}),
    ]


async def test_values_end_with_the_interrupt() -> None:
    events = await played(Stage(ask=plays.asking("sure?")), new_run("ask", {"text": "x"}))
    name, last = events[-1]
    assert (name, last["text"], last["__interrupt__"][0]["value"]) == ("values", "x", "sure?")


async def test_updates_are_what_each_node_wrote() -> None:
    run = new_run("log", {"log": []}, stream_mode="updates")
    events = await played(Stage(log=plays.logging("a", "b")), run)
    assert events[1:] == [("updates", {"a": {"log": ["a"]}}), ("updates", {"b": {"log": ["b"]}})]


async def test_only_the_asked_modes_are_published() -> None:
    run = new_run("write", {"text": "x"}, stream_mode=["custom"])
    events = await played(Stage(write=plays.writing({"i": 1}, "two")), run)
    assert events[1:] == [("custom", {"i": 1}), ("custom", "two")]


async def test_messages_grow_letter_by_letter_after_their_metadata() -> None:
    run = new_run("talk", CHAT, stream_mode=["messages"])
    events = await played(Stage(talk=plays.talking()), run)
    (metadata,) = [data for name, data in events if name == "messages/metadata"]
    ((key, introduced),) = metadata.items()
    partial = [data[0] for name, data in events if name == "messages/partial"]
    assert [message["content"] for message in partial] == ["h", "he", "hey"]
    assert {(message["type"], message["id"]) for message in partial} == {("ai", key)}
    assert introduced["metadata"]["langgraph_node"] == "model"


async def test_messages_that_come_whole_are_complete() -> None:
    run = new_run("recite", {"messages": []}, stream_mode=["messages"])
    events = await played(Stage(recite=plays.reciting()), run)
    assert names(events)[1:] == ["messages/metadata", "messages/complete"] * 2
    assert [d[0]["content"] for name, d in events if name == "messages/complete"] == ["a", "b"]


@pytest.mark.parametrize("modes", [["messages-tuple"], ["messages", "messages-tuple"]])
async def test_message_tuples_are_chunks_with_their_metadata(modes: list[str]) -> None:
    events = await played(Stage(talk=plays.talking()), new_run("talk", CHAT, stream_mode=modes))
    chunks = [data for name, data in events if name == "messages"]
    assert names(events) == ["metadata", *["messages"] * 3]
    assert [chunk["content"] for chunk, _ in chunks] == ["h", "e", "y"]
    assert {chunk["type"] for chunk, _ in chunks} == {"AIMessageChunk"}
    assert {metadata["langgraph_node"] for _, metadata in chunks} == {"model"}


async def test_tasks_tell_when_a_node_starts_and_what_came_of_it() -> None:
    run = new_run("echo", {"text": "x"}, stream_mode=["tasks"])
    events = await played(Stage(echo=plays.echo()), run)
    assert [(data.get("input"), data.get("result")) for _, data in events[1:]] == [
        ({"text": "x"}, None),
        (None, {"reply": "echo:x"}),
    ]


async def test_the_error_of_a_task_is_told_by_name() -> None:
    stage = Stage(fail=plays.failing(ValueError("boom")))
    run = new_run("fail", {}, stream_mode=["tasks"])
    events = record(run)
    with pytest.raises(ValueError, match="boom"):
        await stage.play(run)
    assert events[-2][1]["error"] == {"error": "ValueError", "message": "boom"}


async def test_checkpoints_are_told_one_by_one_without_what_is_the_servers_own() -> None:
    run = new_run("echo", {"text": "x"}, stream_mode=["checkpoints"])
    events = await played(Stage(echo=plays.echo()), run)
    points = [data for name, data in events if name == "checkpoints"]
    assert [point["metadata"]["step"] for point in points] == [-1, 0, 1]
    assert points[-1]["values"] == {"text": "x", "reply": "echo:x"}
    assert set(points[-1]["config"]["configurable"]) == {
        *("thread_id", "run_id", "graph_id", "assistant_id", "checkpoint_id", "checkpoint_ns")
    }


async def test_debug_events_say_where_checkpoints_are_found() -> None:
    run = new_run("nested", {"text": "x"}, stream_mode=["debug"])
    events = await played(Stage(nested=plays.nested(plays.echo())), run)
    debug = [data for name, data in events if name == "debug"]
    assert [d["type"] for d in debug] == [
        "checkpoint", "checkpoint", "task", "task_result", "checkpoint",
    ]  # fmt: skip
    first, second = debug[0]["payload"], debug[1]["payload"]
    assert first["parent_checkpoint"] is None
    assert second["parent_checkpoint"] == first["checkpoint"]
    assert set(second["checkpoint"]) == {"checkpoint_id", "thread_id", "checkpoint_ns"}
    (task,) = second["tasks"]
    assert task["checkpoint"]["checkpoint_ns"] == f"child:{task['id']}"
    assert "state" not in task


@pytest.mark.parametrize("mode", ["values", "updates", "custom", "tasks", "messages", "debug"])
async def test_events_of_subgraphs_are_named_by_their_namespace(mode: str) -> None:
    stage = Stage(outer=plays.nested(plays.writing("inner")), talk=plays.nested(plays.talking()))
    run = new_run(
        "talk" if mode == "messages" else "outer",
        CHAT if mode == "messages" else {"text": "x"},
        stream_mode=[mode],
        stream_subgraphs=True,
    )
    inner = [name.split(":")[0] for name in names(await played(stage, run)) if "|" in name]
    assert {name.split("|")[1] for name in inner} == {"child"}
    assert {name.split("|")[0].split("/")[0] for name in inner} == {mode}


async def test_events_of_subgraphs_are_not_sent_unasked() -> None:
    run = new_run("outer", {"text": "x"}, stream_mode=["values", "updates", "debug"])
    events = await played(Stage(outer=plays.nested(plays.echo())), run)
    assert not [name for name in names(events) if "|" in name]


async def test_the_final_values_are_the_roots_when_subgraphs_are_streamed() -> None:
    stage = Stage(outer=plays.chain(("child", plays.echo()), ("after", _shout)))
    run = new_run("outer", {"text": "x"}, stream_subgraphs=True)
    state = await stage.play(run)
    assert state.values == b'{"text":"x","reply":"ECHO:X","log":[]}'


async def _shout(state: plays.State) -> plays.State:
    return {"reply": state["reply"].upper()}


async def test_the_events_mode_has_the_tokens_of_a_model() -> None:
    run = new_run("talk", CHAT, stream_mode=["events"], config={"tags": ["mytag"]})
    events = await played(Stage(talk=plays.talking()), run)
    details = [data for name, data in events if name == "events"]
    tokens = [
        d["data"]["chunk"]["content"] for d in details if d["event"] == "on_chat_model_stream"
    ]
    assert (tokens, details[0]["tags"]) == (["h", "e", "y"], ["mytag"])
    assert {data["event"] for data in details if data["run_id"] == run.run_id} == {
        "on_chain_start",
        "on_chain_end",
    }


@pytest.mark.parametrize("nested", [True, False])
async def test_other_modes_come_beside_the_events_mode(*, nested: bool) -> None:
    run = new_run("echo", {"text": "x"}, stream_mode=["events", "values"], stream_subgraphs=nested)
    stage = Stage(echo=plays.echo())
    events = record(run)
    state = await stage.play(run)
    values = [data for name, data in events if name == "values"]
    assert values == [{"text": "x"}, {"text": "x", "reply": "echo:x"}]
    assert state.values == b'{"text":"x","reply":"echo:x"}'


async def test_a_static_breakpoint_is_an_update_without_interrupts() -> None:
    run = new_run("log", {"log": []}, stream_mode=["updates"], interrupt_before="*")
    events = await played(Stage(log=plays.logging("a")), run)
    assert events[1:] == [("updates", {"__interrupt__": []})]


async def test_nothing_is_written_for_a_run_that_nobody_listens_to() -> None:
    class Unwritable:
        def dict(self) -> None:
            raise AssertionError

    stage = Stage(write=plays.writing(Unwritable()))
    run = new_run("write", {"text": "x"}, stream_mode=["custom", "messages", "values"])
    state = await stage.play(run)
    assert state.values == b'{"text":"x"}'


async def test_an_event_that_has_no_json_ends_the_run_and_its_nodes() -> None:
    gate, log = plays.Gate(), list[str]()
    circle: list[Any] = []
    circle.append(circle)

    async def write(_: plays.State) -> None:
        get_stream_writer()(circle)
        await gate.wait()
        log.append("worked on")

    run = new_run("write", {}, stream_mode=["custom"])
    events = record(run)
    with pytest.raises(NotSerialisable):
        await Stage(write=plays.chain(("write", write))).play(run)
    others = asyncio.all_tasks() - {asyncio.current_task()}
    assert (names(events), log, others) == (["metadata", "error"], [], set())


async def test_a_listener_who_comes_late_gets_what_follows() -> None:
    gate = plays.Gate()
    stage = Stage(work=plays.gated(gate, []))
    run = new_run("work", {"log": []}, stream_mode=["updates"])
    task = stage.begin(run)
    await gate.reached.wait()
    events = record(run)
    gate.opened.set()
    await task
    assert events == [("updates", {"work": {"log": ["work"]}})]


@pytest.mark.parametrize("modes", [["custom"], ["custom", "events"]])
async def test_a_burst_of_events_lets_its_reader_read_between(modes: list[str]) -> None:
    count = 11_000
    stage = Stage(write=plays.writing(*range(count)))
    run = new_run("write", {}, stream_mode=modes)
    listener = run.stream.listen()
    task = stage.begin(run)
    task.add_done_callback(lambda _: run.stream.close())
    read = 0
    while not listener.closed:
        await listener.wait()
        read += sum(event.name == "custom" for event in listener.take())
    assert (read, listener.overflowed) == (count, False)


async def test_an_interrupt_in_a_subgraph_is_told_at_the_root() -> None:
    async def ask(_: plays.State) -> plays.State:
        return {"reply": interrupt("inner?")}

    stage = Stage(outer=plays.nested(plays.chain(("ask", ask))))
    run = new_run("outer", {"text": "x"}, stream_mode=["updates"], stream_subgraphs=True)
    events = await played(stage, run)
    root = [data for name, data in events if name == "updates"]
    assert root[0]["__interrupt__"][0]["value"] == "inner?"


@dataclass(slots=True)
class Slotted:
    text: str = ""


async def test_a_question_is_told_to_a_thread_beside_the_values_of_a_class_with_slots() -> None:
    async def ask(_: Slotted) -> dict[str, Any]:
        return {"text": interrupt("which?")}

    run = new_run("ask", {"text": "x"})
    run.log = ThreadLog()
    await Stage(ask=plays.chain(("ask", ask), state=Slotted)).play(run)
    told = [(each.name, json.loads(each.data)["params"]) for each in run.log.listen(0).take()]
    asked = [params["data"]["value"] for name, params in told if name == "input.requested"]
    values = [params["data"] for name, params in told if name == "values"]
    assert (asked, values[-1]) == (["which?"], {"text": "x"})


def delving(levels: int) -> Graph:
    """Return a graph whose values are so many levels deep when it has ended."""

    async def delve(_: plays.Text) -> plays.Text:
        value: Any = 0
        for _level in range(levels - 1):
            value = [value]
        return {"reply": value}

    return plays.chain(("delve", delve), ("rest", lambda _: {}), state=plays.Text)


@pytest.mark.parametrize("mode", ["updates", "tasks", "checkpoints", "debug", "events"])
async def test_what_a_run_may_end_with_is_told_in_every_mode(mode: str) -> None:
    run = new_run("delve", {"text": "x"}, stream_mode=["values", mode])
    run.log = ThreadLog()
    events = await played(Stage(delve=delving(DEPTH_LIMIT)), run)
    values = next(data for name, data in reversed(events) if name == "values")
    reply = f'"reply":{json.dumps(values["reply"])}'.replace(" ", "")
    told = [json.dumps(data).replace(" ", "") for name, data in events if name == mode]
    in_thread = [each.data.decode() for each in run.log.listen(0).take() if each.name == "updates"]
    assert any(reply in each for each in told)
    assert reply in in_thread[0]


async def test_what_no_run_may_end_with_is_told_in_no_mode() -> None:
    run = new_run("delve", {"text": "x"}, stream_mode=["updates"])
    with pytest.raises(NotSerialisable, match="deeper than 254 levels"):
        await Stage(delve=delving(DEPTH_LIMIT + 1)).play(run)


class Slow:
    """Keeps events, and is full until it is told to have room."""

    def __init__(self) -> None:
        self.kept: list[str] = []
        self.asked = asyncio.Event()
        self.cleared = asyncio.Event()

    @property
    def full(self) -> bool:
        return len(self.kept) >= 3 and not self.cleared.is_set()

    def append(self, _: str, event: StreamEvent) -> None:
        self.kept.append(event.name)

    async def room(self) -> None:
        if self.full:
            self.asked.set()
            await self.cleared.wait()


@pytest.mark.parametrize("mode", ["custom", "events"])
async def test_a_run_says_no_more_than_can_be_kept(mode: str) -> None:
    async def tell(_: Any) -> Any:
        for number in range(100):
            get_stream_writer()({"number": number})

    stage, keeper = Stage(tell=plays.chain(("tell", tell))), Slow()
    run = new_run("tell", {}, stream_mode=["custom", mode])
    run.stream.keep(keeper=keeper)
    playing = stage.begin(run)
    await keeper.asked.wait()
    held = len(keeper.kept)
    keeper.cleared.set()
    await playing
    assert held == 3
    assert len(keeper.kept) > 100
