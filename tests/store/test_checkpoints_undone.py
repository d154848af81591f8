"""Checkpoints deleted, copied and pruned: what is left is whole."""

from collections.abc import Sequence
from itertools import permutations
from pathlib import Path
from typing import Annotated, TypedDict

import pytest
from langgraph.channels.delta import DeltaChannel
from langgraph.checkpoint.base import (
    BaseCheckpointSaver,
    Checkpoint,
    copy_checkpoint,
    empty_checkpoint,
)
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command, interrupt

from orchestration.store.checkpoint_rows import (
    copy_thread_checkpoints,
    delete_run_checkpoints,
    delete_thread_checkpoints,
)
from tests.store.checkpointing import Graph, State, at, at_checkpoint, opened, put, two_steps


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "masterloop.sqlite"


async def test_after_deleting_a_run_the_thread_is_as_before_it_in_every_namespace(
    path: Path,
) -> None:
    async with opened(path) as (database, saver):
        graph = two_steps(saver)
        await graph.ainvoke({"log": ["one"]}, at("t", run_id="first"))
        before = await graph.aget_state(at("t"))
        inner = await saver.aget_tuple(at("t", checkpoint_ns="inner"))
        await graph.ainvoke({"log": ["two"]}, at("t", run_id="second"))
        changed = await saver.aget_tuple(at("t", checkpoint_ns="inner"))
        assert changed != inner
        await database.write(lambda c: delete_run_checkpoints(c, "t", "second"))
        assert await graph.aget_state(at("t")) == before
        assert await saver.aget_tuple(at("t", checkpoint_ns="inner")) == inner
        written = {row[0] for row in database.all("SELECT checkpoint_id FROM writes")}
        assert written <= {row[0] for row in database.all("SELECT checkpoint_id FROM checkpoints")}


async def test_deleting_a_run_takes_back_its_answer_to_an_interrupt(path: Path) -> None:
    async with opened(path) as (database, saver):
        graph = two_steps(saver)
        await graph.ainvoke({"log": ["one"]}, at("t", run_id="first"))
        before = await graph.aget_state(at("t"))
        await graph.ainvoke(Command(resume="yes"), at("t", run_id="second"))
        await database.write(lambda c: delete_run_checkpoints(c, "t", "second"))
        assert await graph.aget_state(at("t")) == before
        answered = await graph.ainvoke(Command(resume="no"), at("t", run_id="third"))
        assert answered["answer"] == "no"


async def test_deleting_a_run_that_failed_where_it_resumed_makes_its_tasks_run_again(
    path: Path,
) -> None:
    async with opened(path) as (database, saver):
        config = await put(saver, at("t", run_id="first"))
        resumed = at_checkpoint(config, "second")
        await saver.aput_writes(resumed, [("log", "a")], "task")
        await saver.aput_writes(resumed, [("__error__", "b")], "other")
        await database.write(lambda c: delete_run_checkpoints(c, "t", "second"))
        found = await saver.aget_tuple(config)
        assert found is not None
        assert found.pending_writes == []


async def test_deleting_a_run_leaves_alone_what_a_later_run_has_resumed_too(path: Path) -> None:
    async with opened(path) as (database, saver):
        config = await put(saver, at("t", run_id="first"))
        for run in ("second", "third"):
            resumed = at_checkpoint(config, run)
            await saver.aput_writes(resumed, [("__resume__", run)], "task")
        await saver.adelete_for_runs(["second"])
        found = await saver.aget_tuple(config)
        assert found is not None
        assert found.pending_writes == [("task", "__resume__", "third")]
        assert [
            row[0] for row in database.all("SELECT DISTINCT run_id FROM writes_before_run")
        ] == ["third"]


@pytest.mark.parametrize("order", list(permutations(("second", "third", "fourth"))))
async def test_in_whichever_order_runs_are_deleted_their_answers_do_not_come_back(
    path: Path, order: Sequence[str]
) -> None:
    def agreed(answer: str) -> str:
        if answer != "yes":
            raise ValueError(answer)
        return answer

    builder = StateGraph(State)
    builder.add_node("ask", lambda _: {"answer": agreed(interrupt("sure?"))})
    builder.add_edge(START, "ask")
    async with opened(path) as (database, saver):
        graph = builder.compile(checkpointer=saver)
        await graph.ainvoke({"log": []}, at("t", run_id="first"))
        before = await graph.aget_state(at("t"))
        for run in ("second", "third", "fourth"):
            with pytest.raises(ValueError, match="second"):
                await graph.ainvoke(Command(resume=run), at("t", run_id=run))
        for run in order:
            await saver.adelete_for_runs([run])
        assert await graph.aget_state(at("t")) == before
        answered = await graph.ainvoke(Command(resume="yes"), at("t", run_id="fifth"))
        assert answered["answer"] == "yes"
        kept = database.all("SELECT DISTINCT run_id FROM writes_before_run")
        assert [row[0] for row in kept] == ["fifth"]


async def test_a_run_that_goes_on_after_a_crash_resumes_nothing_but_itself(path: Path) -> None:
    async with opened(path) as (_, saver):
        config = await put(saver, at("t", run_id="r"))
    async with opened(path) as (database, saver):
        own = at_checkpoint(config, "r")
        await saver.aput_writes(own, [("log", "a")], "task")
        assert database.all("SELECT * FROM writes_before_run") == []


async def test_a_run_that_was_forgotten_is_recognised_by_its_checkpoint(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestration.store.checkpoints.PUTTING", 1)
    async with opened(path) as (database, saver):
        config = await put(saver, at("t", run_id="r"))
        await put(saver, at("other", run_id="s"))
        own = at_checkpoint(config, "r")
        await saver.aput_writes(own, [("log", "a")], "task")
        assert database.all("SELECT * FROM writes_before_run") == []


async def test_deleting_a_run_leaves_the_same_run_of_another_thread(path: Path) -> None:
    async with opened(path) as (database, saver):
        for thread in ("t", "other"):
            await put(saver, at(thread, run_id="r"))
        await database.write(lambda c: delete_run_checkpoints(c, "t", "r"))
        assert await saver.aget_tuple(at("t")) is None
        assert await saver.aget_tuple(at("other")) is not None


async def test_runs_are_deleted_in_whichever_threads_they_are(path: Path) -> None:
    async with opened(path) as (_, saver):
        for run in ("a", "b", "c"):
            await put(saver, at(f"thread-{run}", run_id=run))
        await saver.adelete_for_runs(["a", "c", "absent"])
        kept = [one.metadata["run_id"] async for one in saver.alist(None)]
        assert kept == ["b"]


async def test_deleting_a_thread_leaves_nothing_of_it_and_all_of_the_others(path: Path) -> None:
    async with opened(path) as (database, saver):
        graph = two_steps(saver)
        for thread in ("t", "other"):
            await graph.ainvoke({"log": ["one"]}, at(thread))
        other = await graph.aget_state(at("other"))
        await database.write(lambda c: delete_thread_checkpoints(c, "absent"))
        await graph.ainvoke(Command(resume="yes"), at("t", run_id="r"))
        await saver.adelete_thread("t")
        assert database.all("SELECT * FROM writes_before_run") == []
        for table in ("checkpoints", "writes"):
            assert {row[0] for row in database.all(f"SELECT thread_id FROM {table}")} == {"other"}  # noqa: S608
        assert await graph.aget_state(at("other")) == other


async def test_a_copied_thread_has_the_same_state_and_goes_its_own_way(path: Path) -> None:
    async with opened(path) as (database, saver):
        graph = two_steps(saver)
        await graph.ainvoke({"log": ["one"]}, at("t"))
        await database.write(lambda c: copy_thread_checkpoints(c, "t", "copy"))
        await graph.ainvoke(Command(resume="yes"), at("copy"))
        original, copy = await graph.aget_state(at("t")), await graph.aget_state(at("copy"))
        assert (original.values, original.next) == ({"log": ["one", "one", "counted"]}, ("ask",))
        assert (copy.values, copy.next) == ({"log": ["one", "one", "counted"], "answer": "yes"}, ())


async def test_pruning_keeps_the_latest_of_each_namespace(path: Path) -> None:
    async with opened(path) as (_, saver):
        graph = two_steps(saver)
        await graph.ainvoke({"log": ["one"]}, at("t"))
        before = await graph.aget_state(at("t"))
        await saver.aprune(["t"])
        namespaces = [
            one.config["configurable"]["checkpoint_ns"]
            async for one in saver.alist({"configurable": {"thread_id": "t"}})
        ]
        assert sorted(namespaces) == ["", "inner"]
        assert (await graph.aget_state(at("t"))).interrupts == before.interrupts
        resumed = await graph.ainvoke(Command(resume="yes"), at("t"))
        assert resumed == {"log": ["one", "one", "counted"], "answer": "yes"}


@pytest.mark.parametrize("away", ["pruned", "deleted"])
async def test_what_a_run_resumed_is_not_brought_back_once_its_checkpoint_is_gone(
    path: Path, away: str
) -> None:
    async with opened(path) as (database, saver):
        config = await put(saver, at("t", run_id="first"))
        await saver.aput_writes(config, [("__interrupt__", "sure?")], "task")
        await saver.aput_writes(at_checkpoint(config, "second"), [("__resume__", "yes")], "task")
        latest = await put(saver, at_checkpoint(config, "second"))
        await saver.aput_writes(at_checkpoint(latest, "third"), [("log", "a")], "task")
        if away == "pruned":
            await saver.aprune(["t"])
        else:
            await saver.adelete_for_runs(["first"])
        kept = database.all("SELECT DISTINCT run_id FROM writes_before_run")
        await saver.adelete_for_runs(["second"])
        assert [row[0] for row in kept] == ["third"]
        assert database.all("SELECT * FROM writes") == []


async def test_pruning_can_delete_all_and_knows_no_third_way(path: Path) -> None:
    async with opened(path) as (_, saver):
        await put(saver, at("t"))
        await saver.aprune(["t"], strategy="delete")
        assert await saver.aget_tuple(at("t")) is None
        with pytest.raises(ValueError, match="no strategy 'some'"):
            await saver.aprune(["t"], strategy="some")


def _append(state: list[str], writes: Sequence[list[str]]) -> list[str]:
    return [*state, *(entry for write in writes for entry in write)]


class Deltas(TypedDict, total=False):
    rare: Annotated[list[str], DeltaChannel(_append, snapshot_frequency=1_000)]
    often: Annotated[list[str], DeltaChannel(_append, snapshot_frequency=3)]


def deltas(saver: BaseCheckpointSaver[str]) -> Graph:
    builder = StateGraph(Deltas)
    builder.add_node("left", lambda _: {"rare": ["left"], "often": ["left"]})
    builder.add_node("right", lambda _: {"rare": ["right"]})
    builder.add_edge(START, "left")
    builder.add_edge(START, "right")
    return builder.compile(checkpointer=saver)


@pytest.mark.parametrize("channels", [["rare", "often", "absent"], ["often"]])
async def test_the_history_of_delta_channels_is_the_one_the_library_finds(
    path: Path, channels: list[str]
) -> None:
    async with opened(path) as (_, saver):
        graph = deltas(saver)
        for turn in range(5):
            await graph.ainvoke({"rare": [f"in {turn}"]}, at("t"))
        state = await graph.aget_state(at("t"))
        ours = await saver.aget_delta_channel_history(config=at("t"), channels=channels)
        by_id = await saver.aget_delta_channel_history(config=state.config, channels=channels)
    async with AsyncSqliteSaver.from_conn_string(str(path)) as library:
        theirs = await library.aget_delta_channel_history(config=at("t"), channels=channels)
        assert (await deltas(library).aget_state(at("t"))).values == state.values
    assert len(state.values["rare"]) == 15
    assert ours == by_id == theirs


async def test_nothing_has_no_history(path: Path) -> None:
    async with opened(path) as (_, saver):
        assert await saver.aget_delta_channel_history(config=at("t"), channels=[]) == {}
        assert await saver.aget_delta_channel_history(config=at("t"), channels=["a"]) == {
            "a": {"writes": []}
        }


async def test_a_checkpoint_that_is_its_own_ancestor_ends_the_walk(path: Path) -> None:
    async with opened(path) as (_, saver):
        checkpoint = empty_checkpoint()
        first = await saver.aput(at("t"), checkpoint, {}, {})
        second = await put(saver, first)
        await saver.aput_writes(second, [("log", "a")], "task")
        again: Checkpoint = copy_checkpoint(checkpoint)
        await saver.aput(second, again, {}, {})
        history = await saver.aget_delta_channel_history(config=first, channels=["log"])
        assert history == {"log": {"writes": [("task", "log", "a")]}}


async def test_pruning_keeps_what_delta_channels_stand_on(path: Path) -> None:
    async with opened(path) as (database, saver):
        graph = deltas(saver)
        for turn in range(5):
            await graph.ainvoke({"often": [f"in {turn}"]}, at("t"))
        before = await graph.aget_state(at("t"))
        rows = database.all("SELECT checkpoint_id FROM checkpoints")
        await saver.aprune(["t"])
        assert (await graph.aget_state(at("t"))).values == before.values
        assert len(database.all("SELECT checkpoint_id FROM checkpoints")) <= len(rows)


async def test_pruning_goes_back_no_further_than_to_a_snapshot(path: Path) -> None:
    class Often(TypedDict, total=False):
        often: Annotated[list[str], DeltaChannel(_append, snapshot_frequency=2)]

    builder = StateGraph(Often)
    builder.add_node("left", lambda _: {"often": ["left"]})
    builder.add_edge(START, "left")
    async with opened(path) as (database, saver):
        graph = builder.compile(checkpointer=saver)
        for turn in range(10):
            await graph.ainvoke({"often": [f"in {turn}"]}, at("t"))
        before = await graph.aget_state(at("t"))
        await saver.aprune(["t"])
        assert (await graph.aget_state(at("t"))).values == before.values
        assert len(database.all("SELECT checkpoint_id FROM checkpoints")) <= 4
