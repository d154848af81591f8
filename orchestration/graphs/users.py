"""Who a run is for, as handlers and nodes see them."""

from collections.abc import Mapping, Sequence
from typing import Any

from orchestration.graphs.own_store import Namespace


class User(dict[str, Any]):
    """A user: a dictionary, and an object with the same names; ``BaseUser`` of the SDK.

    Like LangGraph's, it is read as ``user["org"]``, ``user.get("org")`` or ``user.org``.
    """

    @property
    def identity(self) -> str:
        """The unique name."""
        return str(self["identity"])

    @property
    def is_authenticated(self) -> bool:
        """Whether somebody has vouched for them."""
        return bool(self.get("is_authenticated", True))

    @property
    def display_name(self) -> str:
        """The name to show."""
        return str(self.get("display_name") or self.identity)

    @property
    def permissions(self) -> Sequence[str]:
        """What they may do, in the words of whoever vouched for them."""
        return list(self.get("permissions") or ())

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


def namespace_for(principal: Mapping[str, Any] | None) -> Namespace:
    """Return what keeps the items apart of who a run is for; nothing if nobody asked."""
    return () if principal is None else tuple(principal.get("namespace") or ())


def auth_configurable(principal: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what ``config.configurable`` says of who a run is for; nothing if nobody asked."""
    if principal is None:
        return {}
    user = User(principal["user"])
    return {
        "langgraph_auth_user": user,
        "langgraph_auth_user_id": user.identity,
        "langgraph_auth_permissions": user.permissions,
    }
