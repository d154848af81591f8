"""The kind `command`: templates without a shell, output within bounds."""

import asyncio
from pathlib import Path

import psutil
import pytest
from pydantic import ValidationError

from agents.agent import Task
from agents.configuration import CommandPool
from agents.errors import AgentLost, TaskFailed, TaskRejected
from agents.making import maker
from tests.agents.kinds import Ear, command, started


def given(**values: object) -> Task:
    return Task(task_id="1", capability="tool", input=values)


async def test_its_result_is_what_it_wrote(tmp_path: Path) -> None:
    make = maker("tool", command("read", "-", stdin="{text}, {count} times"), tmp_path, {})
    async with started(make) as (agent, _):
        assert agent.capabilities == {"tool"}
        result = await agent.invoke(given(text="bravo", count=3), Ear().context)
    assert result == {"stdout": "bravo, 3 times", "stderr": "", "cut": {"stdout": 0, "stderr": 0}}


async def test_no_character_is_cut_in_two_between_its_events(tmp_path: Path) -> None:
    text = "x" + "é" * 200_000  # pipes are read by pages: each ends within a character
    async with started(maker("tool", command("read", "-", stdin="{text}"), tmp_path, {})) as (
        agent,
        _,
    ):
        ear = Ear()
        await agent.invoke(given(text=text), ear.context)
    assert len(ear.heard) > 1
    assert "".join(ear.heard) == text


async def test_of_much_output_the_beginning_and_the_end_are_kept(tmp_path: Path) -> None:
    section = command("flood", "the beginning", limits={"output": 1000})
    async with started(maker("tool", section, tmp_path, {})) as (agent, _):
        result = await agent.invoke(given(), Ear().context)
    assert result["stdout"].startswith("the beginning")
    assert result["stdout"].endswith("the end")
    assert result["cut"] == {"stdout": 999_020, "stderr": 999_007}
    assert "999020 bytes cut" in result["stdout"]
    assert len(result["stdout"]) < 1100


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({}, "the input needs 'text'"),
        ({"text": ["a"]}, "the input needs 'text'"),
        ({"text": None}, "the input needs 'text'"),
        ({"text": "--help"}, "must not begin with '-'"),
        ({"text": "a\0b"}, "NUL"),
        ({"text": "\ud800"}, "'text' cannot be passed on: .* surrogates not allowed"),
        ({"text": "ü" * 1_000_000}, r"with 2000\d\d\d bytes .* too long .* belong in `stdin`"),
    ],
)
async def test_an_input_that_does_not_fit_is_rejected(
    values: dict[str, object], complaint: str, tmp_path: Path
) -> None:
    async with started(maker("tool", command("echo", "{text}"), tmp_path, {})) as (agent, _):
        ear = Ear()
        with pytest.raises(TaskRejected, match=complaint):
            await agent.invoke(given(**values), ear.context)
        assert not ear.context.started


async def test_an_empty_value_lets_no_other_one_begin_an_option(tmp_path: Path) -> None:
    section = command("echo", "{before}{text}")
    async with started(maker("tool", section, tmp_path, {})) as (agent, _):
        with pytest.raises(TaskRejected, match="must not begin with '-'"):
            await agent.invoke(given(before="", text="--output=x"), Ear().context)


async def test_what_is_configured_as_an_option_stays_one(tmp_path: Path) -> None:
    section = command("echo", "--text={text}")
    async with started(maker("tool", section, tmp_path, {})) as (agent, _):
        result = await agent.invoke(given(text="-a"), Ear().context)
    assert result["stdout"] == "--text=-a"


async def test_what_is_too_long_for_an_argument_can_be_read_from_stdin(tmp_path: Path) -> None:
    section = command("read", "-", stdin="{text}", limits={"output": 500_000})
    async with started(maker("tool", section, tmp_path, {})) as (agent, _):
        result = await agent.invoke(given(text="ü" * 100_000), Ear().context)
    assert result["stdout"] == "ü" * 100_000


@pytest.mark.parametrize("text", ["$(id)", "; rm -rf /", "a b\tc", "{text}", "*", "~", "%PATH%"])
async def test_no_shell_sees_what_it_is_given(text: str, tmp_path: Path) -> None:
    async with started(maker("tool", command("echo", "x{text}"), tmp_path, {})) as (agent, _):
        result = await agent.invoke(given(text=text), Ear().context)
    assert result["stdout"] == f"x{text}"


async def test_an_exit_code_fails_the_task_with_what_it_wrote_to_stderr(tmp_path: Path) -> None:
    async with started(maker("tool", command("fail", "-"), tmp_path, {})) as (agent, _):
        with pytest.raises(TaskFailed, match=r"exit code 1\. It wrote:\nit failed on purpose"):
            await agent.invoke(given(), Ear().context)


async def test_one_that_is_closed_twice_has_ended_both_times(tmp_path: Path) -> None:
    section = command("ignore_term", "-", end_grace=0.5)
    async with started(maker("tool", section, tmp_path, {})) as (agent, _):
        ear = Ear()
        work = asyncio.create_task(agent.invoke(given(), ear.context))
        await ear.something.wait()
        first = asyncio.create_task(agent.aclose())
        await asyncio.sleep(0)
        await agent.aclose()
        assert not psutil.pid_exists(int(ear.heard[0]))
        await first
        with pytest.raises(TaskFailed, match="exit code -9"):
            await work


async def test_a_probe_misses_a_command_that_is_gone(tmp_path: Path) -> None:
    tool = tmp_path / "tool"
    tool.write_text("#!/bin/sh\necho hello")
    tool.chmod(0o755)
    section = CommandPool(kind="command", argv=("./tool",))
    async with started(maker("tool", section, tmp_path, {})) as (agent, _):
        assert (await agent.invoke(given(), Ear().context))["stdout"] == "hello\n"
        tool.unlink()
        with pytest.raises(AgentLost, match=r"no command '\./tool'"):
            await agent.probe()
        with pytest.raises(AgentLost) as caught:
            await agent.invoke(given(), Ear().context)
    assert not caught.value.started


def test_the_command_itself_cannot_be_a_template() -> None:
    with pytest.raises(ValidationError, match="Only arguments can be"):
        CommandPool(kind="command", argv=("{which}",))
