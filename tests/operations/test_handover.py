"""How soon threads hand over the interpreter."""

import asyncio
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from operations.database import open_database
from operations.event_loop import open_runner
from operations.handover import LATE, SOON, Handover, handover
from operations.writer import Writer


@pytest.fixture(autouse=True)
def usual() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(LATE)
    yield
    sys.setswitchinterval(before)


def test_a_thread_that_computes_hands_over_sooner_than_by_default() -> None:
    over, turns = False, 0

    def compute() -> None:
        nonlocal turns
        with handover:
            while not over:
                turns += 1

    thread = threading.Thread(target=compute)
    thread.start()
    waits: list[float] = []
    # By default none is as short; a busy machine makes nearly all of them longer.
    while len(waits) < 300 and min(waits, default=LATE) >= LATE:
        before, began = turns, time.perf_counter()
        time.sleep(0)  # lets go of the interpreter, and asks for it again
        took = time.perf_counter() - began
        if turns > before:  # it had gone to the other one
            waits.append(took)
    over = True
    thread.join()
    assert min(waits) < LATE


def test_a_process_of_ours_has_threads_hand_over_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    # That of this process may have other threads that compute.
    monkeypatch.setattr("operations.event_loop.handover", Handover())
    with open_runner():
        assert sys.getswitchinterval() == pytest.approx(SOON)
    assert sys.getswitchinterval() == pytest.approx(LATE)


def test_a_process_that_is_not_ours_has_its_interval_back() -> None:
    sys.setswitchinterval(0.02)
    one = Handover()
    with one:
        assert sys.getswitchinterval() == pytest.approx(SOON)
    one.gather()
    one.gathered()
    assert sys.getswitchinterval() == pytest.approx(0.02)


def test_a_writer_waits_for_more_to_write_but_not_while_a_thread_computes() -> None:
    one = Handover()
    seen: list[float] = []

    def look() -> None:
        seen.append(sys.getswitchinterval())

    with one.always_soon():
        look()
        one.gather()
        look()
        with one:
            look()
            with one:
                look()
            look()
        look()
        one.gathered()
        look()
    look()
    assert seen == pytest.approx([SOON, LATE, SOON, SOON, SOON, LATE, SOON, LATE])


async def test_who_writes_waits_as_long_as_there_is_something_to_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Handover()
    monkeypatch.setattr("operations.writer.handover", one)
    with one.always_soon():
        async with open_database(tmp_path / "x.db", []) as database:
            seen = await database.write(lambda _: sys.getswitchinterval())
            assert seen == pytest.approx(LATE)
            assert sys.getswitchinterval() == pytest.approx(SOON)
            with pytest.raises(ZeroDivisionError):
                await database.write(lambda _: 1 / 0)
            assert sys.getswitchinterval() == pytest.approx(SOON)


async def test_for_a_writer_that_cannot_begin_nothing_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Handover()
    monkeypatch.setattr("operations.writer.handover", one)

    def connect() -> sqlite3.Connection:
        raise sqlite3.OperationalError("no room")

    with one.always_soon():
        writer = Writer(tmp_path / "x.db", connect)
        writer.submit(lambda _: None)
        assert sys.getswitchinterval() == pytest.approx(LATE)
        await asyncio.wait({writer.stopped})
        assert sys.getswitchinterval() == pytest.approx(SOON)
