"""The kind `process`: what it lets a subprocess have, and how it ends one."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import NoReturn

import anyio
import psutil
import pytest
import uvloop

from agents.agent import Agent, Context
from agents.errors import AgentLost, StartFailed, TaskRejected
from agents.kinds.process import ProcessAgent
from agents.making import maker
from agents.network.errors import MessageRefused
from agents.network.message import Draft
from operations.errors import ConfigurationError
from tests.agents.kinds import Ear, process, started, task


@pytest.fixture(autouse=True)
def _no_orphans() -> Iterator[None]:
    """Whatever a test does to its agents: in the end none of their processes is left."""
    yield
    left = [child for child in psutil.Process().children(recursive=True) if child.is_running()]
    gone, alive = psutil.wait_procs(left, timeout=30)
    assert not [child.cmdline() for child in alive if child.status() != psutil.STATUS_ZOMBIE], gone


def alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


async def forever(act: Callable[[], Awaitable[None]]) -> None:
    while True:
        await act()


async def gone(pid: int) -> None:
    """Return once a process has ended."""
    while alive(pid):  # noqa: ASYNC110 - it is another process
        await asyncio.sleep(0.01)


async def lost(agent: Agent, do: str, **more: object) -> AgentLost:
    one = task(do)
    one.input.update(more)
    with pytest.raises(AgentLost) as caught:
        await agent.invoke(one, Ear().context)
    return caught.value


@pytest.mark.parametrize(
    ("do", "reason"),
    [
        ("long_line", "it wrote a line of more than 1048576 bytes"),
        ("binary", "it wrote what is no JSON-RPC message"),
        ("partial", "it ended with exit code 0"),
        ("close_stdout", "it closed its stdout"),
        ("die", "it ended with exit code 7"),
        ("fork_and_die", "it ended with exit code 1"),
    ],
)
async def test_what_makes_no_sense_ends_the_agent_and_says_why(
    do: str, reason: str, tmp_path: Path
) -> None:
    async with started(maker("play", process(), tmp_path, {})) as (agent, losses):
        error = await lost(agent, do)
        assert error.reason.startswith(reason)
        assert [one.reason for one in losses] == [error.reason]
        with pytest.raises(AgentLost, match=reason):
            await agent.probe()


async def test_a_line_without_end_takes_no_memory(tmp_path: Path) -> None:
    before = psutil.Process().memory_info().rss
    async with started(maker("play", process(), tmp_path, {})) as (agent, _):
        await lost(agent, "long_line")  # a gigabyte, if anybody let it
        used = psutil.Process().memory_info().rss - before
    assert used < 16 * 2**20


@pytest.mark.parametrize("size", [1, 500_000])
async def test_one_that_reads_no_answers_is_ended_before_they_take_memory(
    size: int, tmp_path: Path
) -> None:
    before = psutil.Process().memory_info().rss
    async with started(maker("play", process(), tmp_path, {})) as (agent, losses):
        error = await lost(agent, "send_unread", count=size)
        assert psutil.Process().memory_info().rss - before < 16 * 2**20
    assert re.fullmatch(r"it did not read 2\d{6} bytes that it was answered", error.reason)
    assert [one.reason for one in losses] == [error.reason]


async def test_an_error_has_the_beginning_and_the_end_of_stderr(tmp_path: Path) -> None:
    section = process(limits={"error_output": 1000})
    async with started(maker("play", section, tmp_path, {})) as (agent, _):
        stderr = (await lost(agent, "die", more=1_000_000)).stderr
    assert stderr.startswith("these are my last words")
    assert "… 999024 bytes cut …" in stderr
    assert len(stderr) < 1100


async def test_events_beyond_the_cap_are_counted_and_not_passed_on(tmp_path: Path) -> None:
    async with started(maker("play", process(), tmp_path, {})) as (agent, _):
        few, all_of_them = Ear(most_events=5), Ear(most_events=0)
        await agent.invoke(task("events", count=2000), few.context)
        await agent.invoke(task("events", count=2000), all_of_them.context)
    assert (len(few.heard), few.context.cut) == (5, 1995)
    assert (len(all_of_them.heard), all_of_them.context.cut) == (2000, 0)


async def test_it_gets_the_environment_that_is_named_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_KEY", "sk-canary")
    monkeypatch.setenv("WANTED", "yes")
    (tmp_path / "here").mkdir()
    section = process(
        env={"MODEL": "${{ env.WHICH }}-1", "FIXED": "f"},
        inherit=("WANTED", "ABSENT"),
        folder="here",
    )
    async with started(maker("play", section, tmp_path, {"WHICH": "tiny"})) as (agent, _):
        seen = await agent.invoke(task("look"), Ear().context)
    known = {"PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "LC_CTYPE"}  # the last is Python's own
    own = {name: value for name, value in seen["env"].items() if name not in known}
    assert own == {"MODEL": "tiny-1", "FIXED": "f", "WANTED": "yes"}
    assert seen["cwd"] == str(tmp_path / "here")
    assert seen["group"] != os.getpgid(0)


def test_a_variable_that_is_not_set_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"agents\.play\.env\.MODEL: WHICH is not set"):
        maker("play", process(env={"MODEL": "${{ env.WHICH }}"}), tmp_path, {})


@pytest.mark.skipif(sys.platform != "linux", reason="prlimit is Linux's")
async def test_the_kernel_limits_what_it_may_have(tmp_path: Path) -> None:
    resources = {"memory": 2**30, "files": 40, "cpu": 100, "file_size": 2**20}
    async with started(maker("play", process(resources=resources), tmp_path, {})) as (agent, _):
        pid = await agent.invoke(task("pid"), Ear().context)
        limits = await anyio.Path(f"/proc/{pid}/limits").read_text()
    found = {
        line[:26].strip(): line.split()[-3]
        for line in limits.splitlines()
        if line.startswith(("Max address", "Max open", "Max cpu", "Max file size", "Max core"))
    }
    assert found == {
        "Max address space": str(2**30),
        "Max open files": "40",
        "Max cpu time": "100",
        "Max file size": str(2**20),
        "Max core file size": "0",
    }


async def test_one_that_ignores_sigterm_is_killed_after_its_grace(tmp_path: Path) -> None:
    agent = maker("play", process(end_grace=0.2), tmp_path, {})()
    await agent.start(lambda _: None)
    ear = Ear()
    work = asyncio.create_task(agent.invoke(task("ignore_term"), ear.context))
    await ear.something.wait()
    pid = ear.heard[0]
    began = asyncio.get_running_loop().time()
    await agent.aclose()
    assert 0.2 <= asyncio.get_running_loop().time() - began < 2
    assert not alive(pid)
    with pytest.raises(AgentLost):
        await work


async def test_one_whose_end_is_cut_short_is_killed_at_once(tmp_path: Path) -> None:
    async with started(maker("play", process(end_grace=60), tmp_path, {})) as (agent, _):
        ear = Ear()
        work = asyncio.create_task(agent.invoke(task("ignore_term"), ear.context))
        await ear.something.wait()
        end = asyncio.create_task(agent.aclose())
        await asyncio.wait({work})  # it ends as soon as the end has begun
        end.cancel()
        await gone(ear.heard[0])
        with pytest.raises(AgentLost):
            await work


async def test_one_that_was_stopped_is_found_by_a_probe_while_it_works(tmp_path: Path) -> None:
    async with started(maker("play", process(end_grace=0.2), tmp_path, {})) as (agent, _):
        ear = Ear()
        pid = await agent.invoke(task("pid"), ear.context)
        work = asyncio.create_task(agent.invoke(task("sleep"), ear.context))
        await ear.something.wait()
        await agent.probe()
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(AgentLost, match="it was stopped"):  # the kernel takes a moment
            await forever(agent.probe)
        await agent.aclose()
        with pytest.raises(AgentLost):
            await work
    assert not alive(pid)


async def test_one_that_was_stopped_is_given_no_task(tmp_path: Path) -> None:
    async with started(maker("play", process(end_grace=0.2), tmp_path, {})) as (agent, _):
        pid = await agent.invoke(task("pid"), Ear().context)
        os.kill(pid, signal.SIGSTOP)
        while psutil.Process(pid).status() != psutil.STATUS_STOPPED:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.01)
        with pytest.raises(AgentLost, match="it was stopped") as caught:
            await agent.invoke(task("echo"), Ear().context)
    assert not caught.value.started
    await gone(pid)


async def test_what_it_forked_ends_with_it(tmp_path: Path) -> None:
    async with started(maker("play", process(), tmp_path, {})) as (agent, _):
        pid = await agent.invoke(task("fork"), Ear().context)
        assert alive(pid)
    await gone(pid)


async def test_what_it_forked_ends_when_it_dies_by_itself(tmp_path: Path) -> None:
    async with started(maker("play", process(), tmp_path, {})) as (agent, losses):
        pid = await agent.invoke(task("fork"), Ear().context)
        await lost(agent, "die")
        await gone(pid)
        assert losses


@pytest.mark.parametrize("given", [{"x": {1, 2}}, "y" * 2_000_000])
async def test_a_task_that_cannot_be_sent_is_rejected(given: object, tmp_path: Path) -> None:
    async with started(maker("play", process(), tmp_path, {})) as (agent, _):
        ear = Ear()
        one = task("echo")
        one.input["text"] = given
        with pytest.raises(TaskRejected):
            await agent.invoke(one, ear.context)
        assert not ear.context.started
        assert await agent.invoke(task("echo", text="a"), ear.context) == "a"


async def test_an_answer_that_comes_too_late_is_not_the_next_ones(tmp_path: Path) -> None:
    async with started(maker("play", process(), tmp_path, {})) as (agent, _):
        probe = asyncio.create_task(agent.probe())
        await asyncio.sleep(0)
        probe.cancel()
        assert await agent.invoke(task("echo", text="a"), Ear().context) == "a"


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_folder_that_is_not_there_is_told(
    tmp_path: Path, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def start() -> None:
        agent = maker("play", process(folder="nowhere"), tmp_path, {})()
        with pytest.raises(StartFailed, match="nowhere"):
            await agent.start(lambda _: None)
        await agent.aclose()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(start())


async def test_a_message_whose_number_would_lose_its_digits_is_not_sent(tmp_path: Path) -> None:
    sent: list[Draft] = []

    async def post(draft: Draft, _: Context) -> NoReturn:
        sent.append(draft)
        raise MessageRefused("enough")

    async with started(maker("play", process(), tmp_path, {}, post)) as (agent, _):
        lost = await agent.invoke(task("send", text=str(2**64)), Ear().context)
        kept = await agent.invoke(task("send", text=str(2**64 - 1)), Ear().context)
    assert ("more than 64 bits" in lost, kept) == (True, "enough")
    assert [draft.content for draft in sent] == [2**64 - 1]


async def test_one_that_can_be_told_of_no_other_task_is_given_up(tmp_path: Path) -> None:
    async with started(maker("play", process(), tmp_path, {})) as (agent, losses):
        assert await agent.invoke(task("close_stdin"), Ear().context) == "closed"
        while not losses:  # noqa: ASYNC110 - it is another process
            await asyncio.sleep(0.01)
        with pytest.raises(AgentLost) as caught:
            await agent.invoke(task("echo"), Ear().context)
    assert [one.reason for one in losses] == [caught.value.reason] == ["it closed its stdin"]
    assert not caught.value.started


async def test_one_that_works_when_it_is_told_of_nothing_more_may_still_answer(
    tmp_path: Path,
) -> None:
    file, ear = tmp_path / "go", Ear()
    async with started(maker("play", process(), tmp_path, {})) as (agent, losses):
        assert isinstance(agent, ProcessAgent)
        work = asyncio.create_task(agent.invoke(task("wait_for", text=str(file)), ear.context))
        await ear.something.wait()
        agent.went_deaf()
        assert losses == []
        file.touch()
        assert await work == "waited"
        await asyncio.sleep(0)  # what the end of the task calls
        assert [one.reason for one in losses] == ["it closed its stdin"]
