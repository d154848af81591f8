"""Who calls, and what may be done: the words of authorisation, of which every provider is one."""

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from starlette.types import Receive, Scope

from orchestration.graphs.users import User
from orchestration.store.visibility import Visible

Resource = Literal["threads", "assistants", "crons", "store"]
Action = Literal[
    "create", "read", "update", "delete", "search", "create_run", "put", "get", "list_namespaces"
]


@dataclass(frozen=True, slots=True)
class Access:
    """What an operation does, in the words of ``langgraph_sdk.Auth``.

    Without a resource it concerns none: it takes somebody, whoever it is.
    """

    resource: Resource | None = None
    action: Action = "read"
    public: bool = False


PUBLIC = Access(public=True)  # for everybody, without asking who it is
SOMEBODY = Access()  # for whoever is known


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who calls. ``user`` is what handlers and graphs get to see of them."""

    identity: str
    permissions: tuple[str, ...] = ()
    user: User = field(default_factory=User)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What an authorisation allowed.

    ``visible`` bounds what there is for the caller, ``stamp`` is written into the metadata of
    what they make or change, and ``namespace`` is put before every namespace of the store.
    """

    visible: Visible = None
    stamp: Mapping[str, Any] = field(default_factory=dict[str, Any])
    namespace: tuple[str, ...] = ()


ANONYMOUS = Principal(identity="anonymous")
EVERYTHING = Grant()


def address_of(scope: Scope) -> str:
    """Return the address that a request is from; empty where that is not known."""
    client = scope.get("client")
    return client[0] if client else ""


class Authority(Protocol):
    """Tells who calls, and what they may do."""

    async def authenticate(self, scope: Scope, receive: Receive) -> tuple[Principal, Receive]:
        """Return who calls, and what the body of the request is to be received from.

        Raises:
            Problem: 401, nobody known.
        """
        ...

    async def authorise(
        self, principal: Principal, access: Access, value: MutableMapping[str, Any]
    ) -> Grant:
        """Return what ``principal`` may do; ``value`` is what they ask for, and may be changed.

        Raises:
            Problem: 403, they may not.
        """
        ...

    async def namespace(self, principal: Principal) -> tuple[str, ...]:
        """Return what stands before all that graphs of theirs put into the store.

        It is for whoever looks at a graph, which is no run that a `Grant` was given for.
        """
        ...

    def knows(self, principal: Principal) -> bool:
        """Return whether who was known when they called would be still, as far as can be told."""
        ...
