"""The authority that comes with the service: API keys, and tokens of an identity provider.

Scopes: ``read`` changes nothing, ``run`` works with what is its owner's, ``admin`` sees all.
"""

import time
from collections.abc import Mapping, MutableMapping
from http import HTTPStatus
from random import randint
from typing import Any, Protocol

from starlette.types import Receive, Scope

from operations.keys import SCOPES, KeyFolder, KeyScope
from orchestration.api.access import Access, Grant, Principal
from orchestration.api.auth.namespaces import namespace_of
from orchestration.api.problems import Problem, unauthorised
from orchestration.graphs.users import User

LEEWAY = 30  # seconds that clocks may differ
OWNER = "owner"  # the metadata that say whose something is

_READING = frozenset({"read", "search", "get", "list_namespaces"})
_MAKING = frozenset({"create", "create_run"})


class InvalidToken(Exception):
    """A token says nothing that can be believed."""


class IssuerSilent(Exception):
    """The issuer's keys cannot be fetched: whether a token is valid is not known."""


class Verifier(Protocol):
    """What checks the tokens of an identity provider."""

    async def verify(self, token: str) -> Mapping[str, Any]:
        """Return the claims of a token.

        Raises:
            InvalidToken: it is not of this issuer, not for this service, or not valid now.
            IssuerSilent: it may be, but with what it can be checked is not known.
        """
        ...


class BuiltIn:
    """Knows who has a key of the data folder, or a token of the configured issuer."""

    def __init__(self, keys: KeyFolder, tokens: Verifier | None) -> None:
        self._keys = keys
        self._tokens = tokens

    async def authenticate(self, scope: Scope, receive: Receive) -> tuple[Principal, Receive]:
        """Return whose the key or token of a request is; see the port."""
        token = _credential(scope)
        if not token:
            raise unauthorised("send an API key as x-api-key, or as Authorization: Bearer")
        if token.startswith("ml_"):
            key = self._keys.verify(token)
            if key is not None:
                return _principal(key.owner, key.scope, key_id=key.key_id), receive
        elif self._tokens is not None:
            try:
                claims = await self._tokens.verify(token)
            except InvalidToken as error:
                raise unauthorised(f"the token is not valid: {error}") from error
            except IssuerSilent as error:
                raise _unchecked() from error
            found = {"claims": dict(claims), "display_name": claims.get("name") or claims["sub"]}
            return _principal(claims["sub"], _scope_of(claims), **found), receive
        raise unauthorised("the API key is not known, or not valid any more")

    async def authorise(
        self, principal: Principal, access: Access, value: MutableMapping[str, Any]
    ) -> Grant:
        """Keep owners apart, and everybody to their scope; see the port."""
        if access.resource is None:
            return Grant()
        wanted = _wanted(access)
        if wanted not in principal.permissions:
            raise Problem(
                HTTPStatus.FORBIDDEN,
                f"to {access.action} {access.resource} takes the scope {wanted!r}; "
                f"yours: {', '.join(principal.permissions)}",
                headers={
                    "www-authenticate": f'Bearer error="insufficient_scope", scope="{wanted}"'
                },
            )
        own = {OWNER: principal.identity}
        if "admin" in principal.permissions:
            given = value.get("metadata") or {}
            mark = access.action in _MAKING and OWNER not in given
            return Grant(stamp=own if mark else {})
        if access.resource == "assistants":  # the server's, for everybody
            return Grant()
        namespace = await self.namespace(principal)
        if access.resource == "store":
            return Grant(namespace=namespace)
        return Grant(visible=own, stamp=own, namespace=namespace)

    async def namespace(self, principal: Principal) -> tuple[str, ...]:
        """Return what keeps their items apart: nothing for admins, who see everything."""
        return () if "admin" in principal.permissions else namespace_of(principal.identity)

    def knows(self, principal: Principal) -> bool:
        """Return whether the key is one still, or the token's time is not over; see the port."""
        if "key_id" in principal.user:
            return self._keys.knows(principal.user["key_id"])
        return time.time() - LEEWAY < int(principal.user["claims"]["exp"])


def _unchecked() -> Problem:
    return Problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "the token cannot be checked: its issuer's keys cannot be fetched now; try again",
        headers={"retry-after": str(randint(5, 10))},
    )


def _wanted(access: Access) -> KeyScope:
    if access.action in _READING:
        return "read"
    return "admin" if access.resource == "assistants" else "run"


def _credential(scope: Scope) -> str:
    """Return the key or token of a request; whatever else is in ``x-api-key`` is not for us."""
    key = bearer = ""
    for name, value in scope["headers"]:
        if name == b"x-api-key":
            key = value.decode("latin-1")
        elif name == b"authorization":
            scheme, _, rest = value.decode("latin-1").partition(" ")
            bearer = rest.strip() if scheme.lower() == "bearer" else ""
    return key if key.startswith("ml_") or not bearer else bearer


def _principal(identity: str, scope: KeyScope, **known: Any) -> Principal:
    permissions = SCOPES[: SCOPES.index(scope) + 1]
    user = User(
        identity=identity,
        is_authenticated=True,
        display_name=identity,
        permissions=list(permissions),
    )
    return Principal(identity=identity, permissions=permissions, user=User({**user, **known}))


def _scope_of(claims: Any) -> KeyScope:
    """Return the widest of our scopes that a token names; ``run`` if it names none."""
    named: set[str] = set()
    for claim in ("scope", "scp", "permissions"):
        given = claims.get(claim)
        parts = given.split() if isinstance(given, str) else given
        if isinstance(parts, list):
            named |= {str(part).removeprefix("masterloop:") for part in parts}
    widest: list[KeyScope] = [scope for scope in SCOPES if scope in named]
    return widest[-1] if widest else "run"
