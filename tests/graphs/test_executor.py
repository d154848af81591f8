"""What a run of a graph leaves, and how it fails."""

import asyncio
from typing import Annotated, Any

import pytest
from langgraph.channels import UntrackedValue
from langgraph.errors import NodeCancelledError
from langgraph.func import entrypoint
from langgraph.types import interrupt
from typing_extensions import TypedDict

from orchestration.graphs.executor import MESSAGE_LIMIT, LangGraphExecutor
from orchestration.graphs.jsontext import NotSerialisable
from orchestration.loop.run import Failure, ThreadState
from tests.graphs import plays
from tests.graphs.stage import Shelf, Stage, new_run, read, record


async def test_the_state_has_the_final_values() -> None:
    stage = Stage(echo=plays.echo())
    state = await stage.play(new_run("echo", {"text": "x"}))
    assert state == ThreadState(b'{"text":"x","reply":"echo:x"}')


async def test_a_graph_that_writes_nothing_leaves_an_empty_object() -> None:
    stage = Stage(write=plays.writing())
    assert (await stage.play(new_run("write", {}, ephemeral=True))).values == b"{}"


async def test_a_graph_that_writes_nothing_leaves_the_values_of_its_thread() -> None:
    stage = Stage(echo=plays.echo(), write=plays.writing())
    first = new_run("echo", {"text": "x"})
    await stage.play(first)
    state = await stage.play(new_run("write", {}, thread_id=first.thread_id))
    assert read(state.values) == {"text": "x", "reply": "echo:x"}


async def test_a_value_that_is_never_kept_is_told_to_who_waits_and_not_left() -> None:
    class Keyed(TypedDict, total=False):
        text: str
        key: Annotated[str, UntrackedValue]

    async def find(_: Keyed) -> Keyed:
        return {"key": "secret"}

    stage = Stage(find=plays.chain(("find", find), state=Keyed))
    state = await stage.play(new_run("find", {"text": "x"}))
    assert read(state.values) == {"text": "x"}
    assert read(state.answer) == {"text": "x", "key": "secret"}


async def test_a_function_as_a_graph_leaves_what_it_returns() -> None:
    @entrypoint()
    async def double(number: int) -> int:
        return number * 2

    stage = Stage(double=double)
    assert (await stage.play(new_run("double", 21))).values == b"42"


async def test_an_interrupt_of_a_function_is_told_without_values() -> None:
    @entrypoint()
    async def ask(_: str) -> Any:
        return interrupt("sure?")

    stage = Stage(ask=ask)
    state = await stage.play(new_run("ask", "x"))
    assert [i["value"] for i in read(state.output)["__interrupt__"]] == ["sure?"]


async def test_a_run_on_a_thread_leaves_checkpoints_that_name_it() -> None:
    stage = Stage(echo=plays.echo())
    run = new_run("echo", {"text": "x"}, metadata={"ticket": "T-1"})
    await stage.play(run)
    metadata = (await stage.state(run)).metadata
    expected = {
        "run_id": run.run_id,
        "graph_id": "echo",
        "assistant_id": "the-assistant",
        "ticket": "T-1",
        "run_attempt": 1,
        "source": "loop",
    }
    assert {key: metadata.get(key) for key in expected} == expected


@pytest.mark.parametrize(("durability", "kept"), [(None, 0), ("async", 3), ("exit", 1)])
async def test_an_ephemeral_run_keeps_checkpoints_only_if_it_asked_for_durability(
    durability: str | None, kept: int
) -> None:
    stage = Stage(echo=plays.echo())
    run = new_run("echo", {"text": "x"}, ephemeral=True, durability=durability)
    await stage.play(run)
    config: Any = {"configurable": {"thread_id": run.thread_id}}
    assert len(list(stage.saver.list(config))) == kept


async def test_an_interrupt_is_in_the_state_and_in_the_answer_to_a_waiter() -> None:
    stage = Stage(ask=plays.asking("sure?"))
    run = new_run("ask", {"text": "x"})
    state = await stage.play(run)
    task = (await stage.state(run)).tasks[0]
    question = {"id": task.interrupts[0].id, "value": "sure?"}
    assert (state.interrupted, read(state.values), read(state.interrupts), read(state.output)) == (
        True,
        {"text": "x", "log": []},
        {task.id: [question]},
        {"text": "x", "log": [], "__interrupt__": [{**question, "response_schema": None}]},
    )


async def test_the_schema_of_an_answer_comes_with_its_question() -> None:
    schema = {"type": "string"}

    async def ask(_: plays.State) -> plays.State:
        return {"reply": interrupt("name?", response_schema=schema)}

    stage = Stage(ask=plays.chain(("ask", ask)))
    state = await stage.play(new_run("ask", {}))
    assert [q["response_schema"] for qs in read(state.interrupts).values() for q in qs] == [schema]


@pytest.mark.parametrize("ephemeral", [True, False])
async def test_two_interrupts_are_both_answered_beside_the_values(*, ephemeral: bool) -> None:
    stage = Stage(ask=plays.asking_in_parallel(["a", "b"]))
    state = await stage.play(new_run("ask", {"text": "x"}, ephemeral=ephemeral))
    output = read(state.output)
    assert (output["text"], sorted(i["value"] for i in output["__interrupt__"])) == (
        "x",
        ["a", "b"],
    )


async def test_a_resumed_run_ends_without_interrupts() -> None:
    stage = Stage(ask=plays.asking("sure?"))
    asked = new_run("ask", {"text": "x"})
    await stage.play(asked)
    state = await stage.play(new_run("ask", command={"resume": False}, thread_id=asked.thread_id))
    assert state == ThreadState(b'{"text":"x","log":[false]}')


@pytest.mark.parametrize(
    ("breakpoint_", "log"),
    [({"interrupt_before": ["b"]}, ["a"]), ({"interrupt_after": "*"}, ["a"])],
)
async def test_a_breakpoint_leaves_the_thread_interrupted(
    breakpoint_: dict[str, Any], log: list[str]
) -> None:
    stage = Stage(log=plays.logging("a", "b"))
    state = await stage.play(new_run("log", {"log": []}, **breakpoint_))
    assert (read(state.values)["log"], state.interrupts, state.interrupted, state.output) == (
        log,
        b"{}",
        True,
        None,
    )


async def test_a_breakpoint_compiled_into_the_graph_does_too() -> None:
    stage = Stage(log=plays.logging("a", "b", interrupt_before=["b"]))
    assert (await stage.play(new_run("log", {"log": []}))).interrupted


async def test_a_run_goes_on_from_a_breakpoint_with_no_input() -> None:
    stage = Stage(log=plays.logging("a", "b"))
    first = new_run("log", {"log": []}, interrupt_before=["b"])
    await stage.play(first)
    state = await stage.play(new_run("log", thread_id=first.thread_id))
    assert (read(state.values)["log"], state.interrupted) == (["a", "b"], False)


async def test_a_checkpoint_that_is_named_is_where_a_run_starts() -> None:
    stage = Stage(log=plays.logging("a", "b"))
    first = new_run("log", {"log": []})
    await stage.play(first)
    config: Any = {"configurable": {"thread_id": first.thread_id}}
    old = [c.config["configurable"]["checkpoint_id"] for c in stage.saver.list(config)][1]
    point = {"checkpoint": {"checkpoint_ns": "", "checkpoint_id": old}}
    states = [
        await stage.play(new_run("log", {"log": ["x"]}, thread_id=first.thread_id, **at))
        for at in (point, {"checkpoint_id": old})
    ]
    assert [read(s.values)["log"] for s in states] == [["a", "x", "a", "b"]] * 2


async def test_an_error_of_a_node_is_published_last_and_raised() -> None:
    stage = Stage(fail=plays.failing(ValueError("boom")))
    run = new_run("fail", {"text": "x"}, stream_mode=["updates"])
    events = record(run)
    with pytest.raises(ValueError, match="boom"):
        await stage.play(run)
    assert events[1:] == [
        ("updates", {"first": {"log": ["first"]}}),
        ("error", {"error": "ValueError", "message": "boom"}),
    ]


async def test_a_node_that_raises_a_cancellation_of_its_own_has_failed() -> None:
    stage = Stage(fail=plays.failing(asyncio.CancelledError("mine")))
    run = new_run("fail", {})
    events = record(run)
    with pytest.raises(NodeCancelledError):
        await stage.play(run)
    assert (events[-1][0], events[-1][1]["error"]) == ("error", "NodeCancelledError")


async def test_an_unknown_command_is_an_error_of_the_run() -> None:
    stage = Stage(echo=plays.echo())
    with pytest.raises(ValueError, match="goto names a node"):
        await stage.play(new_run("echo", command={"goto": 7}))


@pytest.mark.parametrize("ephemeral", [True, False])
async def test_values_that_have_no_json_end_the_run_with_an_error(*, ephemeral: bool) -> None:
    circle: list[Any] = []
    circle.append(circle)

    async def spoil(_: plays.State) -> plays.State:
        return {"reply": circle}  # type: ignore[typeddict-item]

    stage = Stage(spoil=plays.chain(("spoil", spoil)))
    run = new_run("spoil", {}, ephemeral=ephemeral, durability=None)
    with pytest.raises((NotSerialisable, TypeError, ValueError)):
        await stage.play(run)


async def test_a_failed_run_settles_on_its_last_good_step() -> None:
    stage = Stage(fail=plays.failing(ValueError("boom")))
    run = new_run("fail", {"text": "x"})
    with pytest.raises(ValueError, match="boom"):
        await stage.play(run)
    state = await stage.executor.settle(run)
    assert state == ThreadState(b'{"text":"x","log":["first"]}', interrupted=True)


async def test_an_uncheckpointed_run_has_nothing_to_settle_on() -> None:
    stage = Stage(echo=plays.echo())
    assert await stage.executor.settle(new_run("echo", ephemeral=True)) is None


async def test_a_thread_without_a_checkpoint_has_nothing_to_settle_on() -> None:
    stage = Stage(echo=plays.echo())
    assert await stage.executor.settle(new_run("echo")) is None


async def test_a_graph_made_for_the_run_gets_its_config_and_context() -> None:
    stage = Stage(made=("echo",), echo=plays.echo())
    run = new_run("echo", {"text": "x"}, context={"a": 1}, config={"configurable": {"b": 2}})
    state = await stage.play(run)
    access, config, context = stage.shelf.opened[0]
    configurable = config["configurable"]
    assert (read(state.values)["reply"], access, context) == (
        "echo:x",
        "threads.create_run",
        {"a": 1},
    )
    assert (configurable["b"], configurable["run_id"]) == (2, run.run_id)


async def test_a_graph_made_for_the_run_is_made_again_to_settle_it() -> None:
    stage = Stage(made=("echo",), echo=plays.echo())
    run = new_run("echo", {"text": "x"})
    await stage.play(run)
    assert await stage.executor.settle(run) == ThreadState(b'{"text":"x","reply":"echo:x"}')


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (ValueError("boom"), Failure("ValueError", "boom")),
        (ExceptionGroup("g", [ExceptionGroup("h", [KeyError("k")])]), Failure("KeyError", "'k'")),
        (
            ExceptionGroup("g", [KeyError("k"), KeyError("l")]),
            Failure("ExceptionGroup", "g (2 sub-exceptions)"),
        ),
        (ValueError("a\ud800"), Failure("ValueError", "a?")),
        (ValueError("x" * 99_999), Failure("ValueError", "x" * MESSAGE_LIMIT + "…")),
    ],
)
def test_an_error_is_put_into_words(error: BaseException, failure: Failure) -> None:
    assert (
        LangGraphExecutor(Shelf({}, Stage().saver), fence=lambda _: lambda: None).describe(error)
        == failure
    )


def test_an_error_whose_message_raises_is_described_all_the_same() -> None:
    class Silent(Exception):
        def __str__(self) -> str:
            raise LookupError

    failure = LangGraphExecutor(Shelf({}, Stage().saver), fence=lambda _: lambda: None).describe(
        Silent()
    )
    assert failure == Failure("Silent", "its message could not be read: LookupError")
