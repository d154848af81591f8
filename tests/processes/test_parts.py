"""The parts of which worker processes are made, by themselves."""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypedDict

import orjson
import pytest
from langgraph.graph import START, StateGraph
from langgraph.store.base import (
    GetOp,
    Item,
    ListNamespacesOp,
    MatchCondition,
    Op,
    PutOp,
    SearchItem,
    SearchOp,
)

from agents.errors import AgentLost
from agents.network.errors import MailboxFull
from operations.database_errors import DiskFull
from operations.event_loop import loop_factory
from operations.wire import Wire
from orchestration.processes import worker
from orchestration.processes.borrowed import BorrowedAgents, BorrowedSaver
from orchestration.processes.child_runs import TOLD, ChildRuns
from orchestration.processes.errors import NotInWorker, Refused, packed, unpacked
from orchestration.processes.operations import (
    packed_operations,
    packed_results,
    unpacked_operations,
    unpacked_results,
)
from orchestration.processes.pulse import FLOOR, Pulse
from orchestration.processes.server import Server
from orchestration.store.bounded import SearchTooWide, TooMuchFound
from tests.graphs.stage import Stage as GraphStage
from tests.graphs.stage import new_run
from tests.processes.stage import open_stage

AT = datetime(2026, 1, 2, tzinfo=UTC)


def test_a_peak_of_delay_counts_at_once_and_fades() -> None:
    pulse = Pulse()
    assert pulse.delay(0.0) == FLOOR
    pulse.ask(1.0)
    assert (pulse.held_up(1.001), pulse.delay(1.001)) == (False, FLOOR)
    assert (pulse.held_up(1.5), pulse.delay(1.5)) == (True, 0.5)
    pulse.answer(1.5)
    assert (pulse.held_up(1.5), pulse.delay(1.5)) == (False, 0.5)
    pulse.ask(2.0)
    pulse.answer(2.001)
    assert 0.3 < pulse.delay(2.001) < 0.5
    assert pulse.delay(60.0) == FLOOR


@pytest.mark.parametrize(
    "error",
    [
        AgentLost("it ended", "last words", started=False),
        MailboxFull("post", 5),
        DiskFull("no room"),
        SearchTooWide(),
        TooMuchFound(),
        ValueError("no"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_arrives_as_what_it_was(error: Exception) -> None:
    arrived = unpacked(*packed(error))
    assert type(arrived) is type(error)
    assert (str(arrived), vars(arrived)) == (str(error), vars(error))


def test_an_error_of_an_unknown_kind_arrives_in_words() -> None:
    class Odd(Exception):
        pass

    arrived = unpacked(*packed(Odd("why")))
    assert (type(arrived), str(arrived)) == (Refused, "Odd: why")


def test_operations_on_the_store_arrive_as_they_were() -> None:
    ops: list[Op] = [
        GetOp(("a", "b"), "k", refresh_ttl=False),
        PutOp(("a",), "k", {"at": AT, "n": [1, None]}, index=["text"], ttl=5.0),
        PutOp(("a",), "k", None),
        SearchOp(("a",), {"x": {"$gt": 1}}, 5, 2, "words", refresh_ttl=True),
        ListNamespacesOp((MatchCondition("suffix", ("a", "*")),), 3, 10, 1),
        ListNamespacesOp(),
    ]
    assert unpacked_operations(packed_operations(ops)) == ops


def test_results_of_the_store_arrive_as_they_were() -> None:
    item = Item(value={"at": AT}, key="k", namespace=("a", "b"), created_at=AT, updated_at=AT)
    found = SearchItem(("a",), "k", {"v": 1}, AT, AT, 0.5)
    arrived = unpacked_results(packed_results([None, item, [found], [("a", "b"), ("c",)], []]))
    assert arrived[0] is None
    assert arrived[1] == item
    assert [(one, one.score) for one in arrived[2]] == [(found, 0.5)]  # type: ignore[union-attr]
    assert arrived[3:] == [[("a", "b"), ("c",)], []]


def test_a_value_that_cannot_be_sent_is_refused() -> None:
    with pytest.raises(TypeError):
        packed_operations([PutOp(("a",), "k", {"v": object()})])


async def delete_now(saver: BorrowedSaver, _: BorrowedAgents) -> None:
    saver.delete_for_runs(["r"])


async def look_around(_: BorrowedSaver, agents: BorrowedAgents) -> None:
    agents.able("echo")


@pytest.mark.parametrize(
    "call",
    [
        lambda saver, _: saver.adelete_thread("t"),
        lambda saver, _: saver.aprune(["t"]),
        delete_now,
        look_around,
    ],
)
async def test_what_cannot_be_had_in_a_worker_says_so(
    call: Callable[[BorrowedSaver, BorrowedAgents], Awaitable[None]],
) -> None:
    server = Server(Wire(lambda _: None, lambda: None))
    with pytest.raises(NotInWorker, match="--workers 0"):
        await call(BorrowedSaver(server), BorrowedAgents(server, "run", 5))


async def test_a_question_that_is_cancelled_is_taken_back() -> None:
    said: list[tuple[Any, ...]] = []

    class Said(Wire):
        def send(self, *message: Any) -> None:
            said.append(message)

    server = Server(Said(lambda _: None, lambda: None))
    asking = asyncio.create_task(server.ask("lease", "r"))
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.wait({asking})
    server.answered(1, "too late")
    assert said == [("ask", 1, "lease", "r"), ("withdraw", 1)]


class Spoken(TypedDict, total=False):
    text: str


async def test_a_run_whose_values_are_too_long_to_be_sent_has_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("operations.wire.LONGEST", 1_000)
    said: asyncio.Queue[str] = asyncio.Queue()

    class Said(Wire):
        def send(self, *message: Any) -> None:
            super().send(*message)
            said.put_nowait(message[0])

    async def speak(state: Spoken) -> Spoken:
        return {"text": state.get("text", "") + "x" * 1_000}

    graph = StateGraph(Spoken).add_node("speak", speak).add_edge(START, "speak").compile()
    executor = GraphStage(speaker=graph).executor
    run = new_run("speaker", {})
    told = orjson.dumps({name: getattr(run, name) for name in TOLD})
    ChildRuns(executor, Server(Said(lambda _: None, lambda: None))).execute(
        run.run_id, told, False, False
    )
    assert await said.get() == "failed"


def test_runs_begin_on_a_process_that_is_about_to_be_looked_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As when another thread has the interpreter until then: on the event loop that serves.
    monkeypatch.setattr(worker, "SOON", 0.0001)

    async def main() -> list[Any]:
        async with open_stage(tmp_path, workers=1) as stage:
            answers = await asyncio.gather(*(stage.wait(given=number) for number in range(5)))
            return [answer["answer"] for answer in answers]

    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        assert runner.run(main()) == list(range(5))


def test_a_process_that_answered_while_the_server_was_held_up_is_not_taken_for_hung(
    tmp_path: Path,
) -> None:
    marker, gate = tmp_path / "stalls", tmp_path / "gate"

    def asked(workers: dict[str, Any]) -> bool:
        return any(one["delay"] > 0.1 for one in workers["figures"]["each"])

    def hold_up(end: socket.socket) -> None:
        asyncio.get_running_loop().remove_reader(end)
        gate.touch()
        time.sleep(1.5)

    async def main() -> tuple[list[str], int]:
        async with open_stage(tmp_path, workers=1, worker_timeout=1.0) as stage:
            path = await stage.begin(do="stall", marker=str(marker), given=str(gate))
            await stage.until_exists(marker)
            await stage.until(asked)
            near, far = socket.socketpair()
            with near, far:
                # What can be read after this was no news before: timers that are due come first.
                asyncio.get_running_loop().add_reader(near, hold_up, near)
                far.send(b"now")
                ends = await stage.ends(path)
            return ends, (await stage.workers())["figures"]["restarts"]

    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        assert runner.run(main()) == (["success"], 0)
