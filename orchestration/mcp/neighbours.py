"""Who may call from where: hosts by which the service is called, pages that call it.

A page of somebody else's can have a browser call this machine under a name that it made up (DNS
rebinding). So the name has to be one of ours; the origin of a page always has to be.
"""

from collections.abc import Collection
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.types import Scope

from orchestration.api.problems import Problem

_THIS_MACHINE = frozenset({"localhost", "127.0.0.1", "[::1]"})


class Neighbours:
    """Knows the hosts and origins that are ours.

    Where callers have to say who they are (``asked``), no page can speak for them under another
    name, and any host will do unless some are named.
    """

    def __init__(self, hosts: Collection[str], origins: Collection[str], *, asked: bool) -> None:
        self._hosts = frozenset(hosts) | _THIS_MACHINE
        self._any_host = asked and not hosts
        self._origins = frozenset(origins)

    def check(self, scope: Scope) -> None:
        """Let a request pass.

        Raises:
            Problem: 421, it is for another host; 403, a page sends it that may not.
        """
        headers = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1")
        if not (self._any_host or host in self._hosts or _name(host) in self._hosts):
            raise Problem(
                HTTPStatus.MISDIRECTED_REQUEST,
                f"this service is not called {host[:200]!r}; name it in masterloop.mcp.hosts",
            )
        origin = headers.get(b"origin")
        if origin is not None and not self._is_ours(origin.decode("latin-1")):
            raise Problem(
                HTTPStatus.FORBIDDEN,
                "pages of this origin may not call; name it in masterloop.mcp.origins",
            )

    def _is_ours(self, origin: str) -> bool:
        if origin in self._origins:
            return True
        scheme, _, host = origin.partition("://")
        return scheme in ("http", "https") and _name(host) in _THIS_MACHINE


def _name(host: str) -> str:
    """Return a host without its port."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
    return f"[{name}]" if ":" in name else name
