"""One declaration per operation: it validates the request and describes it in the API document."""

import inspect
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from http import HTTPStatus
from itertools import chain
from typing import Any
from uuid import UUID

import orjson
from langgraph.store.base import BaseStore
from pydantic import TypeAdapter
from starlette.responses import Response
from starlette.types import Receive, Scope

from orchestration.api.access import (
    ANONYMOUS,
    EVERYTHING,
    Access,
    Action,
    Grant,
    Principal,
    Resource,
    address_of,
)
from orchestration.api.asked import Query, parameters
from orchestration.api.backend import Backend
from orchestration.api.idempotency import HEADER, Once, fingerprint
from orchestration.api.ingress import check_coding, parse_json, read_body
from orchestration.api.problems import PROBLEMS, Problem, Wording
from orchestration.api.unknown import known, refuse, validated
from orchestration.graphs.own_store import OwnStore
from orchestration.graphs.states import ThreadStates
from orchestration.store.idempotency import Receipt
from orchestration.store.visibility import Visible, stamped

Handler = Callable[..., Awaitable[Response]]
EVENTS = "text/event-stream"  # what an operation gives that answers with server-sent events
TEXT = "text/plain; version=0.0.4; charset=utf-8"  # and one that answers Prometheus
_UUID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Call:
    """A request that is being answered, who it is from, and what they may do."""

    backend: Backend
    scope: Scope
    receive: Receive
    headers: Mapping[bytes, bytes]
    principal: Principal = ANONYMOUS
    grant: Grant = EVERYTHING
    receipt: Receipt | None = None  # of what is created, if the request has an idempotency key

    @property
    def visible(self) -> Visible:
        """What there is for the caller, to be passed to every store that is asked."""
        return self.grant.visible

    def stamped(self, metadata: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return the metadata of what the caller makes: it is theirs."""
        return stamped(metadata or {}, self.grant.stamp)

    def kept(self, metadata: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return what the caller changes in metadata: nobody gives away what is theirs."""
        changes = dict(metadata or {})
        stamp = {key: value for key, value in self.grant.stamp.items() if key in changes}
        return stamped(changes, stamp)

    @property
    def caller(self) -> str:
        """Who calls: by name, or by address where nobody is asked who they are."""
        if self.backend.authority is None:
            return address_of(self.scope)
        return self.principal.identity

    @property
    def on_behalf(self) -> dict[str, Any] | None:
        """Who a run is for, as it is kept with it; None if nobody was asked."""
        if self.backend.authority is None:
            return None
        return {"user": dict(self.principal.user), "namespace": self.grant.namespace}

    @property
    def states(self) -> ThreadStates:
        """The states of threads, as graphs that are made for the caller see them."""
        states = self.backend.states
        if self.backend.authority is None:
            return states
        return states.on_behalf_of(self.on_behalf, self.namespace)

    @property
    def items(self) -> BaseStore:
        """The store, as the caller sees it."""
        owner = self.grant.namespace
        return OwnStore(self.backend.items, owner) if owner else self.backend.items

    async def namespace(self) -> tuple[str, ...]:
        """Return whose items graphs see that are made for the caller to be looked at."""
        authority = self.backend.authority
        return () if authority is None else await authority.namespace(self.principal)

    @property
    def known(self) -> Callable[[], bool] | None:
        """What says whether the caller would be known still; None where nobody is asked for."""
        authority = self.backend.authority
        return None if authority is None else partial(authority.knows, self.principal)

    async def show(self, *asked: Any) -> None:
        """Have the threads written that ``asked`` names, or their runs, if they are not yet.

        Raises:
            StorageUnavailable: one cannot be.
        """
        await self.backend.runs.show(*chain.from_iterable(map(_named_in, asked)))

    async def may(self, resource: Resource, action: Action, value: dict[str, Any]) -> "Call":
        """Return the call with the grant for something else that it needs besides.

        The thread, or the run, that ``value`` names is there to be read then.

        Raises:
            Problem: 403, the caller may not.
            StorageUnavailable: the thread is not written yet, and cannot be.
        """
        if self.backend.runs.holding:
            await self.show(value)
        if self.backend.authority is None:
            return self
        return replace(self, grant=await self.ask(Access(resource, action), value))

    async def ask(self, access: Access, value: dict[str, Any]) -> Grant:
        """Return what the authority grants, and leave in ``value`` what it made of it.

        Of a run it is shown the id of the assistant, however the request has named it: what is
        denied by its id is denied by its name.

        Raises:
            Problem: 403, the caller may not.
        """
        authority = self.backend.authority
        if authority is None:
            return EVERYTHING
        named, shown = value.get("assistant_id"), None
        if access.action == "create_run" and isinstance(named, str):
            with suppress(ValueError):
                shown = value["assistant_id"] = UUID(self.backend.assistant_id(named))
        grant = await authority.authorise(self.principal, access, value)
        if shown is not None:
            left = value["assistant_id"]
            value["assistant_id"] = named if left == shown else str(left)
        return grant

    def require_admin(self) -> None:
        """Refuse whoever does not run the service, where callers are known.

        Raises:
            Problem: 403, they do not.
        """
        if self.backend.authority is not None and "admin" not in self.principal.permissions:
            raise Problem(HTTPStatus.FORBIDDEN, "this takes the permission 'admin'")

    def path(self, name: str) -> str:
        """Return a part of the path as it was sent."""
        value: str = self.scope["path_params"][name]
        return value

    def uuid(self, name: str) -> str:
        """Return a part of the path that must be a UUID, in its usual spelling.

        Raises:
            Problem: 422, it is none.
        """
        return as_uuid(self.path(name), name)

    def header(self, name: bytes) -> str | None:
        """Return a header, by its name in lower case."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")


def as_uuid(text: str, name: str) -> str:
    """Return the UUID that ``text`` is.

    Raises:
        Problem: 422, it is none.
    """
    value = text.lower()
    if not _UUID.fullmatch(value):
        detail = f"Invalid {name}: must be a UUID, found {text[:64]!r}"
        raise Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            detail,
            errors=[{"pointer": f"/{name}", "detail": detail}],
        )
    return value


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An operation of the API: how it is called, what it takes and gives, who answers it.

    ``gives`` has what its answers hold, by their status: a type, ``EVENTS``, or None for nothing.
    ``refuses`` has the statuses of its problems, beyond those that all operations of its kind have.
    ``once`` says how it is repeated when a request has an idempotency key. Of one that is
    ``audited`` every request is written down; of the others those that were refused.
    """

    method: str
    path: str
    access: Access
    handler: Handler
    body: TypeAdapter[Any] | None = None
    query: type[Query] | None = None
    optional_body: bool = False
    gives: Mapping[int, Any] = field(default_factory=dict[int, Any])
    refuses: Sequence[int] = ()
    once: Once | None = None
    wording: Wording = PROBLEMS
    audited: bool = False

    @property
    def streams(self) -> bool:
        """Whether its answer may have no end."""
        return EVENTS in self.gives.values()

    @property
    def fields(self) -> set[str]:
        """The names of the fields of its body, or of each member of that."""
        return set() if self.body is None else known(self.body, (0, ""))

    @property
    def name(self) -> str:
        """The operation's id."""
        return self.handler.__name__

    @property
    def summary(self) -> str:
        """What the operation does, in a sentence."""
        return (inspect.getdoc(self.handler) or "").split("\n", 1)[0]

    async def answer(self, call: Call) -> Response:
        """Validate the request and have it answered."""
        arguments: list[Any] = []
        request: Any = None
        if self.body is not None:
            request = await self._read(call)
            arguments.append(validated(self.body, request, ignore=_lenient(call)))
        if self.query is not None:
            given = parameters(call.scope["query_string"])
            _refuse_unknown(call, given, self.query.model_fields)
            arguments.append(self.query.parse(given))
        elif call.scope["query_string"] and not self.access.public:
            _refuse_unknown(call, parameters(call.scope["query_string"]), ())
        if call.backend.runs.holding:
            await call.show(call.scope["path_params"], request)
        once = self.once if HEADER in call.headers else None
        asked = b"" if once is None else fingerprint(call.scope, request)
        if call.backend.authority is not None and self.access.resource is not None:
            call, arguments = await self._authorised(call, arguments)
        if once is None:
            return await self.handler(call, *arguments)
        return await once.answer(call, asked, lambda known: self.handler(known, *arguments))

    async def _authorised(self, call: Call, arguments: list[Any]) -> tuple[Call, list[Any]]:
        """Return the call with what it was granted, and the request as that left it."""
        path = {name: _path_value(text) for name, text in call.scope["path_params"].items()}
        first, others = arguments[:1], arguments[1:]
        many = isinstance(first[0], list) if first else False
        grants: list[Grant] = []
        allowed: list[Any] = []
        for one in (first[0] if many else first) or [None]:
            value: dict[str, Any] = {}
            for part in (*others, one):
                value |= part.shown() if part is not None else {}
            value |= path
            grants.append(await call.ask(self.access, value))
            if one is not None:
                allowed.append(one.changed(value))
        if any(grant != grants[0] for grant in grants):
            raise Problem(HTTPStatus.FORBIDDEN, "what is asked for at once must be allowed alike")
        call = replace(call, grant=grants[0])
        arguments = [allowed, *others] if many else [*allowed, *others]
        return call, arguments

    async def _read(self, call: Call) -> Any:
        kind = call.headers.get(b"content-type")
        if kind is not None and kind.partition(b";")[0].strip().lower() != b"application/json":
            raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "the body must be application/json")
        check_coding(call.headers)
        limit, bodies = call.backend.settings.max_body, call.backend.bodies
        length = call.header(b"content-length")
        body = await read_body(call.receive, length, limit, bodies, call.caller)
        if not body and self.optional_body:
            body = b"{}"
        return parse_json(body)


class Endpoints:
    """The operations of one module, in the order of their declaration."""

    def __init__(self) -> None:
        self.all: list[Endpoint] = []

    def __call__(
        self,
        method: str,
        path: str,
        *,
        access: Access,
        body: Any = None,
        query: type[Query] | None = None,
        optional_body: bool = False,
        gives: Any = Any,
        refuses: Sequence[int] = (),
        once: Once | None = None,
        wording: Wording = PROBLEMS,
        audited: bool = False,
    ) -> Callable[[Handler], Handler]:
        """Declare the decorated function to be the operation; ``access`` is what it takes.

        ``gives`` is a type, ``EVENTS``, None for nothing, or those by their status; ``wording``
        is how it refuses; see `Endpoint` for the rest.
        """
        given = gives if isinstance(gives, Mapping) else {204 if gives is None else 200: gives}

        def declare(handler: Handler) -> Handler:
            adapter = None if body is None else TypeAdapter(body)
            declared = Endpoint(
                method,
                path,
                access,
                handler,
                adapter,
                query,
                optional_body,
                given,
                refuses,
                once,
                wording,
                audited,
            )
            self.all.append(declared)
            return handler

        return declare


def json_response(
    content: Any, status: int = HTTPStatus.OK, headers: Mapping[str, str] | None = None
) -> Response:
    """Return ``content`` as JSON; bytes are JSON already."""
    body = content if isinstance(content, bytes) else orjson.dumps(content)
    return Response(body, status, headers=headers, media_type="application/json")


def no_content(
    status: int = HTTPStatus.NO_CONTENT, headers: Mapping[str, str] | None = None
) -> Response:
    """Return an answer without a body."""
    return Response(status_code=status, headers=headers)


def _named_in(asked: Any) -> Iterable[str]:
    """Yield the ids of the threads and runs that somebody asks for, as they are kept."""
    if not isinstance(asked, Mapping):
        return
    for name in ("thread_id", "run_id", "thread_ids", "run_ids"):
        named = asked.get(name)
        for one in named if isinstance(named, list) else (named,):
            if isinstance(one, str | UUID):
                yield str(one).lower()


def _path_value(text: str) -> str | UUID:
    """Return a part of the path as an authorisation is shown it: ids are UUIDs."""
    try:
        return UUID(text)
    except ValueError:
        return text


def _lenient(call: Call) -> bool:
    return call.backend.settings.unknown_fields == "ignore"


def _refuse_unknown(call: Call, given: Iterable[str], known: Iterable[str]) -> None:
    # Where callers have to say who they are, a handler may know them by a parameter of its own.
    if not _lenient(call) and call.backend.authority is None:
        refuse(given, known)
