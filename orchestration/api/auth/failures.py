"""Whoever tries one wrong credential after the other is told to wait."""

from collections import OrderedDict
from collections.abc import MutableMapping
from dataclasses import dataclass, field
from hashlib import sha256
from http import HTTPStatus
from typing import Any

from aiolimiter import AsyncLimiter
from starlette.types import Receive, Scope

from orchestration.api.access import Access, Authority, Grant, Principal, address_of
from orchestration.api.problems import Problem, come_back

_FAILURES = 10  # a minute and address
_MINUTE = 60.0  # seconds
_ADDRESSES = 1_000  # remembered, the most recent ones
_CREDENTIALS = frozenset({b"authorization", b"x-api-key", b"cookie"})


@dataclass(slots=True)
class _Address:
    """What was tried of late from one address, as hashes."""

    limiter: AsyncLimiter = field(default_factory=lambda: AsyncLimiter(_FAILURES, _MINUTE))
    tried: OrderedDict[bytes, None] = field(default_factory=OrderedDict[bytes, None])


class FailureLimit:
    """An authority that lets nobody guess: of one address, ten wrong credentials a minute.

    To send none, or the same again, is no guess. Those who are known are never hit: behind a
    proxy, everybody has its address.
    """

    def __init__(self, inner: Authority) -> None:
        self._inner = inner
        self._addresses: OrderedDict[str, _Address] = OrderedDict()

    async def authenticate(self, scope: Scope, receive: Receive) -> tuple[Principal, Receive]:
        """Return who calls; 429 from the eleventh wrong credential of a minute on."""
        try:
            return await self._inner.authenticate(scope, receive)
        except Problem as refused:
            if refused.status == HTTPStatus.UNAUTHORIZED:
                await self._count(scope, refused)
            raise

    async def authorise(
        self, principal: Principal, access: Access, value: MutableMapping[str, Any]
    ) -> Grant:
        """Return what they may do; see the port."""
        return await self._inner.authorise(principal, access, value)

    async def namespace(self, principal: Principal) -> tuple[str, ...]:
        """Return what keeps their items apart; see the port."""
        return await self._inner.namespace(principal)

    def knows(self, principal: Principal) -> bool:
        """Return whether who was known is still; see the port."""
        return self._inner.knows(principal)

    async def _count(self, scope: Scope, refused: Problem) -> None:
        tried = [pair for pair in scope["headers"] if pair[0] in _CREDENTIALS]
        if not tried:
            return
        guess = sha256(repr(tried).encode()).digest()
        address = self._address(address_of(scope))
        if guess in address.tried:
            return
        if not address.limiter.has_capacity():
            raise Problem(
                HTTPStatus.TOO_MANY_REQUESTS,
                f"too many wrong credentials: {_FAILURES} a minute are looked at",
                headers=come_back(_MINUTE / _FAILURES),
            ) from refused
        await address.limiter.acquire()  # does not wait: there is capacity, and nobody ran since
        address.tried[guess] = None
        if len(address.tried) > _FAILURES:
            address.tried.popitem(last=False)

    def _address(self, name: str) -> _Address:
        found = self._addresses.setdefault(name, _Address())
        self._addresses.move_to_end(name)
        if len(self._addresses) > _ADDRESSES:
            self._addresses.popitem(last=False)
        return found
