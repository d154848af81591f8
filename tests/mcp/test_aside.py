"""What has much in it, looked at such that nobody else waits."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestration.mcp.aside import Aside
from orchestration.mcp.schemas import Input, Output
from orchestration.mcp.validation import Validator
from tests.mcp.client import open_tools, rpc

MANY = 20_000


class _Counted(list[Any]):
    """Counts the items that were looked at."""

    looked = 0

    def __iter__(self) -> Iterator[Any]:
        for one in super().__iter__():
            self.looked += 1
            yield one


@pytest.mark.parametrize(("value", "aside"), [(["x"] * 10, False), ([{"x": ["y"]}] * MANY, True)])
async def test_only_what_has_much_in_it_is_looked_at_elsewhere(value: Any, *, aside: bool) -> None:
    where = await Aside().of(value, threading.get_ident)
    assert (where != threading.get_ident()) is aside


async def test_of_two_that_bring_much_one_waits_for_the_other() -> None:
    aside, reached, opened = Aside(), asyncio.Event(), threading.Event()
    loop, value = asyncio.get_running_loop(), [1] * MANY

    def hold() -> None:
        loop.call_soon_threadsafe(reached.set)
        opened.wait()

    async with asyncio.TaskGroup() as group:
        group.create_task(aside.of(value, hold))
        await reached.wait()
        second = group.create_task(aside.of(value, opened.is_set))
        await aside.of([], int)  # of little one does not wait
        opened.set()
    assert second.result()


@pytest.mark.parametrize("rule", ["anyOf", "oneOf"])
def test_what_fits_none_of_several_schemas_is_not_looked_at_to_its_end(rule: str) -> None:
    value = _Counted([""] * MANY)
    schema = {rule: [{"type": "array", "items": {"type": "integer"}}, {"type": "null"}]}
    assert [one.rule for one in Validator(schema).mistakes(value)] == [rule]
    assert value.looked < MANY


def test_of_several_schemas_one_fits_or_exactly_one() -> None:
    schemas = [{"type": "integer"}, {"minimum": 5}]
    fits = {
        rule: [value for value in (1, 7, 6.5, 1.5) if Validator({rule: schemas}).passes(value)]
        for rule in ("anyOf", "oneOf")
    }
    assert fits == {"anyOf": [1, 7, 6.5], "oneOf": [1, 6.5]}


def test_items_that_cannot_be_sorted_are_compared_as_fast() -> None:
    schema = {"type": "array", "uniqueItems": True}
    different: list[Any] = [*range(MANY), *map(str, range(MANY))]
    assert Validator(schema).passes(different)
    assert not Validator(schema).passes([*different, "0"])
    assert Validator(schema).passes([2**64, 2**64 + 1])
    assert not Validator(schema).passes([{"a": 2**64, "b": 1}, {"b": 1, "a": 2**64}])


async def test_a_call_with_many_values_is_held_to_its_schemas_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where: list[int] = []

    def noted(work: Callable[..., Any]) -> Callable[..., Any]:
        def note(*given: Any) -> Any:
            where.append(threading.get_ident())
            return work(*given)

        return note

    monkeypatch.setattr(Input, "mistakes", noted(Input.mistakes))
    monkeypatch.setattr(Output, "of", noted(Output.of))
    async with open_tools(tmp_path, "numbered") as (_, http):
        for size in (1, MANY):
            call = {"name": "numbered", "arguments": {"numbers": [1] * size}}
            result = await rpc(http, "tools/call", call)
            assert result["structuredContent"] == call["arguments"]
    here = threading.get_ident()
    assert [thread == here for thread in where] == [True, True, False, False]
