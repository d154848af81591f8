"""Who calls from within the service: its nodes, for whom their run is, and its own routes."""

from collections.abc import Callable, MutableMapping
from typing import Any

from starlette.types import Receive, Scope

from orchestration.api.access import EVERYTHING, Access, Authority, Grant, Principal
from orchestration.api.problems import unauthorised
from orchestration.graphs.node_tasks import is_apart, present_work
from orchestration.graphs.users import User
from orchestration.loop.run import Run

INSIDER = "masterloop.insider"  # in the scope of a request that no connection has brought


class Insider(Principal):
    """Somebody whom the service knows, as their code is in it."""


_SERVICE = Insider(
    identity="service",
    permissions=("read", "run", "admin"),
    user=User(identity="service", permissions=["read", "run", "admin"]),
)


def insider(live: Callable[[str], Run | None]) -> Principal | None:
    """Return for whom is worked here; None if that is not known.

    A route of the project is the service itself. Nobody is an agent that works on a message, and
    a thread that a node has begun by itself: it has nothing that says whose it is.
    """
    work = present_work()
    if work is None:
        return _SERVICE if is_apart() else None
    run = work if isinstance(work, Run) else live(work.run_id or "")
    if run is None:
        return None
    user = User((run.principal or {}).get("user") or {})
    if not user:
        return _SERVICE
    return Insider(identity=user.identity, permissions=tuple(user.permissions), user=user)


class KnowsInsiders:
    """An authority that asks those who call from within for nothing."""

    def __init__(self, inner: Authority) -> None:
        self._inner = inner

    async def authenticate(self, scope: Scope, receive: Receive) -> tuple[Principal, Receive]:
        """Return who calls; see the port."""
        if INSIDER not in scope:
            return await self._inner.authenticate(scope, receive)
        known: Principal | None = scope[INSIDER]
        if known is None:
            raise unauthorised(
                "it is not known for whom this is: give get_client() a url and a key"
            )
        return known, receive

    async def authorise(
        self, principal: Principal, access: Access, value: MutableMapping[str, Any]
    ) -> Grant:
        """Return what they may do; see the port."""
        if principal is _SERVICE:
            return EVERYTHING
        return await self._inner.authorise(principal, access, value)

    async def namespace(self, principal: Principal) -> tuple[str, ...]:
        """Return what keeps their items apart; see the port."""
        return () if principal is _SERVICE else await self._inner.namespace(principal)

    def knows(self, principal: Principal) -> bool:
        """Return whether who was known is still, as long as their run works; see the port."""
        return isinstance(principal, Insider) or self._inner.knows(principal)
