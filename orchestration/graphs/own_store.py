"""A store in which everybody sees only what is theirs, under the names that they gave it."""

from collections.abc import Iterable, Sequence
from typing import Any, cast

from langgraph.store.base import (
    BaseStore,
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

Namespace = tuple[str, ...]


def own_store(store: BaseStore | None, owner: Namespace) -> BaseStore | None:
    """Return the store as ``owner`` sees it; as it is where nobody is kept apart."""
    return store if store is None or not owner else OwnStore(store, owner)


class OwnStore(BaseStore):
    """Puts ``owner`` before every namespace on the way in, and takes it off on the way out."""

    def __init__(self, inner: BaseStore, owner: Namespace) -> None:
        self._inner = inner
        self._owner = owner
        self.supports_ttl = inner.supports_ttl
        self.ttl_config = inner.ttl_config

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Do several things at once."""
        return self._outside(self._inner.batch([self._inside(op) for op in ops]))

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """Do several things at once."""
        return self._outside(await self._inner.abatch([self._inside(op) for op in ops]))

    def _inside(self, op: Op) -> Op:
        match op:
            case GetOp() | PutOp():
                return op._replace(namespace=(*self._owner, *op.namespace))
            case SearchOp():
                return op._replace(namespace_prefix=(*self._owner, *op.namespace_prefix))
            case ListNamespacesOp():
                return op._replace(
                    match_conditions=tuple(self._conditions(op.match_conditions or ())),
                    max_depth=None if op.max_depth is None else op.max_depth + len(self._owner),
                )

    def _conditions(self, asked: Sequence[MatchCondition]) -> Iterable[MatchCondition]:
        yield MatchCondition("prefix", self._owner)
        for one in asked:
            if one.match_type == "prefix":
                yield MatchCondition("prefix", (*self._owner, *one.path))
            else:
                yield one
                # The suffix is not to reach into the owner's name.
                yield MatchCondition("prefix", (*self._owner, *["*"] * len(one.path)))

    def _outside(self, results: Sequence[Result]) -> list[Result]:
        return [self._bared(result) for result in results]

    def _bared(self, result: Result) -> Result:
        if isinstance(result, list):
            return cast("Result", [self._bare(one) for one in cast("list[Any]", result)])
        return cast("Result", self._bare(result))

    def _bare(self, one: Any) -> Any:
        depth = len(self._owner)
        match one:
            case tuple():
                return cast("Namespace", one)[depth:]
            case SearchItem():
                return SearchItem(
                    one.namespace[depth:],
                    one.key,
                    one.value,
                    one.created_at,
                    one.updated_at,
                    one.score,
                )
            case Item():
                return Item(
                    value=one.value,
                    key=one.key,
                    namespace=one.namespace[depth:],
                    created_at=one.created_at,
                    updated_at=one.updated_at,
                )
            case _:
                return one
