"""Sync nodes in threads: counted when they are left behind, refused when too many are."""

import asyncio
import contextlib
import sys
from collections.abc import Iterator
from concurrent.futures import wait
from threading import Event

import pytest

from operations.handover import LATE, SOON, Handover
from orchestration.graphs.node_threads import NodeExit, NodeThreads, TooManyAbandoned


@pytest.fixture
def threads() -> Iterator[NodeThreads]:
    with NodeThreads(1, abandoned_limit=1) as executor:
        yield executor


class Block:
    """A function that works until it is released."""

    def __init__(self) -> None:
        self.started = Event()
        self.release = Event()

    def __call__(self) -> str:
        self.started.set()
        self.release.wait()
        return "done"


def test_work_gives_its_result(threads: NodeThreads) -> None:
    assert threads.submit(max, 1, 2).result() == 2


def test_the_event_loop_has_the_interpreter_sooner_beside_work(
    threads: NodeThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    handover = Handover()  # that of this process may have other threads that compute
    monkeypatch.setattr("orchestration.graphs.node_threads.handover", handover)
    handover.gather()
    try:
        assert threads.submit(sys.getswitchinterval).result() == pytest.approx(SOON)
        with pytest.raises(ZeroDivisionError):
            threads.submit(lambda: 1 // 0).result()
        assert sys.getswitchinterval() == pytest.approx(LATE)
    finally:
        handover.gathered()


def test_an_error_of_the_work_comes_out(threads: NodeThreads) -> None:
    with pytest.raises(ZeroDivisionError):
        threads.submit(lambda: 1 // 0).result()


def test_a_node_cannot_exit_the_process(threads: NodeThreads) -> None:
    with pytest.raises(NodeExit, match=r"SystemExit\(3\)"):
        threads.submit(sys.exit, 3).result()


async def test_whoever_awaits_work_that_raises_stop_iteration_is_told(
    threads: NodeThreads,
) -> None:
    work = asyncio.get_running_loop().run_in_executor(threads, next, iter(()))
    with pytest.raises(RuntimeError, match="StopIteration"):
        await work


def test_cancelling_work_in_progress_leaves_one_thread_behind_until_it_ends(
    threads: NodeThreads,
) -> None:
    block = Block()
    work = threads.submit(block)
    block.started.wait()
    cancelled = [work.cancel(), work.cancel()]
    during = threads.abandoned
    block.release.set()
    work.result()
    threads.shutdown()
    assert (cancelled, during, threads.abandoned) == ([False, False], 1, 0)


def test_cancelling_finished_work_leaves_nothing_behind(threads: NodeThreads) -> None:
    work = threads.submit(int)
    wait([work])
    assert (work.cancel(), threads.abandoned) == (False, 0)


def test_cancelled_work_that_waited_for_a_thread_is_never_done(threads: NodeThreads) -> None:
    blocks, done = [Block(), Block()], Event()
    for block in blocks:
        threads.submit(block)
    for block in blocks:
        block.started.wait()
    waiting = threads.submit(done.set)
    before = threads.waiting
    cancelled = [waiting.cancel(), waiting.cancel()]
    during = threads.waiting
    for block in blocks:
        block.release.set()
    threads.shutdown()
    assert (cancelled, done.is_set(), threads.abandoned) == ([True, True], False, 0)
    assert (before, during, threads.waiting) == (1, 0, 0)


def test_work_cancelled_between_queue_and_thread_is_not_done(threads: NodeThreads) -> None:
    blocks, done = [Block(), Block()], Event()
    for block in blocks:
        threads.submit(block)
    waiting = threads.submit(done.set)
    waiting.place = None  # type: ignore[attr-defined] # as when it is cancelled before it has one
    waiting.cancel()
    for block in blocks:
        block.release.set()
    threads.shutdown()
    assert (done.is_set(), threads.waiting) == (False, 0)


def test_new_work_is_refused_above_the_limit_of_abandoned_threads(threads: NodeThreads) -> None:
    blocks = [Block(), Block()]
    for block in blocks:
        work = threads.submit(block)
        block.started.wait()
        work.cancel()
    with pytest.raises(TooManyAbandoned, match="2 threads still work") as refused:
        threads.submit(int)
    for block in blocks:
        block.release.set()
    assert refused.value.abandoned == 2


async def test_a_cancelled_task_leaves_its_thread_behind() -> None:
    block, started = Block(), asyncio.Event()
    threads = NodeThreads(1, abandoned_limit=1)
    loop = asyncio.get_running_loop()
    loop.set_default_executor(threads)

    def work() -> None:
        loop.call_soon_threadsafe(started.set)
        block()

    task = asyncio.create_task(asyncio.to_thread(work))
    await started.wait()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    during = threads.abandoned
    block.release.set()
    threads.shutdown()
    assert (during, threads.abandoned) == (1, 0)
