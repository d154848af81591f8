"""What a worker process borrows, over a real socket, with both ends in this process."""

import asyncio
import re
import socket
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from langgraph.store.base import BaseStore, Op, Result
from langgraph.store.memory import InMemoryStore

from operations.wire import Wire
from orchestration.processes.borrowed import BorrowedSaver, BorrowedStore
from orchestration.processes.errors import Refused
from orchestration.processes.lending import Lender, Stock
from orchestration.processes.server import Server
from orchestration.store.checkpoint_search import PAGE, UnsafeFilter
from orchestration.store.checkpoints import CheckpointSaver, Fenced
from tests.store.checkpointing import (
    at,
    at_checkpoint,
    ids,
    ids_of,
    opened,
    put,
    put_chain,
    two_steps,
)


@asynccontextmanager
async def borrowing(
    folder: Path, items: BaseStore | None = None
) -> AsyncGenerator[tuple[CheckpointSaver, Server]]:
    """Lend what is in a database, and what is in memory of a store."""
    loop = asyncio.get_running_loop()
    lost = [asyncio.Event(), asyncio.Event()]
    async with opened(folder / "data" / "masterloop.db") as (_, saver):
        stock = Stock(checkpoints=saver.rows, items=items or InMemoryStore(), agents=None)
        lending = Wire(lambda message: _lent(lender, message), lost[0].set)
        lender = Lender(stock, lending, lambda _: None)  # type: ignore[arg-type, return-value]
        borrowed = Wire(lambda message: _answered(server, message), lost[1].set)
        server = Server(borrowed)
        for wire, one in zip((lending, borrowed), socket.socketpair(), strict=True):
            await loop.create_connection(partial(_same, wire), sock=one)
        try:
            yield saver, server
        finally:
            borrowed.close()
            for end in lost:
                await end.wait()


def _same(wire: Wire) -> Wire:
    return wire


def _lent(lender: Lender, message: Sequence[Any]) -> None:
    take = lender.ask if message[0] == "ask" else lender.withdraw
    take(*message[1:])


def _answered(server: Server, message: Sequence[Any]) -> None:
    kinds = {"answer": server.answered, "refuse": server.refused, "heard": server.heard}
    kinds[message[0]](*message[1:])


async def test_checkpoints_are_found_and_listed_as_by_the_servers_own_saver(
    tmp_path: Path,
) -> None:
    async with borrowing(tmp_path) as (lent, server):
        saver = BorrowedSaver(server)
        chain = await put_chain(saver, PAGE + 3)
        assert await saver.aget_tuple(at("t")) == await lent.aget_tuple(at("t"))
        assert await saver.aget_tuple(at("other")) is None
        assert await ids(saver.alist(at("t"))) == ids_of(chain)[::-1]
        odd = saver.alist(at("t"), filter={"parity": "odd"}, before=chain[4], limit=2)
        assert await ids(odd) == ids_of([chain[3], chain[1]])


async def test_a_graph_leaves_the_same_history_as_over_the_servers_own_saver(
    tmp_path: Path,
) -> None:
    async with borrowing(tmp_path) as (lent, server):
        for saver, thread_id in ((BorrowedSaver(server), "theirs"), (lent, "ours")):
            graph = two_steps(saver)
            await graph.ainvoke({"log": ["begun"]}, at(thread_id))
        histories = [
            [(state.values, state.next, state.interrupts != ()) async for state in history]
            for history in (
                two_steps(BorrowedSaver(server)).aget_state_history(at("theirs")),
                two_steps(lent).aget_state_history(at("ours")),
            )
        ]
    assert histories[0] == histories[1] != []


async def test_a_run_that_has_ended_puts_no_more(tmp_path: Path) -> None:
    async with borrowing(tmp_path) as (lent, server):
        saver = BorrowedSaver(server)
        config = await put(saver, at("t", "run"))
        lift = lent.fence("run")
        with pytest.raises(Fenced):
            await put(saver, at("t", "run"))
        with pytest.raises(Fenced):
            await saver.aput_writes(at_checkpoint(config, "run"), [("a", 1)], "task")
        lift()
        await put(saver, at("t", "run"))


async def test_a_filter_that_cannot_be_is_refused_before_it_is_asked(tmp_path: Path) -> None:
    async with borrowing(tmp_path) as (_, server):
        with pytest.raises(UnsafeFilter):
            await ids(BorrowedSaver(server).alist(at("t"), filter={"a'b": 1}))


async def test_the_sync_methods_are_for_other_threads(tmp_path: Path) -> None:
    async with borrowing(tmp_path) as (_, server):
        saver = BorrowedSaver(server)
        store = BorrowedStore(server, supports_ttl=False, ttl=None)
        config = await put(saver, at("t"))
        found = await asyncio.to_thread(saver.get_tuple, at("t"))
        assert found is not None
        assert found.config == config
        await asyncio.to_thread(store.put, ("a",), "k", {"v": (1, 2)})
        item = await store.aget(("a",), "k")
        assert item is not None
        assert item.value == {"v": [1, 2]}
        with pytest.raises(asyncio.InvalidStateError):
            saver.get_tuple(at("t"))
        with pytest.raises(asyncio.InvalidStateError):
            store.get(("a",), "k")


async def test_what_cannot_be_answered_is_refused(tmp_path: Path) -> None:
    async with borrowing(tmp_path) as (_, server):
        with pytest.raises(LookupError):
            await server.ask("send", "run", b"1", {})
        with pytest.raises(KeyError):
            await server.ask("something else")
        with pytest.raises(KeyError):
            await server.ask("invoke", 7, b"1", False, False)


class Failing(InMemoryStore):
    """A store of a user's, which cannot do anything."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        raise self._error


class Speechless(Exception):
    """An error without words."""

    def __str__(self) -> str:
        raise ZeroDivisionError


def described(**facts: Any) -> Exception:
    error = ValueError("as told")
    vars(error).update(facts)
    return error


@pytest.mark.parametrize(
    ("error", "kind", "words", "facts"),
    [
        (ValueError("half \ud83d"), ValueError, "half ?", {}),
        (
            described(large=2**70, least=-(2**63), half="\ud83d", other=object()),
            ValueError,
            "as told",
            {"least": -(2**63), "half": "?"},
        ),
        (ExceptionGroup("several", [OSError()]), Refused, "ExceptionGroup: several", {}),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "why"), Refused, "UnicodeDecodeError:", {}),
        (Speechless(), Refused, "Speechless: the error cannot be sent", {}),
    ],
    ids=["half a character", "its facts", "a group", "of four arguments", "no words"],
)
async def test_an_error_is_answered_whatever_is_in_it(
    error: Exception, kind: type[Exception], words: str, facts: dict[str, Any], tmp_path: Path
) -> None:
    async with borrowing(tmp_path, Failing(error)) as (_, server):
        store = BorrowedStore(server, supports_ttl=False, ttl=None)
        with pytest.raises(kind, match=re.escape(words)) as raised:
            await asyncio.wait_for(store.aget(("a",), "k"), timeout=10)
    assert vars(raised.value) == facts
