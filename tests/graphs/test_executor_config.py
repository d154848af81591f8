"""What reaches a node of what a client said, and what does not."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from pydantic import AliasChoices, AliasPath, BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from orchestration.graphs.arguments import reserved
from orchestration.loop.run import Run
from tests.graphs import plays
from tests.graphs.stage import Stage, new_run, read


class Typed(TypedDict, total=False):
    prefix: str


@dataclass
class Plain:
    prefix: str = "default"
    made: str = field(default="made", init=False)


@dataclass
class Needy:
    prefix: str


class Model(BaseModel):
    prefix: str = Field(default="default", alias="pre")


class Aliased(BaseModel):
    one: str = Field(default="", validation_alias="uno")
    two: str = Field(default="", validation_alias=AliasChoices("due", AliasPath("zwei", 0)))


class NeedyModel(BaseModel):
    prefix: str


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")


async def told(schema: Any = None, **more: Any) -> Any:
    """Return what a node of a graph with that context schema was told."""
    run = more.pop("run", None) or new_run("confide", {}, **more)
    state = await Stage(confide=plays.confiding(schema)).play(run)
    return read(state.values)["reply"]


@pytest.mark.parametrize(
    ("schema", "given", "expected"),
    [
        (Typed, {"prefix": "P", "zzz": 1}, {"prefix": "P"}),
        (Typed, None, None),
        (Plain, {"prefix": "P", "made": "up", "zzz": 1}, {"prefix": "P"}),
        (Plain, None, {"prefix": "default"}),
        (Needy, {"prefix": "P", "zzz": 1}, {"prefix": "P"}),
        (Needy, None, None),
        (Model, {"pre": "P", "zzz": 1}, {"prefix": "P"}),
        (Model, {}, {"prefix": "default"}),
        (Aliased, {"uno": "1", "due": "2", "zzz": 1}, {"one": "1", "two": "2"}),
        (Aliased, {"zwei": ["2"]}, {"one": "", "two": "2"}),
        (NeedyModel, {"prefix": "P", "zzz": 1}, {"prefix": "P"}),
        (NeedyModel, None, None),
        (Open, {"zzz": 1}, {"zzz": 1}),
        (None, {"zzz": 1}, {"zzz": 1}),
        (None, None, None),
    ],
)
async def test_a_context_is_cut_to_what_its_schema_knows(
    schema: Any, given: Any, expected: Any
) -> None:
    assert (await told(schema, context=given))["context"] == expected


async def test_a_context_is_found_in_the_configurable_too() -> None:
    configurable = (await told(Typed, context={"prefix": "P", "run_id": "x"}))["configurable"]
    assert (configurable["prefix"], configurable["run_id"] != "x") == ("P", True)


async def test_a_configurable_is_found_in_the_context_too() -> None:
    config = {"configurable": {"prefix": "P", "thread_id": "x"}}
    assert (await told(Typed, config=config))["context"] == {"prefix": "P"}


async def test_only_the_server_says_what_is_the_servers_to_say() -> None:
    run = new_run(
        "confide",
        {},
        config={
            "configurable": {
                "mine": 1,
                "thread_id": "stolen",
                "run_id": "stolen",
                "checkpoint_map": {"": "stolen"},
                "langgraph_auth_user": "root",
                "__pregel_send": "x",
                "__secret": 1,
            },
            "callbacks": ["x"],
            "run_id": "stolen",
        },
    )
    configurable = (await told(run=run))["configurable"]
    del configurable["checkpoint_id"], configurable["checkpoint_ns"]
    assert "stolen" not in configurable.pop("checkpoint_map").values()
    assert configurable == {
        "mine": 1,
        "thread_id": run.thread_id,
        "run_id": run.run_id,
        "graph_id": "confide",
        "assistant_id": "the-assistant",
    }


@pytest.mark.parametrize("key", ["__x", "thread_id", "checkpoint_ns", "langgraph_auth_user_id"])
def test_a_key_is_reserved(key: str) -> None:
    assert reserved(key)


def test_a_key_of_the_clients_is_not_reserved() -> None:
    assert not reserved("user_id")


async def test_tags_and_metadata_reach_the_node() -> None:
    config = {"tags": ["t"], "metadata": {"a": 1}}
    got = await told(config=config, metadata={"b": 2})
    assert (got["tags"], got["metadata"]["a"], got["metadata"]["b"]) == (["t"], 1, 2)


async def test_a_recursion_limit_ends_the_run() -> None:
    run = new_run("log", {"log": []}, config={"recursion_limit": 1})
    with pytest.raises(RecursionError, match="limit of 1"):
        await Stage(log=plays.logging("a", "b", "c")).play(run)


async def test_a_strict_resume_is_passed_on() -> None:
    assert ((await told(strict_resume=True))["strict"], (await told())["strict"]) == (True, None)


async def directed(stage: Stage, first: Run, command: dict[str, Any]) -> Any:
    state = await stage.play(new_run("log", command=command, thread_id=first.thread_id))
    return read(state.values)["log"]


@pytest.mark.parametrize(
    ("command", "log"),
    [
        ({"goto": "b"}, ["a", "b", "b"]),
        ({"goto": ["b"]}, ["a", "b", "b"]),
        ({"goto": {"node": "b", "input": {}}}, ["a", "b", "b"]),
        ({"update": {"log": ["u"]}, "goto": "b"}, ["a", "b", "u", "b"]),
        ({"update": [["log", ["u"]], ["log", ["v"]]], "goto": "b"}, ["a", "b", "u", "v", "b"]),
        ({"update": {"log": ["u"]}}, ["a", "b", "u"]),
    ],
)
async def test_a_command_updates_and_directs(command: dict[str, Any], log: list[str]) -> None:
    stage = Stage(log=plays.logging("a", "b"))
    first = new_run("log", {"log": []})
    await stage.play(first)
    assert await directed(stage, first, command) == log


MANY = range(1_000)


@pytest.mark.parametrize(
    ("flood", "log"),
    [
        ({"goto": [*(f"n{number}" for number in MANY), "b"]}, ["b"]),
        ({"goto": [*({"node": f"n{number}", "input": {}} for number in MANY), "b"]}, ["b"]),
        ({"update": {**{f"k{number}": 1 for number in MANY}, "log": ["u"]}}, ["u"]),
        ({"update": [*([f"k{number}", 1] for number in MANY), ["log", ["u"]]]}, ["u"]),
    ],
)
async def test_of_much_that_a_graph_does_not_have_langgraph_logs_little(
    flood: dict[str, Any], log: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    stage = Stage(log=plays.logging("a", "b"))
    first = new_run("log", {"log": []})
    await stage.play(first)
    assert await directed(stage, first, flood) == ["a", "b", *log]
    assert 0 < len(caplog.records) < 200


async def test_an_empty_command_is_none() -> None:
    state = await Stage(echo=plays.echo()).play(new_run("echo", {"text": "x"}, command={}))
    assert read(state.values)["reply"] == "echo:x"
