"""``auth.path``: the project's own ``langgraph_sdk.Auth``, with LangGraph's semantics."""

import inspect
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextlib import suppress
from copy import deepcopy
from http import HTTPStatus
from typing import Any, cast

import anyio
import anyio.to_thread
import orjson
import structlog
from langgraph_sdk import Auth
from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message, Receive, Scope

from operations.errors import ConfigurationError
from orchestration.api.access import Access, Grant, Principal, address_of
from orchestration.api.auth.filters import FilterNotUnderstood, as_metadata
from orchestration.api.auth.namespaces import namespace_of
from orchestration.api.ingress import BODIES, Bodies, read_body, replayed
from orchestration.api.problems import CHALLENGE, Problem, unauthorised
from orchestration.api.run_models import no_run
from orchestration.graphs.users import User

Handler = Callable[..., Awaitable[Any]]
Filter = Mapping[Any, Any] | None

_log = structlog.get_logger(__name__)
_RUN = Access("threads", "create_run")
_NEED_BODY = frozenset({"request", "body"})
_THREADS = 40  # in which callers are asked at once who they are
_RAISED = (Auth.exceptions.HTTPException, HTTPException)


class Handlers:
    """An authority made of the handlers of an ``Auth`` object.

    The most specific handler decides: that of the resource and action, of the resource, of the
    action, the global one. Where there is none, everything is allowed, as LangGraph has it.
    """

    def __init__(self, auth: Auth, where: str, max_body: int) -> None:
        """Take the handlers of ``auth``.

        Raises:
            ConfigurationError: it does not authenticate, or asks for what cannot be given.
        """
        # The SDK keeps these names stable for servers.
        handler = auth._authenticate_handler  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        if handler is None:
            raise ConfigurationError(where, "it authenticates nobody", "Add @auth.authenticate.")
        self._authenticate = handler
        self._wanted = _wanted(handler, where)
        self._reads_body = bool(_NEED_BODY & set(self._wanted))
        self._handlers = auth._handlers  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        self._global = auth._global_handlers  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        self._max_body = max_body
        self._bodies = Bodies(max_body * BODIES)  # of whoever calls, known or not
        self._threads = anyio.CapacityLimiter(_THREADS)  # not those that all others wait for, too

    async def authenticate(self, scope: Scope, receive: Receive) -> tuple[Principal, Receive]:
        """Ask the project who calls; see the port.

        A WebSocket is shown as the request that it begins with: a GET without a body.
        """
        body = b""
        if scope["type"] == "websocket":
            scope = {**scope, "type": "http", "method": "GET"}
        elif self._reads_body:
            declared, caller = _header(scope, b"content-length"), address_of(scope)
            body = await read_body(receive, declared, self._max_body, self._bodies, caller)
            receive = replayed(body, receive)
        try:
            found = await self._ask(scope, body)
        except _RAISED as error:
            raise _problem(error) from error
        except AssertionError as error:
            raise unauthorised(str(error) or "Unauthorized") from error
        return _principal(found), receive

    async def authorise(
        self, principal: Principal, access: Access, value: MutableMapping[str, Any]
    ) -> Grant:
        """Ask the project what they may do; see the port."""
        if access.resource is None:
            return Grant()
        handler = self._handler(access.resource, access.action)
        found, stamp = None, dict[str, Any]()
        if handler is not None:
            before = deepcopy(value.get("metadata") or {})
            found = await _decided(handler, principal, access, value)
            after: Mapping[str, Any] = value.get("metadata") or {}
            stamp = {key: new for key, new in after.items() if before.get(key, ...) != new}
        if access.resource == "store":  # items have no metadata: names keep them apart
            return Grant(namespace=_namespace(principal, found))
        visible = as_metadata(found) if found else None
        return Grant(
            visible=visible,
            stamp={**stamp, **(visible or {})},
            namespace=await self._apart(principal, found) if access == _RUN else (),
        )

    async def namespace(self, principal: Principal) -> tuple[str, ...]:
        """Return what keeps their items apart, as it does in runs of theirs; see the port.

        Whoever may not run anything shares nothing.
        """
        handler, found = self._handler("threads", "create_run"), None
        if handler is not None and handler is self._handler("store", "put"):
            try:
                found = await _decided(handler, principal, _RUN, no_run())
            except Problem:
                return namespace_of(principal.identity)
        return await self._apart(principal, found)

    async def _apart(self, principal: Principal, found: Filter) -> tuple[str, ...]:
        """Return what keeps apart what a run puts into the store, for which ``found`` was decided.

        What decides for items as well has decided that; else it is asked about one.
        """
        handler = self._handler("store", "put")
        if handler is not self._handler("threads", "create_run"):
            found = None
            if handler is not None:
                with suppress(Exception):  # it may go by the item, of which there is none
                    item: dict[str, Any] = {"namespace": (), "key": "", "value": {}, "index": None}
                    found = await _decided(handler, principal, Access("store", "put"), item)
        return _namespace(principal, found)

    def knows(self, principal: Principal) -> bool:  # noqa: ARG002 - only a request can be asked about
        """Return True; see the port."""
        return True

    def _handler(self, resource: str, action: str) -> Handler | None:
        for key in ((resource, action), (resource, "*"), ("*", action), ("*", "*")):
            if found := self._handlers.get(key):
                return found[-1]
        return self._global[-1] if self._global else None

    async def _ask(self, scope: Scope, body: bytes) -> Any:
        given = {name: _OFFERS[name](scope, body) for name in self._wanted}
        authenticate: Callable[..., Any] = self._authenticate
        if inspect.iscoroutinefunction(authenticate):
            return await authenticate(**given)
        return await anyio.to_thread.run_sync(lambda: authenticate(**given), limiter=self._threads)


def _namespace(principal: Principal, found: Filter) -> tuple[str, ...]:
    return namespace_of(principal.identity) if found else ()


async def _decided(
    handler: Handler, principal: Principal, access: Access, value: MutableMapping[str, Any]
) -> Filter:
    """Return the filter that a handler demands, None if it demands none."""
    context = Auth.types.AuthContext(
        permissions=list(principal.permissions),
        user=cast("Any", principal.user),
        resource=cast("Any", access.resource),
        action=access.action,
    )
    try:
        found = await handler(ctx=context, value=value)
    except _RAISED as error:
        raise _problem(error) from error
    except AssertionError as error:
        raise Problem(HTTPStatus.FORBIDDEN, str(error) or "Forbidden") from error
    if found is None or found is True:
        return None
    if found is False:
        raise Problem(HTTPStatus.FORBIDDEN, f"you may not {access.action} {access.resource}")
    if not isinstance(found, Mapping):
        raise FilterNotUnderstood(f"a handler returns None, a bool or a filter; found {found!r}")
    return found


def _wanted(handler: Callable[..., Any], where: str) -> tuple[str, ...]:
    """Return what an authenticating function asks for."""
    names: list[str] = []
    for name, parameter in inspect.signature(handler).parameters.items():
        if parameter.kind in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}:
            continue
        if name in _OFFERS:
            names.append(name)
        elif parameter.default is parameter.empty:
            raise ConfigurationError(
                where,
                f"@auth.authenticate asks for {name!r}",
                f"It can be given {', '.join(sorted(_OFFERS))}.",
            )
    return tuple(names)


def _principal(found: Any) -> Principal:
    permissions: Any = None
    match found:
        case [[*scopes], user]:  # scopes and user: LangGraph's older form
            permissions, found = scopes, user
        case _:
            pass
    user = _user(found)
    if permissions is not None:
        user["permissions"] = permissions
    if not user.is_authenticated:
        raise unauthorised("Unauthorized")
    return Principal(
        identity=user.identity, permissions=tuple(user.permissions), user=User(_plain(user))
    )


def _user(found: Any) -> User:
    if isinstance(found, str):
        return User(identity=found)
    if isinstance(found, Mapping):
        user = User(cast("Mapping[str, Any]", found))
    else:
        public = {k: v for k, v in getattr(found, "__dict__", {}).items() if k[:1] != "_"}
        named = ("identity", "display_name", "is_authenticated", "permissions")
        known = {name: getattr(found, name) for name in named if hasattr(found, name)}
        user = User({**public, **known})
    if not isinstance(user.get("identity"), str) or not user["identity"]:
        _log.error("@auth.authenticate returned nobody: a user has an identity, which is text")
        raise unauthorised("Unauthorized")
    return user


def _plain(user: User) -> dict[str, Any]:
    """Return what can be kept with a run of what is known of a user."""
    whole = {"is_authenticated": True, "display_name": user.display_name, **user}
    whole["permissions"] = list(user.permissions)
    try:
        return cast("dict[str, Any]", orjson.loads(orjson.dumps(whole, default=str)))
    except TypeError:
        return {key: value for key, value in whole.items() if isinstance(value, str | int | list)}


def _problem(error: Any) -> Problem:
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.UNAUTHORIZED and "www-authenticate" not in {
        name.lower() for name in headers
    }:
        headers |= CHALLENGE
    return Problem(error.status_code, str(error.detail), headers=headers)


def _header(scope: Scope, name: bytes) -> str | None:
    for key, value in scope["headers"]:
        if key == name:
            return str(value.decode("latin-1"))
    return None


def _parsed(body: bytes) -> Any:
    try:
        return orjson.loads(body) if body else None
    except orjson.JSONDecodeError:
        return None


async def _nothing() -> Message:
    return {"type": "http.disconnect"}


_OFFERS: Mapping[str, Callable[[Scope, bytes], Any]] = {
    "request": lambda scope, body: Request(scope, replayed(body, _nothing)),
    "body": lambda _, body: _parsed(body),
    "path": lambda scope, _: scope["path"],
    "method": lambda scope, _: scope["method"],
    "path_params": lambda scope, _: dict(scope.get("path_params") or {}),
    "query_params": lambda scope, _: dict(QueryParams(scope["query_string"])),
    "headers": lambda scope, _: dict(scope["headers"]),
    "authorization": lambda scope, _: _header(scope, b"authorization"),
    "scopes": lambda _, __: [],
}
