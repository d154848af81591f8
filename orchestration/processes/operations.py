"""Operations on the store and what comes of them, from one process to another.

Values go in LangGraph's own serialisation: JSON, dates, messages, …; tuples arrive as lists.
"""

from collections.abc import Iterable, Sequence
from typing import Any, cast

from langgraph.store.base import (
    GetOp,
    Item,
    ListNamespacesOp,
    MatchCondition,
    Op,
    PutOp,
    Result,
    SearchItem,
    SearchOp,
)

from orchestration.store.checkpoint_saver import strict_serializer

_SERIALIZER = strict_serializer()
_TYPE = "msgpack"


def packed_operations(ops: Iterable[Op]) -> bytes:
    """Return operations as bytes.

    Raises:
        TypeError: a value is of a type that cannot be sent.
    """
    return _packed([[type(op).__name__, *_plain(op)] for op in ops])


def unpacked_operations(data: bytes) -> list[Op]:
    """Return the operations that were packed."""
    return [_operation(*op) for op in _unpacked(data)]


def packed_results(results: Sequence[Result]) -> bytes:
    """Return what came of operations as bytes.

    Raises:
        TypeError: a value is of a type that cannot be sent.
    """
    return _packed([_result(result) for result in results])


def unpacked_results(data: bytes) -> list[Result]:
    """Return the results that were packed."""
    return [_made(result) for result in _unpacked(data)]


def _packed(value: Any) -> bytes:
    type_, data = _SERIALIZER.dumps_typed(value)
    if type_ != _TYPE:
        raise TypeError(
            f"what the store is given or gives is of a kind that cannot be sent: {type_}"
        )
    return data


def _unpacked(data: bytes) -> Any:
    return _SERIALIZER.loads_typed((_TYPE, data))


def _plain(op: Op) -> Iterable[Any]:
    if isinstance(op, ListNamespacesOp):
        conditions = [[one.match_type, list(one.path)] for one in op.match_conditions or ()]
        return (conditions, *op[1:])
    return op


def _operation(kind: str, *fields: Any) -> Op:
    first, *rest = fields
    match kind:
        case "GetOp":
            return GetOp(tuple(first), *rest)
        case "PutOp":
            return PutOp(tuple(first), *rest)
        case "SearchOp":
            return SearchOp(tuple(first), *rest)
        case _:
            conditions = tuple(MatchCondition(how, tuple(path)) for how, path in first)
            return ListNamespacesOp(conditions or None, *rest)


def _result(result: Any) -> Any:
    """Return a result as plain data."""
    match result:
        case None:
            return None
        case SearchItem():
            return {"item": _fields(result), "score": result.score}
        case Item():
            return {"item": _fields(result)}
        case list():
            return [_result(one) for one in result]
        case _:
            return {"namespace": list(result)}


def _fields(item: Item) -> list[Any]:
    return [list(item.namespace), item.key, item.value, item.created_at, item.updated_at]


def _made(result: Any) -> Any:
    match result:
        case None:
            return None
        case list():
            return [_made(one) for one in result]
        case {"item": [namespace, key, value, created_at, updated_at], "score": score}:
            return SearchItem(tuple(namespace), key, value, created_at, updated_at, score)
        case {"item": [namespace, key, value, created_at, updated_at]}:
            return Item(
                namespace=tuple(namespace),
                key=key,
                value=value,
                created_at=created_at,
                updated_at=updated_at,
            )
        case _:
            return tuple(cast("list[str]", result["namespace"]))
