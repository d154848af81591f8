"""Whoever keeps trying credentials that are none is told to wait."""

from collections import OrderedDict
from collections.abc import MutableMapping
from http import HTTPStatus
from typing import Any

from aiolimiter import AsyncLimiter
from starlette.types import Receive, Scope

from orchestration.api.access import Access, Authority, Grant, Principal
from orchestration.api.problems import Problem

_FAILURES = 10.0  # a minute and address
_MINUTE = 60.0  # seconds
_ADDRESSES = 1_000  # remembered, the most recent ones


class FailureLimit:
    """An authority that refuses, more and more briefly, whom another does not know.

    Those who are known are never hit: behind a proxy, everybody has its address.
    """

    def __init__(self, inner: Authority) -> None:
        self._inner = inner
        self._limiters: OrderedDict[str, AsyncLimiter] = OrderedDict()

    async def authenticate(self, scope: Scope, receive: Receive) -> tuple[Principal, Receive]:
        """Return who calls; 429 for who was not known ten times in the last minute."""
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

    async def _count(self, scope: Scope, refused: Problem) -> None:
        limiter = self._limiter((scope.get("client") or ("",))[0])
        if limiter.has_capacity():
            await limiter.acquire()  # does not wait: there is capacity, and nobody else ran since
            return
        raise Problem(
            HTTPStatus.TOO_MANY_REQUESTS,
            f"too many failed attempts: {_FAILURES:.0f} a minute are answered",
            headers={"retry-after": f"{_MINUTE / _FAILURES:.0f}"},
        ) from refused

    def _limiter(self, address: str) -> AsyncLimiter:
        limiter = self._limiters.get(address)
        if limiter is None:
            limiter = self._limiters[address] = AsyncLimiter(_FAILURES, _MINUTE)
            if len(self._limiters) > _ADDRESSES:
                self._limiters.popitem(last=False)
        self._limiters.move_to_end(address)
        return limiter
